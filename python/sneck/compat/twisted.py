"""For `twisted.python.lockfile` and `twisted.internet.defer.DeferredFilesystemLock`: the same names, results and errors, without their races.

    from sneck.compat.twisted import FilesystemLock  # was: from twisted.python.lockfile import FilesystemLock

The lock is a symbolic link to the holder's pid (protocol `symlink`), so this and stock Twisted exclude each other at one path. Twisted
itself is needed for `DeferredFilesystemLock` only. What behaves better:

| Twisted | here |
|---|---|
| two that break one stale link can both end up holding | a stale link is removed only while it still is the one that was judged |
| a link with our own number, left by an earlier process, locks us out for ever | it is stale if it is older than this process |
| an ended process that nobody has reaped yet counts as alive | it is gone |
| another user's living process: `lock()` raises PermissionError | it returns False, as for any living holder |
| in a forked child `locked` is True | `locked` says whether the lock is held here and now |
| after chdir a relative name cannot be unlocked | `unlock()` goes where `lock()` went |
| `isLocked` breaks a stale link and takes the lock for a moment | it only looks |
| `deferUntilLocked`: after a timeout the object is stuck; what a retry raises never arrives | the object can be used again; it arrives as a failure |
| a cancelled `deferUntilLocked` tries once more, and may succeed | cancelled is cancelled: nothing was taken |

Not for: any other record than the bare number, which Twisted would not read. So what a number cannot tell is not known here either: of another
pid namespace it is judged as one of ours, and a number that *another* process has by now counts as alive (see `FilesystemLock.stale`).
"""

from __future__ import annotations

import contextlib
import errno
import os

# Upstream's tests, and those of its users, replace these and `symlink` and `rmlink`: they are looked up anew at each call.
from os import kill, readlink, rename  # noqa: F401
from os import remove as _remove
from os import symlink as _plant
from typing import TYPE_CHECKING, Any, Literal, Union

import sneck
from sneck import _ends

if TYPE_CHECKING:
    from twisted.internet.defer import AlreadyTryingToLockError as AlreadyTryingToLockError
    from twisted.internet.defer import Deferred
    from twisted.internet.defer import TimeoutError as TimeoutError
    from twisted.internet.interfaces import IReactorTime

__all__ = ["DeferredFilesystemLock", "FilesystemLock", "isLocked"]

if os.name == "nt":
    from ._twisted_windows import kill, readlink  # type: ignore[assignment] # noqa: F811
    from ._twisted_windows import plant as _plant  # type: ignore[assignment] # noqa: F811
    from ._twisted_windows import remove as _remove  # type: ignore[assignment] # noqa: F811

    _open = open

_Name = Union[str, bytes]
_Stale = Literal["never", "dead", "likely"]

# What this process holds, by the folder's inode and the name in it: any object of that name, however it spells it, may unlock.
_holdings: dict[tuple[int, int, bytes], sneck.Guard] = {}


def symlink(value: str, name: _Name) -> sneck.Guard | None:
    """Make the link, unless something stands there.

    Our own pid: one try for the lock; the guard is kept until `rmlink`. Any other value makes a plain link, as a test plants one.
    Raises OSError: EEXIST if something stands there, or whatever else symlink(2) does.
    """
    if value != str(os.getpid()):
        _plant(value, name)
        return None
    try:
        guard = _lock(name, "never").acquire(timeout=0)
    except (sneck.LockTimeout, sneck.ForeignFile, sneck.DamagedClaim) as busy:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from busy
    except sneck.LockError as error:
        raise _os_error(error, name) from error
    key = _key(name)
    _drop(_holdings.get(key))
    _holdings[key] = guard
    return guard


def rmlink(name: _Name) -> None:
    """Remove the link: release it if this process holds it, or else as os.remove does.

    Raises OSError as os.remove does.
    """
    guard = _holdings.pop(_key(name), None)
    if guard is None or not guard.held:
        _drop(guard)
        _remove(name)
        return
    try:
        guard.release()
    except sneck.LockLost as lost:
        raise FileNotFoundError(errno.ENOENT, "the link was removed or replaced by somebody else", name) from lost
    except sneck.LockError as error:
        raise _os_error(error, name) from error


_os_kill, _own_rmlink = kill, rmlink


class FilesystemLock:
    """A lock between processes: a symbolic link to the pid of its holder.

    name: where the link is; as given, and resolved at each `lock()`.
    clean: after `lock()` returned True, whether the last holder unlocked; False if this call removed the link of one that ended without.

    Held by the process, as in Twisted: `lock()` of what this process holds returns False, and every object of that name, in any thread,
    may unlock. At the end of the process the link stays, so that the next holder learns by `clean` that nobody unlocked.
    """

    clean: bool | None = None

    #: Whose links are stale, for a subclass or an object to say (not in Twisted): "dead", those of processes that are proved gone;
    #: "likely", also those whose number belongs to a process that started later than the link was made (a clock that was set looks
    #: the same); "never".
    stale: _Stale = "dead"

    def __init__(self, name: _Name) -> None:
        self.name = name
        self._guard: sneck.Guard | None = None
        self._locked_by: int | None = None

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock: False also in a forked child, and once the link was removed by somebody else."""
        if self._locked_by != os.getpid():
            return False
        return self._guard is None or self._guard.held

    def lock(self) -> bool:
        """Try once. True: it is ours. False: a living process has it, perhaps this one.

        Never waits for a holder. Breaking a stale link can take a moment: a tenth of a second if its process is not reaped yet, half a
        second if somebody keeps the folder locked.
        Raises OSError (from making, reading or removing the link), ValueError if a link stands there whose target is no number.
        """
        clean = True
        while True:
            try:
                guard = symlink(str(os.getpid()), self.name)
            except FileExistsError:
                pass
            else:
                self._guard = guard if isinstance(guard, sneck.Guard) else None
                self._locked_by = os.getpid()
                self.clean = clean
                return True
            try:
                if not _break(self.name, _pid_at(self.name), self.stale):
                    return False
            except FileNotFoundError:
                # Somebody else released it, or broke it: another try tells who has it now.
                continue
            clean = False

    def unlock(self) -> None:
        """Release it.

        Raises ValueError if another process holds it, or this is a fork of the process that does; OSError (ENOENT) if nobody does.
        """
        name = self.name if self._guard is None else self._guard.lock.path
        if _pid_at(name) != os.getpid():
            raise ValueError(f"Lock {self.name!r} not owned by this process")
        rmlink(name)
        self._guard = self._locked_by = None


def isLocked(name: _Name) -> bool:
    """Whether a living process holds the lock of that name. Only looks: nothing is taken or removed.

    Raises OSError if something else than a link stands there or it cannot be seen, ValueError if the link's target is no number.
    """
    try:
        pid = _pid_at(name)
    except FileNotFoundError:
        return False
    if kill is not _os_kill:
        return _answers(pid)
    try:
        return _lock(name, "dead").locked()
    except (sneck.ForeignFile, sneck.DamagedClaim):
        return True
    except sneck.LockError as error:
        raise _os_error(error, name) from error


class DeferredFilesystemLock(FilesystemLock):
    """A `FilesystemLock` that can be waited for in a Twisted program. Needs Twisted.

    scheduler: what calls later (IReactorTime); the global reactor if it is None.

    _scheduler: that object. _interval: seconds from one try to the next.
    _tryLockCall, _timeoutCall: the calls that are due (IDelayedCall), or None while nothing is waited for.
    """

    _interval: float = 1
    _tryLockCall: Any = None
    _timeoutCall: Any = None

    def __init__(self, name: _Name, scheduler: IReactorTime | None = None) -> None:
        _defer()
        super().__init__(name)
        if scheduler is None:
            from twisted.internet import reactor

            self._scheduler: Any = reactor
        else:
            self._scheduler = scheduler

    def deferUntilLocked(self, timeout: float | None = None) -> Deferred[None]:
        """Wait for the lock: a Deferred that fires with None once this object holds it.

        It tries at once and every `_interval` seconds, and once more when `timeout` seconds are over (None: never).
        It fails with `TimeoutError` (Twisted's), with `AlreadyTryingToLockError` if this object is waiting already, or with whatever
        `lock()` raised. Cancelled, it fails with CancelledError and has taken nothing; after it fired, cancel() changes nothing.
        However it ends, the object can be used again.
        """
        defer = _defer()
        if self._tryLockCall is not None:
            failed: Deferred[None] = defer.fail(
                defer.AlreadyTryingToLockError("this object waits for the lock already")
            )
            return failed
        deferred: Deferred[None] = defer.Deferred(lambda _: self._disarm())

        def attempt(begin: bool = False, end: Exception | None = None) -> None:
            try:
                locked = self.lock()
                if not locked and end is None:
                    if begin and timeout is not None:
                        why = defer.TimeoutError(
                            f"Timed out acquiring lock: {os.fsdecode(self.name)} after {timeout:f}s"
                        )
                        self._timeoutCall = self._scheduler.callLater(timeout, attempt, end=why)
                    self._tryLockCall = self._scheduler.callLater(self._interval, attempt)
                    return
            except Exception as error:
                locked, end = False, error
            # First all is as before: what is called now may well wait again.
            self._disarm()
            if locked:
                deferred.callback(None)
            else:
                deferred.errback(end)

        attempt(begin=True)
        return deferred

    def _disarm(self) -> None:
        calls = self._tryLockCall, self._timeoutCall
        self._tryLockCall = self._timeoutCall = None
        for call in calls:
            # One that is running just now has had its turn.
            if call is not None and call.active():
                call.cancel()


def _pid_at(name: Any) -> int:
    return int(readlink(name))


def _break(name: _Name, pid: int, stale: _Stale) -> bool:
    """Remove the link if its process is gone. False: it lives, or that cannot be done here and now. FileNotFoundError: the link is gone."""
    lock = _lock(name, stale)
    try:
        if kill is _os_kill and rmlink is _own_rmlink:
            if lock.break_stale() is not None:
                return True
        elif _answers(pid):
            return False
        elif rmlink is not _own_rmlink:
            rmlink(name)
            return True
        else:
            # The caller's `kill` has judged this number: no other may go.
            with contextlib.suppress(sneck.LockLost):
                lock._release_for(pid)
                return True
        if lock.holder() is not None:
            return False
    except (sneck.LockTimeout, sneck.ForeignFile, sneck.DamagedClaim):
        return False
    except sneck.LockError as error:
        raise _os_error(error, name) from error
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _answers(pid: int) -> bool:
    """Whether the process lives, for a `kill` that was put here from outside."""
    if kill is None:
        return True
    try:
        kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _lock(name: _Name, stale: _Stale) -> sneck.Lock:
    try:
        return sneck.Lock(os.fsdecode(name), protocol="symlink", stale=stale)
    except sneck.LockError as error:
        raise _os_error(error, name) from error


def _key(name: _Name) -> tuple[int, int, bytes]:
    folder, last = os.path.split(os.fsencode(name))
    found = os.stat(folder or b".")
    return found.st_dev, found.st_ino, last


def _drop(guard: sneck.Guard | None) -> None:
    """One that was lost, or is a fork's copy: nothing is removed."""
    if guard is not None:
        with contextlib.suppress(sneck.LockError):
            guard.release()


def _os_error(error: sneck.LockError, name: _Name) -> OSError:
    number = getattr(error, "errno", None)
    if number is None:
        kinds = {sneck.NoPermission: errno.EACCES, sneck.Unsupported: errno.ENOTSUP, sneck.InvalidLock: errno.EINVAL}
        number = kinds.get(type(error), errno.EIO)
    return OSError(number, os.strerror(number), name)


def _leave_all() -> None:
    """The package releases what is held at an orderly end. Twisted's links stay, and the next holder learns that it was not unlocked: its
    servers then remove the socket that is left over too."""
    for guard in list(_holdings.values()):
        with contextlib.suppress(sneck.LockError):
            guard._leave()


_ends.first.append(_leave_all)


def _defer() -> Any:
    """Late: twisted.internet.defer itself imports this module where it stands in for Twisted's."""
    try:
        from twisted.internet import defer
    except ImportError as missing:
        raise ImportError("DeferredFilesystemLock needs Twisted: pip install sneck[twisted]") from missing
    return defer


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Twisted's own exceptions."""
        if name in ("AlreadyTryingToLockError", "TimeoutError"):
            return getattr(_defer(), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
