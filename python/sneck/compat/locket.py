"""What `locket` gives, over flock(2) as sneck does it: `import sneck.compat.locket as locket`.

The same names, arguments, results and exceptions as locket 1.0.0, live beside it: while one holds, the other
waits. What is better: waiting is not polling; the wait ends in time and in the order of arrival; the file's
content is left alone; a lock is held until its release even if nobody refers to it; a forked child cannot
release it; whoever holds it is named in the error.

What differs, on purpose:

- A thread that holds a lock and acquires it again without a timeout gets a `LockError` at once; locket waits
  for ever there. With a timeout it waits, as there, since another thread may release. Pass `math.inf` to
  wait for that without an end.
- Lockers of one file are one lock, however its path is written, and a relative path means the file it meant
  when `lock_file` was called.
- If the lock file was removed or replaced while the lock was held, `release()` says so with a `LockError`.
- A symbolic link, a FIFO or a device at the path is refused (`sneck.ForeignFile`).

Not for: new code, which is better served by `sneck.Lock`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import sneck
from sneck._system import after_fork

__all__ = ["LockError", "lock_file"]


class LockError(sneck.LockError):
    """Not acquired within the timeout, or nothing to release. `holder` says who is in the way, where known."""


class _Folder(sneck.ForeignFile, IsADirectoryError):
    """A folder stands where the lock file should be."""


class _File(sneck.Lock):
    """The lock of one file: one for all lockers of the process. While it is held the native half refers to it."""

    # Whose holding it is, as far as `acquire` has to know: see there.
    mine: object = None


# All files that a locker or a holding refers to, by their path.
_files: weakref.WeakValueDictionary[str, _File] = weakref.WeakValueDictionary()
_registry = threading.Lock()
_thread = threading.local()


def _after_fork() -> None:
    # Whoever held it in the parent does not exist here.
    global _registry
    _registry = threading.Lock()


after_fork(_after_fork)


def _myself() -> object:
    """What stands for this thread. Its number does not: a later thread may get the same."""
    if not hasattr(_thread, "token"):
        _thread.token = object()
    return _thread.token


def _settled(path: str) -> str:
    """One way to write the path: all but the last name without links, since that one is not followed."""
    folder, name = os.path.split(path)
    if name in ("", os.curdir, os.pardir):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(folder), name)


def _file(path: str) -> _File:
    settled = _settled(path)
    with _registry:
        file = _files.get(settled)
        if file is None:
            file = _files[settled] = _File(settled, protocol="flock", reentry="wait")
        return file


class _Locker:
    """What `lock_file` gives. Any number of them, in any thread, are one lock if they are of one file."""

    def __init__(self, path: str, timeout: float | None, retry_period: float | None) -> None:
        self._path = path
        self._lock = _file(path)
        self._timeout = timeout
        self._retry_period = retry_period

    def acquire(self) -> None:
        """Acquire it, waiting as long as the locker was told.

        Raises `LockError` if somebody else holds it for that long, or, where the wait has no end, this very
        thread; `OSError` (`FileNotFoundError`, `PermissionError`, `IsADirectoryError` …) if there can be no such
        file; `sneck.ForeignFile` if what stands there is no file to lock.
        """
        file, timeout = self._lock, self._timeout
        if timeout is None:
            if file.held and file.mine is _myself():
                raise LockError(f"Couldn't lock {self._path}: this thread holds it already", file.path, file.place)
        elif timeout < 0:
            timeout = 0
        try:
            file.acquire(timeout)
        except sneck.LockTimeout as busy:
            told = f"Couldn't lock {self._path}: {busy}"
            raise LockError(told, busy.path, busy.place, busy.holders, busy.advice) from busy
        except sneck.ForeignFile as foreign:
            if os.path.isdir(file.path) and not os.path.islink(file.path):
                raise _Folder(str(foreign), foreign.path, foreign.place, (), foreign.advice) from foreign
            raise
        file.mine = _myself()

    def release(self) -> None:
        """Release it: from any thread, by any locker of the file.

        Raises `LockError` if this process does not hold it (a forked child holds nothing), or if the lock file was
        removed or replaced meanwhile: then others may have held it too, and whatever stands there is left alone.
        """
        self._end(self._lock.release)

    def _end(self, call: Callable[..., None], *arguments: object) -> None:
        # First: whoever acquires next says that it is theirs as soon as they have it.
        self._lock.mine = None
        try:
            call(*arguments)
        except sneck.NotHeld as error:
            raise LockError("cannot release unlocked lock", error.path, error.place) from error
        except sneck.LockLost as lost:
            raise LockError(str(lost), lost.path, lost.place, lost.holders, lost.advice) from lost

    def __enter__(self) -> _Locker:
        self.acquire()
        return self

    def __exit__(self, *exception: Any) -> None:
        # Its own way out: a child that was forked inside the block leaves it in silence.
        self._end(self._lock.__exit__, *exception)

    def __reduce__(self) -> tuple[Any, ...]:
        return lock_file, (self._lock.path, self._timeout, self._retry_period)


def lock_file(
    path: str | bytes | os.PathLike[Any], timeout: float | None = None, retry_period: float | None = None
) -> _Locker:
    """A locker of the file at `path`: acquire(), release(), or `with`.

    The file is made when it is first locked, and stays; its content is never touched.

    timeout: how long to wait, in seconds; None waits for ever, 0 tries once. It is for the whole wait, behind other
    threads and other processes together.
    retry_period: taken for the sake of the old callers. Nothing is tried again and again: the kernel wakes us.
    """
    return _Locker(os.fsdecode(path), timeout, retry_period)
