"""`SymlinkLockFile`: a symbolic link that exists while the lock is held (`symlink:` of the command, as Twisted writes it).

The link's target is our pid. The original's is `HOST-THREAD.PIDHASH`, from which nobody can read the pid, and which the library takes
for somebody's link: while such a one stands there, this class tries again every tenth of a second, where it
otherwise sleeps until something happens. In the other direction any link is in the original's way. So they exclude each
other; what the original left behind in a crash stands until somebody calls `break_lock`.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator

from ... import ForeignFile, Guard
from ... import LockError as NativeError
from ... import LockTimeout as NativeTimeout
from ..._system import FOLDER, try_flock
from ._base import NativeLockFile, Path

# Seconds between two looks at a link of the original.
_PAUSE = 0.1

# HOST-THREAD.PIDHASH or HOST.PIDHASH; the hash may be negative.
_THEIRS = re.compile(r"[^/]+\.\d+(-\d+)?")


class SymlinkLockFile(NativeLockFile):
    """A lock made by symlink(2), at `path.lock`. Also respected by Twisted's FilesystemLock."""

    protocol = "symlink"

    def __init__(self, path: Path, threaded: bool = True, timeout: float | None = None) -> None:
        super().__init__(path, threaded, timeout)
        self.unique_name = os.path.basename(self.unique_name)

    def _wait(self, wait: float | None) -> Guard:
        until = None if wait is None else time.monotonic() + wait
        while True:
            try:
                return super()._wait(None if until is None else max(until - time.monotonic(), 0))
            except ForeignFile:
                target = _target_of_theirs(self._place())
                if target is None and os.path.lexists(self._place()):
                    raise
            left = _PAUSE if until is None else until - time.monotonic()
            if left <= 0:
                raise NativeTimeout(
                    f"{self._place()}: held by a SymlinkLockFile of the package lockfile, {target}", self._place()
                )
            time.sleep(min(left, _PAUSE))

    def _force(self) -> None:
        try:
            super()._force()
        except ForeignFile:
            target = _target_of_theirs(self._place())
            if target is None:
                raise
            with _only_breaker_in(os.path.dirname(self._place())):
                if _target_of_theirs(self._place()) == target:
                    os.unlink(self._place())


def _target_of_theirs(path: str) -> str | None:
    """What the link of an original says. None: it is none."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    return target if _THEIRS.fullmatch(target) and not os.path.exists(path) else None


@contextlib.contextmanager
def _only_breaker_in(folder: str) -> Iterator[None]:
    """As the library does it: whoever removes a link locks its folder for that instant."""
    fd = os.open(folder, FOLDER)
    try:
        for pause in (0.001, 0.01, 0.1, 1):
            if try_flock(fd):
                break
            time.sleep(pause)
        else:
            raise NativeError(f"{folder}: somebody else has locked this folder; try again")
        yield
    finally:
        os.close(fd)
