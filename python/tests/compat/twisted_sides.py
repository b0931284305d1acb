"""What the tests of `sneck.compat.twisted` tell their parties: to be stock Twisted, or ours. Not for: tests."""

STOCK = "import twisted.python.lockfile as side\n"
OURS = "import sneck.compat.twisted as side\n"
# A number that no process ever has.
NOBODY = str(2**31 - 1)
SIDES = {"stock": STOCK, "ours": OURS}

_COMMON = """
import os, sys, time
from party import enter, leave

def raised(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__

def warm_up(folder):
    # Another user may not read this Python: whatever is imported late.
    other = side.FilesystemLock(os.path.join(folder, "warm"))
    other.lock()
    other.unlock()

def unprivileged():
    # What the tests may do as root, a user may not.
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
"""


def at(path, side):
    """A party's first words: `side` is the module, `lock` its lock at that path."""
    return f"{side}{_COMMON}\nlock = side.FilesystemLock({str(path)!r})\n"
