"""Who has come to a lock file, as the kernel sees it: for tests in which somebody has to stand there first.

Not for: whether somebody gets a lock or goes on waiting: that is seen with `Party.answer` and `Party.must_block`.
"""

import os
import time

from party import PATIENCE


def until_asleep(process):
    """Returns once the process sleeps in flock(2), whoever holds the lock."""
    _until(lambda: _is_asleep(process), f"{process} never waits in the kernel")


def until_open(process, path):
    """Returns once the process has that file open."""
    _until(lambda: _has_open(process, str(path)), f"{process} never opens {path}")


def _until(seen, otherwise):
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end, otherwise
        time.sleep(0.005)


def _is_asleep(process):
    with open("/proc/locks") as lines:
        # 7: -> FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF
        return any(line.split()[1:3] == ["->", "FLOCK"] and line.split()[5] == str(process) for line in lines)


def _has_open(process, path):
    folder = f"/proc/{process}/fd"
    return any(_target(f"{folder}/{number}") == path for number in os.listdir(folder))


def _target(link):
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return None
