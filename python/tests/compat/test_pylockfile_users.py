"""What relies on lockfile, with ours in its place: its own tests, and python-daemon. Not for: what the classes do."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from party import PATIENCE

try:
    import daemon  # noqa: F401
except ImportError as missing:
    raise RuntimeError("python-daemon is not installed: run scripts/test, which installs it") from missing

HERE = pathlib.Path(__file__).parent
THEIRS, OURS = [sys.executable], [sys.executable, "-m", "sneck.compat", "--as", "lockfile"]
OFFERED = ["TestLinkLockFile", "TestSymlinkLockFile", "TestMkdirLockFile", "TestPIDLockFile"]
OLD_NAMES = ["TestLinkFileLock", "TestMkdirFileLock"]


def source(name):
    """The unpacked source of a package."""
    folder = os.environ.get("SNECK_TEST_TOOLS")
    found = pathlib.Path(folder or "/nowhere") / name
    assert found.is_dir(), (
        f"the source of {name} is not in {folder} (SNECK_TEST_TOOLS): run scripts/test, which gets it"
    )
    return found


def upstream(python, *classes):
    """What lockfile's own tests say: class and name, and what came of it."""
    command = [*python, str(HERE / "upstream_lockfile.py"), str(source("lockfile") / "test"), *classes]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    module, *lines = [line.split(None, 2) for line in done.stdout.splitlines()]
    assert module == ["lockfile" if python is THEIRS else "sneck.compat.pylockfile"]
    return {(one, test): said for one, test, said in lines}


def test_lockfiles_own_tests_pass_on_the_original():
    said = upstream(THEIRS)
    assert len(said) == 70 and set(said.values()) == {"passed"}


@pytest.mark.parametrize("one", OFFERED + OLD_NAMES)
def test_lockfiles_own_tests_pass_on_ours(one):
    said = upstream(OURS, one)
    assert len(said) == 10 and {one for one, _ in said} == {one}
    assert set(said.values()) == {"passed"}, said


DAEMON = """
import os, sys, time
import daemon, daemon.pidfile
path, folder, detach = sys.argv[1], sys.argv[2], sys.argv[3] == "detach"
pidfile = daemon.pidfile.TimeoutPIDLockFile(path, 0.2)
print(type(pidfile).__mro__[1].__module__, flush=True)
streams = {} if detach else {"stdout": sys.stdout, "stderr": sys.stderr}
with daemon.DaemonContext(pidfile=pidfile, working_directory=folder, detach_process=detach, **streams):
    assert pidfile.i_am_locking() and pidfile.read_pid() == os.getpid()
    with open("there.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("there.new", "there")
    while not os.path.exists("stop"):
        time.sleep(0.01)
os.rename("there", "gone")
"""


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


@pytest.fixture
def start(tmp_path):
    """Starts that daemon; `there()` is its number."""
    (tmp_path / "service.py").write_text(DAEMON)

    class Started:
        pid_file, there = tmp_path / "daemon.pid", tmp_path / "there"

        def __call__(self, python, how="detach"):
            command = [*python, str(tmp_path / "service.py"), str(self.pid_file), str(tmp_path), how]
            return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

        def number(self):
            until(self.there.exists)
            return int(self.there.read_text())

    started = Started()
    yield started
    (tmp_path / "stop").touch()
    if started.there.exists():
        try:
            os.kill(started.number(), signal.SIGKILL)
        except ProcessLookupError:
            pass


def is_gone(pid):
    """Ended, whether or not anybody has reaped it: its parent is not ours to make do so."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state.rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.parametrize(
    "python, module", [(THEIRS, "lockfile"), (OURS, "sneck.compat.pylockfile")], ids=["theirs", "ours"]
)
def test_a_daemon_holds_its_pid_file_and_a_second_one_is_refused(python, module, start, tmp_path):
    first = start(python)
    assert first.returncode == 0 and first.stdout.strip() == f"{module}.pidlockfile", first.stderr
    pid = start.number()
    assert start.pid_file.read_text() == f"{pid}\n"
    # The other family too: the pid file is the same.
    for other in THEIRS, OURS:
        second = start(other, "stay")
        assert second.returncode == 1 and "LockTimeout: " in second.stderr
        assert other is THEIRS or python is THEIRS or str(pid) in second.stderr
    (tmp_path / "stop").touch()
    until((tmp_path / "gone").exists)
    assert not start.pid_file.exists()


@pytest.mark.parametrize("python, again", [(THEIRS, False), (OURS, True)], ids=["theirs", "ours"])
def test_after_a_daemon_was_killed_the_original_needs_a_person_and_ours_starts(python, again, start, tmp_path):
    assert start(python).returncode == 0
    pid = start.number()
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))
    os.unlink(start.there)
    assert start.pid_file.exists()
    (tmp_path / "stop").touch()
    second = start(python, "stay")
    assert (second.returncode == 0) is again, second.stderr
    assert ("LockTimeout" in second.stderr) is not again
