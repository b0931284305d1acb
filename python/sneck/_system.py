"""What operating systems do in their own ways, for the modules in Python. Not for: locks, which the native half knows.

What stands here for Windows was written by its documentation, and has not been run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

# To read what stands at a path: without waiting for the other end of a pipe, and as it is.
READ_THROUGH = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
    READ_THROUGH |= getattr(os, _flag, 0)

# The same, but not through a link.
READ = READ_THROUGH | getattr(os, "O_NOFOLLOW", 0)

# A folder, to lock it.
FOLDER = READ_THROUGH | getattr(os, "O_DIRECTORY", 0)


def after_fork(call: Callable[[], object]) -> None:
    """Call this in every child that os.fork makes; where there is no fork, never."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


if sys.platform == "win32":

    def try_flock(fd: int) -> bool:
        """Lock it as those do who break claims. There it is the native half that keeps them apart."""
        return True

    def process_exists(pid: int) -> bool:
        """Whether there is a process with this number; one that may not be asked counts."""
        import ctypes

        # os.kill(pid, 0) would send it a Ctrl-C.
        synchronize, denied, timed_out = 0x00100000, 5, 0x102
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel32.OpenProcess(synchronize, False, pid))
        if not handle:
            return ctypes.get_last_error() == denied
        try:
            return kernel32.WaitForSingleObject(handle, 0) == timed_out
        finally:
            kernel32.CloseHandle(handle)

else:
    import fcntl

    def try_flock(fd: int) -> bool:
        """Lock it as those do who break claims. False: one of them has it. A file system without locks: then nobody keeps it locked."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def process_exists(pid: int) -> bool:
        """Whether there is a process with this number; one that may not be asked counts."""
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except (ProcessLookupError, OverflowError):
            return False
        return True
