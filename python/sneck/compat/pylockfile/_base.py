"""What the classes of pylockfile have in common: who counts as one holder, times to wait, errors by its names.

The original asks the file system whether it holds ("is my file there?"), and so takes a forked child, or a dead process that
had the same number, for the holder. Here holding is a guard of the library, which a table of this process keeps by *identity*: the
lock file and `unique_name`, which is made of the host, the process, the thread (unless `threaded=False`) and the path as it was written.

Not for: lock protocols, which are native; what is special about one class (its own module).
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from typing import Any, Union

from ... import DamagedClaim, Guard, Lock, LockLost, NotHeld
from ... import LockError as NativeError
from ... import LockTimeout as NativeTimeout
from ..._system import after_fork
from ._errors import AlreadyLocked, LockFailed, LockTimeout, NotLocked, NotMyLock, UnlockError

Path = Union[str, "os.PathLike[str]"]


class Identity:
    """All lock objects that count as one holder, and what they hold."""

    __slots__ = ("gate", "guard", "forked", "__weakref__")

    def __init__(self) -> None:
        # One of them waits; when it has the lock, all have. Whatever runs in a signal handler is the same thread.
        self.gate = threading.RLock()
        self.guard: Guard | None = None
        # Held by the process that this one was forked from.
        self.forked = False

    @property
    def holds(self) -> bool:
        return self.guard is not None and self.guard.held

    def take(self, guard: Guard | None) -> Guard | None:
        """Keep this one instead, and give the last one."""
        with _table:
            last, self.guard, self.forked = self.guard, guard, False
            if guard is None:
                _holding.discard(self)
            else:
                _holding.add(self)
        return last


_table = threading.RLock()
_identities: weakref.WeakValueDictionary[tuple[str, str], Identity] = weakref.WeakValueDictionary()
# Whoever loses sight of a lock still holds it.
_holding: set[Identity] = set()


def _identity(path: str, name: str) -> Identity:
    with _table:
        found = _identities.get((path, name))
        if found is None:
            found = _identities[path, name] = Identity()
        return found


def _start_anew() -> None:
    """A forked child holds nothing, and no thread of its parent will open what it had closed."""
    global _table
    _table = threading.RLock()
    for identity in list(_identities.values()):
        identity.gate = threading.RLock()
        identity.guard, identity.forked = None, identity.guard is not None


after_fork(_start_anew)


class LockBase:
    """The attributes that all locks have, and the methods that they must have; for lock classes of one's own too.

    path: as it was given. lock_file: `path` made absolute, and `.lock`. threaded: whether the threads of a process are
    holders of their own. timeout: seconds to wait where `acquire` is not told; None: for ever.
    hostname, pid, tname ("" unless threaded): who made this object. unique_name: whom it stands for; there is no file of that name.
    """

    def __init__(self, path: Path, threaded: bool = True, timeout: float | None = None) -> None:
        self.path = path
        self.lock_file = os.path.abspath(os.fspath(path)) + ".lock"
        self.hostname = socket.gethostname()
        self.pid = os.getpid()
        self.tname = f"-{threading.get_ident() & 0xFFFFFFFF:x}" if threaded else ""
        name = f"{self.hostname}{self.tname}.{self.pid}{hash(path)}"
        self.unique_name = os.path.join(os.path.dirname(self.lock_file), name)
        self.timeout = timeout

    def acquire(self, timeout: float | None = None) -> None:
        """Acquire it. timeout: seconds; None: as the lock was told, which may be for ever; 0 or less: do not wait."""
        raise NotImplementedError("a lock class has to say how it is acquired")

    def release(self) -> None:
        """Release it."""
        raise NotImplementedError("a lock class has to say how it is released")

    def is_locked(self) -> bool:
        """Whether anybody holds it."""
        raise NotImplementedError("a lock class has to say whether it is held")

    def i_am_locking(self) -> bool:
        """Whether this object holds it, or another one that counts as the same."""
        raise NotImplementedError("a lock class has to say who holds it")

    def break_lock(self) -> None:
        """Take it away from whoever holds it."""
        raise NotImplementedError("a lock class has to say how it is broken")

    def __enter__(self) -> Any:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.unique_name!r} -- {self.path!r}>"


class NativeLockFile(LockBase):
    """A lock file that the library makes, waits for and removes.

    `protocol` is the library's word for what is written down; `stale` is which claims of others are removed on the way:
    "dead" (their process is proved gone), "never" (as the original), "likely", see `sneck.Lock`.
    """

    protocol = ""
    stale = "dead"

    def _place(self) -> str:
        return self.lock_file

    def _native(self, reentry: str = "wait") -> Lock:
        return Lock(self._place(), protocol=self.protocol, stale=self.stale, reentry=reentry)  # type: ignore[arg-type]

    def _name(self) -> str:
        return self.unique_name

    def _identity(self) -> Identity:
        return _identity(self._place(), self._name())

    def _wait(self, wait: float | None) -> Guard:
        # A wait without an end for what this thread holds itself, as somebody else, is an error instead.
        return self._native("refuse" if wait is None else "wait").acquire(wait)

    def _take(self, identity: Identity, wait: float | None) -> None:
        guard = self._wait(wait)
        # One that was lost, or nothing: the lock had to be free for us to get it.
        _end(identity.take(guard))

    def acquire(self, timeout: float | None = None) -> None:
        """Acquire it. At once if this object, or one that counts as the same, holds it: that is not counted, one release frees it.

        timeout: seconds; None: what the constructor was told, or else for ever; 0 or less: do not wait. A claim whose process
        is proved dead is removed on the way.

        Raises `LockTimeout` or, if there was no time, `AlreadyLocked`: their `holder` says who, if that is known.
        Raises `LockFailed` if it cannot be acquired at all.
        """
        timeout = self.timeout if timeout is None else timeout
        identity = self._identity()
        try:
            if self._is_had(identity):
                return
            if timeout is not None and timeout <= 0:
                self._take(identity, 0)
                return
            until = None if timeout is None else time.monotonic() + timeout
            if not identity.gate.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
                raise NativeTimeout(f"{self._place()}: timed out behind another thread that counts as the same holder")
            try:
                if not self._is_had(identity):
                    self._take(identity, None if until is None else max(until - time.monotonic(), 0))
            finally:
                identity.gate.release()
        # Damaged: its maker may be about to write it.
        except (NativeTimeout, DamagedClaim) as error:
            # Meanwhile another thread may have got it for us.
            if self._is_had(identity):
                return
            kind = LockTimeout if timeout is not None and timeout > 0 else AlreadyLocked
            raise kind(str(error)) from error
        except NativeError as error:
            raise LockFailed(str(error)) from error

    def _is_had(self, identity: Identity) -> bool:
        return identity.holds

    def release(self) -> None:
        """Release it.

        Raises `NotLocked` if nobody holds it, `NotMyLock` if somebody else does: also where the lock was taken away from
        us in the meantime, and in a forked child of the holder. What stands there is left alone then.
        """
        guard = self._identity().take(None)
        try:
            if guard is not None:
                guard.release()
                return
        except NotHeld:
            # The process is ending, and the library was quicker.
            return
        except LockLost as error:
            raise self._not_held("it was taken away while it was held") from error
        raise self._not_held("not acquired here, or released already")

    def _not_held(self, why: str) -> UnlockError:
        if os.path.lexists(self._place()):
            return NotMyLock(f"{self._place()}: held by somebody else ({why})")
        return NotLocked(f"{self._place()}: not held by anybody ({why})")

    def is_locked(self) -> bool:
        """Whether anybody holds it. A claim whose process is proved dead does not count; a file that is no lock does."""
        try:
            return self._native().locked()
        except NativeError:
            return os.path.lexists(self._place())

    def i_am_locking(self) -> bool:
        """Whether this object holds it, or another one that counts as the same; not in a forked child of the holder."""
        return self._identity().holds

    def break_lock(self) -> None:
        """Take it away from whoever holds it, **dead or alive**; nothing if nobody does. Whoever lost it so is told at its release.

        After a crash there is no need for it: `acquire` finds out. Raises `UnlockError` if something else than a lock of this
        class stands there, or it cannot be removed.
        """
        place = self._place()
        with _table:
            ours = [one for one in _holding if one.guard is not None and one.guard.lock.path == place]
        if any([_end(one.take(None)) for one in ours]):
            return
        try:
            self._force()
        except (NativeError, OSError) as error:
            raise UnlockError(str(error)) from error

    def _force(self) -> None:
        native = self._native()
        if native.force_release() is None:
            # The library leaves alone what another protocol locked.
            holder = native.holder()
            if holder is not None and holder.protocol is not None:
                raise NativeError(f"{native.path}: a lock of another kind ({holder.protocol}) stands there: {holder}")

    def __exit__(self, *exception: object) -> None:
        # A forked child that leaves the block has nothing to release, and may be on its way out with an exception of its own.
        if not self._identity().forked:
            self.release()


def _end(guard: Guard | None) -> bool:
    """Release it, and tell nobody. Whether it held until then."""
    if guard is None:
        return False
    try:
        guard.release()
    except NativeError:
        return False
    return True
