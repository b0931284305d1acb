"""Who sleeps in the kernel's queue for a flock(2) lock, for tests in which somebody has to stand there first.

Not for: waits that do not sleep in flock(2); whether those end is seen with `Party.must_block`.
"""

import time

from party import PATIENCE


def until_asleep(process):
    """Returns once the process waits in flock(2), whoever holds the lock."""
    end = time.monotonic() + PATIENCE
    while not _is_asleep(process):
        assert time.monotonic() < end, f"{process} never waits in the kernel"
        time.sleep(0.005)


def _is_asleep(process):
    with open("/proc/locks") as lines:
        # 7: -> FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF
        return any(line.split()[1:3] == ["->", "FLOCK"] and line.split()[5] == str(process) for line in lines)
