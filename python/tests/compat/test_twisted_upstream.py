"""Twisted's own tests, unmodified, with `sneck.compat.twisted` where its lock was: those of the lock, and those of all that uses it.

Not for: what ours does better (test_twisted_faults.py, test_twisted_deferred.py).
"""

import pathlib
import re
import subprocess
import sys

import pytest

STOCK = ["-m", "twisted.trial"]
OURS = [str(pathlib.Path(__file__).with_name("upstream_twisted.py"))]
OUR_DEFERRED = [*OURS, "--deferred"]


def trial(how, folder, *tests):
    """Run these; how many ran, passed and were skipped."""
    folder.mkdir()
    command = [sys.executable, *how, "--reporter=text", *tests]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:]
    ran = int(re.search(r"^Ran (\d+) tests", done.stdout, re.M).group(1))
    counts = dict(re.findall(r"(\w+)=(\d+)", done.stdout.splitlines()[-1]))
    return ran, int(counts["successes"]), int(counts.get("skips", 0))


# The four that are skipped are for Windows only.
@pytest.mark.parametrize("how", [OURS, OUR_DEFERRED], ids=["Twisted's Deferred on our lock", "our Deferred"])
def test_Twisted_s_own_tests_of_the_lock_pass(tmp_path, how):
    tests = ["twisted.test.test_lockfile", "twisted.test.test_defer.DeferredFilesystemLockTests"]
    assert trial(how, tmp_path / "ours", *tests) == (31, 27, 4)


# How many there are depends on the reactors that are installed.
@pytest.mark.parametrize(
    "module", ["twisted.test.test_unix", "twisted.internet.test.test_unix", "twisted.trial._dist.test.test_disttrial"]
)
def test_those_of_what_uses_the_lock_pass_as_many_as_with_Twisted_s_own(tmp_path, module):
    counts = trial(OUR_DEFERRED, tmp_path / "ours", module)
    assert counts == trial(STOCK, tmp_path / "stock", module)
    assert counts[1] >= 10
