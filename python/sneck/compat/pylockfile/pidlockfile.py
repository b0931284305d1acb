"""`PIDLockFile`: the pid file of a daemon is its lock (`pidfile:` of the command); and functions for pid files.

The file is the path itself, without `.lock`, and appears with its number in it: nobody ever sees it empty. A pid file whose process is
proved dead is replaced by `acquire`, where the original says `AlreadyLocked` until somebody removes it.

Not for: pid files that daemons write for others to read, and do not mean as a lock.
"""

from __future__ import annotations

import errno
import os

from ... import ForeignFile
from ..._system import READ_THROUGH
from ._base import Identity, NativeLockFile, Path
from ._errors import AlreadyLocked, LockFailed


class PIDLockFile(NativeLockFile):
    """A pid file as a lock, at `path`; relative to where the process was when this object was made.

    The holder is the process, in whatever thread; `threaded` is taken and means nothing. Acquiring it twice is `AlreadyLocked`.
    """

    protocol = "pidfile"

    def __init__(self, path: Path, threaded: bool = False, timeout: float | None = None) -> None:
        super().__init__(path, False, timeout)
        self.unique_name = path  # type: ignore[assignment]
        self._folder = os.getcwd() if not os.path.isabs(path) else "/"

    def _place(self) -> str:
        return os.path.normpath(os.path.join(self._folder, self.path))

    def _name(self) -> str:
        return ""

    def _is_had(self, identity: Identity) -> bool:
        # Whoever asks twice is told so.
        return False

    def read_pid(self) -> int | None:
        """The number in the file, or None."""
        return read_pid_from_pidfile(self._place())

    def acquire(self, timeout: float | None = None) -> None:
        """Acquire it. timeout: seconds; 0 or less, or None here and at the constructor: do not wait, which differs from the other classes.

        A pid file whose process is proved dead is replaced. Raises as the other classes.
        """
        timeout = self.timeout if timeout is None else timeout
        super().acquire(0 if timeout is None else timeout)


def read_pid_from_pidfile(pidfile_path: Path) -> int | None:
    """The number on the first line of that file, or None: no such file, not readable, or no number."""
    try:
        # A pipe of that name must not hold us up.
        with open(os.open(pidfile_path, READ_THROUGH), encoding="ascii", errors="replace") as lines:
            return int(lines.readline(4096))
    except (OSError, ValueError):
        return None


def write_pid_to_pidfile(pidfile_path: Path) -> None:
    """Make that file, with our number in it, whole: the same as `PIDLockFile(pidfile_path).acquire(0)`, and released by its `release`.

    Raises `FileExistsError` if it stands there already, unless its process is proved dead; another `OSError` if it cannot be made.
    """
    try:
        PIDLockFile(pidfile_path).acquire(0)
    except (AlreadyLocked, LockFailed) as error:
        cause = error.__cause__
        if isinstance(error, LockFailed) and isinstance(cause, OSError):
            raise cause
        number = errno.EEXIST if isinstance(error, AlreadyLocked) or isinstance(cause, ForeignFile) else errno.EIO
        raise OSError(number, str(error), os.fspath(pidfile_path)) from error


def remove_existing_pidfile(pidfile_path: Path) -> None:
    """Remove that pid file, **whosever it is**; nothing if there is none. Raises `UnlockError` if it is something else than a pid file."""
    PIDLockFile(pidfile_path).break_lock()
