"""Instead of `caterpillar.locking`: the same class and errors, by the protocol `pidfile`, which caterpillar's own processes understand.

    from sneck.compat.caterpillar import PIDLockFile

What it does otherwise than the original, on purpose:

- A claim whose process is proved dead is broken, where the original stays locked until a person removes the file. Whoever wants that
  takes `sneck.Lock(path + ".lock", protocol="pidfile", stale="never")`.
- The file appears with its number in it, never empty.
- A wait sleeps until the lock is free instead of looking every tenth of its timeout, and goes by a clock that nobody sets.
- A file that names our number is not ours if an earlier process made it, or if another one keeps it locked.
- An orderly end of the process releases.

Not for: new code (`sneck.Lock`), `with`, waiting in asyncio.
"""

from __future__ import annotations

import errno
import os
import socket

import sneck

from ._whole_process import lock_at

__all__ = [
    "AlreadyLocked",
    "LockError",
    "LockFailed",
    "LockTimeout",
    "NotLocked",
    "NotMyLock",
    "PIDLockFile",
    "UnlockError",
]


class LockError(Exception):
    """It could not be acquired: `LockTimeout`, `AlreadyLocked` or `LockFailed`."""


class LockTimeout(LockError):
    """It was not free within the timeout."""


class AlreadyLocked(LockError):
    """It is held, and it was not to be waited for."""


class LockFailed(LockError):
    """It cannot be acquired at all: no folder, no right, or what stands there is no lock."""


class UnlockError(Exception):
    """It could not be released: `NotLocked` or `NotMyLock`."""


class NotLocked(UnlockError):
    """Nobody holds it."""


class NotMyLock(UnlockError):
    """Another process holds it."""


class PIDLockFile:
    """The lock whose file is `path` with `.lock` added; the path is made absolute at once.

    The process holds it, whichever object or thread acquired it, and any of them may release it. It is not re-entrant: whoever acquires what
    its own process holds waits, or gets `AlreadyLocked`. A forked child does not hold what its parent holds.

    path, lock_file, unique_name: where the file is. hostname, pid: of whoever made this object.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = self.lock_file = self.unique_name = os.path.abspath(path) + ".lock"
        self.hostname = socket.gethostname()
        self.pid = os.getpid()
        # Wait: another thread of this process may release what this one waits for.
        self._lock = lock_at(self.path, "pidfile", reentry="wait")

    def acquire(self, timeout: float | None = None) -> None:
        """Acquire it, waiting so many seconds; None waits for ever; 0 or less tries once.

        Raises `LockTimeout` when the time is over, `AlreadyLocked` where there was none, `LockFailed` if waiting would not help.
        """
        wait = None if timeout is None else max(timeout, 0)
        try:
            self._lock.acquire(wait)
        except (sneck.LockTimeout, sneck.DamagedClaim) as busy:
            raise (LockTimeout if wait else AlreadyLocked)(str(busy)) from busy
        except sneck.LockError as failure:
            raise LockFailed(str(failure)) from failure

    def release(self) -> None:
        """Release it.

        Raises `NotLocked` if the file is missing, `NotMyLock` if it is not this process's: somebody removed it behind our back, and it is
        another's by now. An OSError that comes of removing the file is not caught.
        """
        if not self.is_locked():
            self._lock.forget_if_lost()
            raise NotLocked(f"{self.path}: nobody holds it")
        if not self.i_am_locking():
            raise NotMyLock(
                f"{self.path}: process {self.read_pid() or 'unknown'} holds it, not this one ({os.getpid()})"
            )
        try:
            self._lock.release()
        except sneck.NotHeld:
            self._release_by_number()
        except sneck.LockLost as lost:
            raise NotMyLock(str(lost)) from lost

    def _release_by_number(self) -> None:
        try:
            if not self._lock.remove_ours():
                raise NotMyLock(f"{self.path}: another process holds it by now")
        except OSError as failure:
            # Gone is what was wanted.
            if failure.errno != errno.ENOENT:
                raise

    def is_locked(self) -> bool:
        """Whether the file exists, be its process alive or dead: `acquire()` removes a dead one's."""
        return os.path.lexists(self.path)

    def i_am_locking(self) -> bool:
        """Whether the file names this process, and truly means it."""
        return self._lock.is_ours()

    def read_pid(self) -> int | None:
        """The number in the file. None: there is no file, it cannot be read, or it names no process."""
        try:
            holder = self._lock.holder()
        except sneck.LockError:
            return None
        return holder.pid if holder is not None and holder.protocol is None else None

    def __reduce__(self) -> tuple[type[PIDLockFile], tuple[str]]:
        # The same file elsewhere; not held there.
        return type(self), (self.path[: -len(".lock")],)
