"""In the place of the package `lockfile` (pylockfile) 0.12.2: the same classes, methods and errors over the library.

    from sneck.compat.pylockfile import LockFile, AlreadyLocked

    with LockFile("some/file"):      # some/file.lock
        ...

Beside the original on one path each excludes the other. What is different on purpose: a claim whose process is proved
dead is broken by `acquire`; a wait sleeps until something happens, and its time is that of a clock which nobody sets; a release
never removes what is somebody else's by now; a forked child holds nothing; an orderly end of the process releases.

The modules by their old names: `linklockfile`, `mkdirlockfile`, `symlinklockfile`, `pidlockfile`. Not for: new code
(`sneck.Lock`); SQLiteLockFile, which is refused.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any, Callable, TypeVar

from . import linklockfile, mkdirlockfile, pidlockfile, sqlitelockfile, symlinklockfile
from ._base import LockBase, Path
from ._errors import AlreadyLocked, Error, LockError, LockFailed, LockTimeout, NotLocked, NotMyLock, UnlockError
from .linklockfile import LinkLockFile

__all__ = [
    "AlreadyLocked",
    "Error",
    "FileLock",
    "LinkFileLock",
    "LockBase",
    "LockError",
    "LockFailed",
    "LockFile",
    "LockTimeout",
    "MkdirFileLock",
    "NotLocked",
    "NotMyLock",
    "SQLiteFileLock",
    "UnlockError",
    "linklockfile",
    "locked",
    "mkdirlockfile",
    "pidlockfile",
    "sqlitelockfile",
    "symlinklockfile",
]

# No hard links of ours on Windows: nobody else speaks them there.
LockFile: type[LockBase] = mkdirlockfile.MkdirLockFile if os.name == "nt" else LinkLockFile
FileLock = LockFile

_F = TypeVar("_F", bound=Callable[..., Any])


def locked(path: Path, timeout: float | None = None) -> Callable[[_F], _F]:
    """A decorator: the function runs while the lock at `path.lock` is held. timeout: as for `LockFile`."""

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def held(*arguments: Any, **keywords: Any) -> Any:
            with FileLock(path, timeout=timeout):
                return function(*arguments, **keywords)

        return held  # type: ignore[return-value]

    return decorate


def _by_its_old_name(
    made: Callable[..., LockBase], module: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    warnings.warn(f"import {made.__name__} from {module} instead", DeprecationWarning, stacklevel=3)
    # As an attribute of a class, these functions get an object first, as methods do.
    if arguments and not isinstance(arguments[0], (str, os.PathLike)):
        arguments = arguments[1:]
    return made(*arguments, **keywords)


def LinkFileLock(*arguments: Any, **keywords: Any) -> Any:
    """The old name of `linklockfile.LinkLockFile`."""
    return _by_its_old_name(linklockfile.LinkLockFile, "lockfile.linklockfile", arguments, keywords)


def MkdirFileLock(*arguments: Any, **keywords: Any) -> Any:
    """The old name of `mkdirlockfile.MkdirLockFile`."""
    return _by_its_old_name(mkdirlockfile.MkdirLockFile, "lockfile.mkdirlockfile", arguments, keywords)


def SQLiteFileLock(*arguments: Any, **keywords: Any) -> Any:
    """The old name of `sqlitelockfile.SQLiteLockFile`, which is refused."""
    return _by_its_old_name(sqlitelockfile.SQLiteLockFile, "lockfile.sqlitelockfile", arguments, keywords)
