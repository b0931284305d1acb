"""Twisted's own tests, unmodified, with `sneck.compat.twisted` where its lock was: those of the lock, and those of all that uses it.

Not for: what ours does better (test_twisted_faults.py, test_twisted_deferred.py).
"""

import re
import subprocess
import sys

import pytest

STOCK = ["-m", "twisted.trial"]
OURS = ["-m", "sneck.compat", "--as", "twisted", *STOCK]
# Twisted's own DeferredFilesystemLock, on our lock.
ONLY_THE_LOCK = [
    "-c",
    "import sys, twisted.python, sneck.compat.twisted\n"
    "sys.modules['twisted.python.lockfile'] = twisted.python.lockfile = sneck.compat.twisted\n"
    "from twisted.internet import defer\n"
    "assert issubclass(defer.DeferredFilesystemLock, sneck.compat.twisted.FilesystemLock)\n"
    "from twisted.scripts.trial import run\n"
    "run()",
]
WHICH = """
from twisted.internet import defer, unix
from twisted.python import lockfile
print(lockfile.__name__, unix.lockfile.__name__, defer.DeferredFilesystemLock.__module__, defer.DeferredFilesystemLock.__mro__[1].__module__)
"""


def trial(how, folder, *tests):
    """Run these; how many ran, passed and were skipped."""
    folder.mkdir()
    command = [sys.executable, *how, "--reporter=text", *tests]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:]
    ran = int(re.search(r"^Ran (\d+) tests", done.stdout, re.M).group(1))
    counts = dict(re.findall(r"(\w+)=(\d+)", done.stdout.splitlines()[-1]))
    return ran, int(counts["successes"]), int(counts.get("skips", 0))


def test_it_is_ours_that_they_meet(tmp_path):
    program = tmp_path / "which.py"
    program.write_text(WHICH)
    command = [sys.executable, *OURS[:4], str(program)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout
    assert told.split() == ["sneck.compat.twisted"] * 4


# The four that are skipped are for Windows only.
@pytest.mark.parametrize("how", [OURS, ONLY_THE_LOCK], ids=["our Deferred", "Twisted's Deferred on our lock"])
def test_Twisted_s_own_tests_of_the_lock_pass(tmp_path, how):
    tests = ["twisted.test.test_lockfile", "twisted.test.test_defer.DeferredFilesystemLockTests"]
    assert trial(how, tmp_path / "ours", *tests) == (31, 27, 4)


# How many there are depends on the reactors that are installed.
@pytest.mark.parametrize(
    "module", ["twisted.test.test_unix", "twisted.internet.test.test_unix", "twisted.trial._dist.test.test_disttrial"]
)
def test_those_of_what_uses_the_lock_pass_as_many_as_with_Twisted_s_own(tmp_path, module):
    counts = trial(OURS, tmp_path / "ours", module)
    assert counts == trial(STOCK, tmp_path / "stock", module)
    assert counts[1] >= 10
