"""The exceptions of the package: all of them are a `LockError`.

Not for: deciding what is an error (the native half does).
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from . import _sneck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ._sneck import Holder


class LockError(Exception):
    """Something about a lock did not work. `str()` is a sentence or two for a person.

    path: where the lock is, or None.
    place: the same as the command writes it, such as `symlink:/run/app.lock`, or None.
    holder: who is in the way, as far as known (`Holder`), or None. holders: all of them.
    advice: what to do next, or None.
    """

    def __init__(
        self,
        message: str = "",
        path: str | None = None,
        place: str | None = None,
        holders: Iterable[Holder] = (),
        advice: str | None = None,
        errno: int | None = None,
    ) -> None:
        # An OSError takes its own fields from two arguments, and would show them instead.
        super().__init__(message)
        self.path = path
        self.place = place
        self.holders = tuple(holders)
        self.advice = advice
        if isinstance(self, OSError):
            _of_the_system(self, errno, path)

    @property
    def holder(self) -> Holder | None:
        """Who is in the way, as far as known; of several the first."""
        return self.holders[0] if self.holders else None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        facts = (str(self), self.path, self.place, self.holders, self.advice, getattr(self, "errno", None))
        # What was added to it, notes for instance.
        return type(self), facts, self.__dict__


def _of_the_system(error: OSError, errno: int | None, path: str | None) -> None:
    error.errno, error.strerror, error.filename = errno, None, path


class LockTimeout(LockError, TimeoutError):
    """Somebody else holds it, and the time to wait is over. `holder` says who."""


class Reentrant(LockError, RuntimeError):
    """Waiting would never end: this very thread holds it already."""


class NotHeld(LockError, RuntimeError):
    """Nothing to release: not acquired, released already, or held by the process that this one was forked from."""


class LockLost(LockError):
    """The holding ended behind the holder's back: its lease was over, somebody removed or replaced the lock file, or the connection broke.

    Or a token is stale (`sneck.fence`): a later holder was there already.
    """


class ForeignFile(LockError):
    """What stands there is no lock of this protocol. It was left alone."""


class DamagedClaim(LockError):
    """A lock of this protocol stands there, but what it says makes no sense. It was left alone."""


class Unsupported(LockError):
    """This protocol, file system or platform cannot do it."""


class InvalidLock(LockError, ValueError):
    """The place or an option is written wrongly."""


class LockOSError(LockError, OSError):
    """The operating system failed. `errno` says how, if it is known."""


class NoPermission(LockOSError, PermissionError):
    """Not allowed."""


class CannotCreate(LockOSError):
    """The lock file could not be made: a missing folder, a full or read-only disk."""


class NoFolder(CannotCreate, FileNotFoundError):
    """The folder of the lock file is missing."""


class Unreachable(LockOSError, ConnectionError):
    """The server does not answer."""


_KINDS: dict[str, type[LockError]] = {
    "timeout": LockTimeout,
    "reentrant": Reentrant,
    "not_held": NotHeld,
    "lost": LockLost,
    "foreign": ForeignFile,
    "damaged": DamagedClaim,
    "unsupported": Unsupported,
    "usage": InvalidLock,
    "no_permission": NoPermission,
    "cannot_create": CannotCreate,
    "unreachable": Unreachable,
    "io": LockOSError,
}


def from_native(
    kind: str,
    message: str,
    path: str | None,
    place: str | None,
    holders: Iterable[Holder],
    advice: str | None,
    errno: int | None,
) -> LockError:
    """The exception that says this; the native half raises it."""
    made = _KINDS.get(kind, LockError)
    if made is CannotCreate and errno in (_errno.ENOENT, _errno.ENOTDIR):
        made = NoFolder
    if made is LockTimeout:
        errno = _errno.ETIMEDOUT
    return made(message, path, place, holders, advice, errno)


def again(call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Make a pickled lock anew."""
    if isinstance(call, type):
        # Of a subclass this is what it is made of, whatever it takes itself; the rest of it follows.
        return _sneck.Lock.__new__(call, *arguments, **keywords)
    return call(*arguments, **keywords)
