"""A lock that a whole process holds, whichever of its objects or threads acquired it: so the libraries go that know a holder by its number.

One native lock for each place and process, shared by the objects that stand in for such a library. Not for: trying, waiting, breaking (that is
`sneck.Lock`), nor for names and exceptions of any library.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import sneck
from sneck._system import READ, after_fork, try_flock

# No claim is longer.
_LONGEST = 4096

_mutex = threading.RLock()
_locks: weakref.WeakValueDictionary[tuple[str, str], WholeProcess] = weakref.WeakValueDictionary()


def _after_fork() -> None:
    # A thread that does not exist here may hold the old one.
    global _mutex
    _mutex = threading.RLock()


after_fork(_after_fork)


def one_thread() -> contextlib.AbstractContextManager[Any]:
    """For steps that no other thread of this process may come between. Nothing that waits is done inside."""
    return _mutex


def lock_at(path: str, protocol: str, **options: Any) -> WholeProcess:
    """The one lock of this process at this path. The options are those of `sneck.Lock`, the same for all who use the protocol."""
    absolute = os.path.abspath(path)
    folder, name = os.path.split(absolute)
    key = protocol, os.path.join(os.path.realpath(folder), name)
    with one_thread():
        lock = _locks.get(key)
        if lock is None:
            lock = _locks[key] = WholeProcess(absolute, protocol=protocol, **options)
    return lock


class WholeProcess(sneck.Lock):
    """A lock that knows its holding again; made by `lock_at`. While it is held it lives, even if nobody refers to it."""

    # Weak, since a guard refers to its lock; the native half keeps it while it holds.
    _guard: Callable[[], sneck.Guard | None] = staticmethod(lambda: None)
    _acquired_in: int | None = None

    def acquire(self, timeout: Any = ...) -> sneck.Guard:
        """As `sneck.Lock.acquire`."""
        self.forget_if_lost()
        guard = super().acquire(timeout)
        self._guard, self._acquired_in = weakref.ref(guard), os.getpid()
        return guard

    def stands(self) -> bool:
        """Whether this process holds it and nobody has taken it away."""
        guard = self._guard()
        # None: released, or just being acquired by another thread.
        return self.held if guard is None else guard.held

    def is_copy(self) -> bool:
        """Whether a process that this one was forked from had acquired it."""
        return self._acquired_in is not None and self._acquired_in != os.getpid()

    def forget_if_lost(self) -> None:
        """Let go of a holding that ended behind our back: until then its file stays locked."""
        guard = self._guard()
        if guard is not None and not guard.held:
            with contextlib.suppress(sneck.LockError):
                guard.release()

    def is_ours(self) -> bool:
        """Whether the claim that stands there is this process's: because it acquired it, or by its number alone."""
        if self._names_us() and self.stands():
            return True
        with self._ours_by_number() as is_ours:
            return is_ours

    def remove_ours(self) -> bool:
        """Remove a claim that is ours by its number alone, by `os.remove`. False: there is none."""
        with self._ours_by_number() as is_ours:
            if is_ours:
                os.remove(self.path)
        return is_ours

    def _names_us(self) -> bool:
        try:
            holder = self.holder()
        except sneck.LockError:
            return False
        if holder is None or holder.pid != os.getpid() or holder.host is not None:
            return False
        # A number alone is a claim of pidfile to those who expect more.
        return holder.protocol in (None, "pidfile")

    @contextlib.contextmanager
    def _ours_by_number(self) -> Iterator[bool]:
        """Whether the claim bears our number without being held by us: we made it before an exec, or somebody wrote it in our name. It stays so inside.

        A number is not believed where the claim is proved to be an earlier process's, or where some process keeps it locked: then it is that
        of a namesake in another pid namespace.
        """
        self.forget_if_lost()
        if self.held or not self._names_us() or not self._may_live():
            yield False
            return
        with self.alone() as content:
            yield content is not None and self._names_us()

    def _may_live(self) -> bool:
        try:
            return self.locked()
        except sneck.LockError:
            return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[bytes | None]:
        """What stands in the file, which meanwhile is locked as those lock it who break claims. None: no regular file, or somebody has it locked."""
        try:
            fd = os.open(self.path, READ)
        except OSError:
            yield None
            return
        try:
            yield self._locked_content(fd)
        finally:
            os.close(fd)

    def _locked_content(self, fd: int) -> bytes | None:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode):
            return None
        if not try_flock(fd):
            return None
        try:
            if not os.path.samestat(opened, os.stat(self.path, follow_symlinks=False)):
                return None
        except OSError:
            return None
        return os.read(fd, _LONGEST + 1)
