"""What Twisted does on Windows instead of making a symbolic link: a directory NAME with a file `symlink`, which holds the number.

For: links that somebody else made, or that a test plants; ours are made by the native half, which knows the same form. Written by Twisted's documentation and code's
behaviour, and never run on Windows.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Union

from .._system import process_exists

_Name = Union[str, bytes]


def _inside(name: _Name) -> str:
    return os.path.join(os.fsdecode(name), "symlink")


def readlink(name: _Name) -> str:
    """The number there. Raises FileNotFoundError where there is no such link."""
    with open(_inside(name)) as file:
        return file.read()


def plant(value: str, name: _Name) -> None:
    """Make such a link in one step. Raises FileExistsError if something stands there."""
    made = f"{os.fsdecode(name)}.{os.getpid()}.{os.urandom(4).hex()}.newlink"
    os.mkdir(made)
    try:
        with open(_inside(made), "w") as file:
            file.write(value)
        os.rename(made, os.fsdecode(name))
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(made)
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
        raise


def remove(name: _Name) -> None:
    """Remove it: renamed away first, so that a crash leaves nothing in the way."""
    away = f"{os.fsdecode(name)}.{os.getpid()}.{os.urandom(4).hex()}.oldlink"
    os.rename(os.fsdecode(name), away)
    with contextlib.suppress(FileNotFoundError):
        os.remove(_inside(away))
    os.rmdir(away)


def kill(pid: int, signal: int) -> None:
    """Only looks, as signal 0 does elsewhere. Raises ProcessLookupError if there is no such process."""
    if not process_exists(pid):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
