"""`MkdirLockFile`: a directory that exists while the lock is held (`mkdir:` of the command).

Inside is an empty file `HOST.PID`, as the original makes it without threads; the thread is not written down, since nobody could tell
its number from the process's. A crash leaves a claim that the next one of ours breaks, at whichever step. One
that the *original* left behind is broken too if it was made with `threaded=False`; otherwise it stands until somebody calls `break_lock`.
"""

from __future__ import annotations

import os

from ._base import NativeLockFile, Path


class MkdirLockFile(NativeLockFile):
    """A lock made by mkdir(2), at `path.lock`. Works on every file system. Also respected by proper-lockfile and shell scripts."""

    protocol = "mkdir"

    def __init__(self, path: Path, threaded: bool = True, timeout: float | None = None) -> None:
        super().__init__(path, threaded, timeout)
        self.unique_name = os.path.join(self.lock_file, f"{self.hostname}.{self.tname}{self.pid}")
