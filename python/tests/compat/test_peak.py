"""`sneck.compat.peak` is what PEAK's `peak.running.lockfiles` is, and excludes it, shlock(1) and flock(1).

PEAK runs on Python 2 only: its part is played by a re-enactment (`peak_reenacted.py`). Not for: its faults
(`test_peak_faults.py`).
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import peak_reenacted as theirs
import sneck
from party import PATIENCE, Raised, dead_pid, stays
from sneck.compat import peak as ours

FILES = ["SHLockFile", "FLockFile"]
MODULES = ["peak_reenacted", "sneck.compat.peak"]
HERE = pathlib.Path(__file__).parent

both = pytest.mark.parametrize("peak", [theirs, ours], ids=["theirs", "ours"])
kinds = pytest.mark.parametrize("kind", FILES)
mixed = pytest.mark.parametrize("one, other", [MODULES, MODULES[::-1]], ids=["theirs-ours", "ours-theirs"])


def lock_of(party, module, kind, path):
    """A party that has `lock`, of that kind."""
    setup = f"import sys; sys.path.append({str(HERE)!r}); import {module} as peak"
    return party(f"{setup}; lock = peak.{kind}({str(path)!r})")


def shlock(version, path, pid):
    """INN's shlock for a process; gives its exit status. It makes its temporary file where it is."""
    tools = os.environ.get("SNECK_TEST_TOOLS")
    assert tools, "SNECK_TEST_TOOLS is not set: run scripts/test, which gets the programs"
    program = pathlib.Path(tools, f"inn{version}", "usr/lib/news/bin/shlock")
    assert program.exists(), f"{program} is not there: run scripts/test, which gets it"
    environment = dict(os.environ, LD_LIBRARY_PATH=str(pathlib.Path(tools, "inn2-inews/usr/lib/news")))
    command = [program, "-p", str(pid), "-f", path]
    return subprocess.run(command, cwd=path.parent, env=environment if version else None).returncode


def flock(*arguments):
    program = shutil.which("flock")
    assert program, "flock is not installed: run scripts/test, which installs it"
    return [program, *map(str, arguments)]


# What both do.


@both
@kinds
def test_attempt_and_release_and_attempt_again(peak, kind, tmp_path):
    lock = getattr(peak, kind)(str(tmp_path / "lock"))
    assert lock.locked() is False
    for _ in range(2):
        assert lock.attempt() is True and lock.locked() is True
        assert lock.release() is None and lock.locked() is False
    assert lock.obtain() is None and lock.locked() is True
    lock.release()


@both
@kinds
def test_while_it_is_held_every_other_attempt_fails_through_the_same_object_too(peak, kind, tmp_path):
    lock, other = (getattr(peak, kind)(str(tmp_path / "lock")) for _ in range(2))
    assert lock.attempt() and not lock.attempt() and not other.attempt()
    assert lock.locked() and not other.locked()
    lock.release()
    assert other.attempt() and not lock.attempt()
    other.release()


@both
@kinds
def test_any_thread_releases(peak, kind, tmp_path):
    lock = getattr(peak, kind)(str(tmp_path / "lock"))
    lock.obtain()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert not lock.locked() and lock.attempt()
    lock.release()


@both
def test_a_shlockfile_says_the_pid_and_goes_and_an_flockfile_says_it_and_stays(peak, tmp_path):
    path, pid = tmp_path / "lock", b"%d\n" % os.getpid()
    for kind, left in ("SHLockFile", None), ("FLockFile", b""):
        lock = getattr(peak, kind)(str(path))
        assert lock.attempt() and path.read_bytes() == pid and os.listdir(tmp_path) == ["lock"]
        lock.release()
        assert (path.read_bytes() if path.exists() else None) == left


@both
@kinds
def test_a_dead_holder_is_in_nobodys_way(peak, kind, tmp_path):
    (tmp_path / "lock").write_text(f"{dead_pid()}\n")
    lock = getattr(peak, kind)(str(tmp_path / "lock"))
    assert lock.attempt() and (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


@both
def test_a_null_lock_is_one_for_the_threads_of_this_process_each_object_its_own(peak):
    lock, other = peak.NullLockFile(), peak.NullLockFile()
    assert lock.attempt() and not lock.attempt() and other.attempt()
    got = threading.Event()

    def wait():
        lock.obtain()
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.2)
    lock.release()
    thread.join()
    assert got.is_set() and not lock.attempt()
    lock.release()


@both
def test_a_null_lock_is_waited_for_by_the_thread_that_holds_it_until_another_one_releases(peak):
    lock, done = peak.NullLockFile(), []
    lock.obtain()

    def work():
        done.append(1)
        lock.release()

    timer = threading.Timer(0.2, work)
    timer.start()
    lock.obtain()
    assert done
    lock.release()
    timer.join()


@both
def test_pid_exists_and_check_lock_know_the_living_from_the_dead(peak, tmp_path):
    alive, dead = os.getpid(), dead_pid()
    assert peak.pid_exists(alive) and peak.pid_exists(0) and not peak.pid_exists(dead) and not peak.pid_exists(-1)
    for pid, counts in (alive, True), (dead, False):
        (tmp_path / "lock").write_text(f"{pid:10}\n")
        assert bool(peak.check_lock(str(tmp_path / "lock"))) is counts
        assert (tmp_path / "lock").exists()


@both
def test_a_temporary_file_says_the_pid_and_is_for_the_owner_only(peak, tmp_path):
    path = peak.make_tempfile(str(tmp_path / "lock"), 4711)
    assert os.path.dirname(path) == str(tmp_path) and os.path.basename(path).startswith("shlock4711")
    assert os.stat(path).st_mode & 0o7777 == 0o600
    with open(path) as file:
        assert file.read() == "4711\n"


# In company.


@mixed
@kinds
def test_while_one_holds_the_other_does_not_get_it(kind, one, other, tmp_path, party):
    holder, comer = (lock_of(party, module, kind, tmp_path / "lock") for module in (one, other))
    for first, second in (holder, comer), (comer, holder):
        assert first.ask("lock.attempt()") and not second.ask("lock.attempt()")
        second.begin("lock.obtain()")
        second.must_block()
        first.do("lock.release()")
        assert second.answer() is None and not first.ask("lock.attempt()")
        second.do("lock.release()")


@mixed
@kinds
def test_a_killed_holder_holds_no_longer(kind, one, other, tmp_path, party):
    holder, comer = (lock_of(party, module, kind, tmp_path / "lock") for module in (one, other))
    holder.do("lock.obtain()")
    assert not comer.ask("lock.attempt()")
    holder.kill()
    assert comer.ask("lock.attempt()")


@kinds
def test_both_in_turn_are_never_inside_at_once(kind, tmp_path, party):
    journal = str(tmp_path / "journal")
    work = f"""
from party import enter, leave
import time
def work(times):
    while times:
        try:
            got = lock.attempt()
        except FileNotFoundError:
            # A fault of theirs: somebody released while they looked.
            assert peak.__name__ == "peak_reenacted"
            continue
        if got:
            enter({journal!r})
            leave({journal!r})
            lock.release()
            times -= 1
        time.sleep(0.0005)
"""
    (tmp_path / "folder").mkdir()
    parties = [lock_of(party, module, kind, tmp_path / "folder" / "lock") for module in MODULES * 2]
    for one in parties:
        one.do(work)
    for one in parties:
        one.begin("work(60)")
    for one in parties:
        assert one.answer() is None
    assert stays(journal) == 4 * 60


@pytest.mark.parametrize("inn", ["", "2"])
def test_shlock_and_ours_exclude_each_other(inn, tmp_path, party):
    path, user = tmp_path / "lock", party("")
    mine = lock_of(party, "sneck.compat.peak", "SHLockFile", path)
    assert shlock(inn, path, user.pid) == 0 and not mine.ask("lock.attempt()")
    mine.begin("lock.obtain()")
    mine.must_block()
    path.unlink()
    assert mine.answer() is None
    assert shlock(inn, path, user.pid) == 1
    mine.do("lock.release()")
    assert shlock(inn, path, user.pid) == 0


@pytest.mark.parametrize("inn", ["", "2"])
def test_shlock_and_ours_see_each_other_die(inn, tmp_path, party):
    path, user = tmp_path / "lock", party("")
    mine, next_one = (lock_of(party, "sneck.compat.peak", "SHLockFile", path) for _ in range(2))
    assert mine.ask("lock.attempt()")
    mine.kill()
    # INN 2 leaves alone what was made in this very second.
    end = time.monotonic() + PATIENCE
    while shlock(inn, path, user.pid) != 0:
        assert inn == "2" and time.monotonic() < end
        time.sleep(0.1)
    assert not next_one.ask("lock.attempt()")
    user.kill()
    assert next_one.ask("lock.attempt()")


def test_flock_and_ours_exclude_each_other(tmp_path, party):
    path = tmp_path / "lock"
    mine = lock_of(party, "sneck.compat.peak", "FLockFile", path)
    command = flock(path, sys.executable, "-c", "print('in', flush=True); input()")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"in\n"
        assert not mine.ask("lock.attempt()")
        mine.begin("lock.obtain()")
        mine.must_block()
        holder.communicate(b"\n")
    assert mine.answer() is None
    assert subprocess.run(flock("-n", path, "true")).returncode == 1
    mine.do("lock.release()")
    assert subprocess.run(flock("-n", path, "true")).returncode == 0


# Ours alone.


def test_the_module_has_the_names_of_the_original():
    assert sorted(ours.__all__) == ["FLockFile", "LockFile", "NullLockFile", "SHLockFile"]
    assert ours.LockFile is ours.SHLockFile and not hasattr(ours, "WinFLockFile")
    assert all(issubclass(getattr(ours, name), ours.LockFileBase) for name in ours.__all__)


@kinds
def test_the_file_is_the_one_that_the_path_meant_at_first(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = getattr(ours, kind)("lock")
    assert lock.fn == str(tmp_path / "lock")
    monkeypatch.chdir("/")
    assert lock.attempt() and os.listdir(tmp_path) == ["lock"]
    lock.release()


@kinds
def test_a_thread_that_would_wait_for_itself_gets_an_error(kind, tmp_path, party):
    one = lock_of(party, "sneck.compat.peak", kind, tmp_path / "lock")
    one.do("lock.obtain()")
    for again in "lock", f"peak.{kind}({str(tmp_path / 'lock')!r})":
        with pytest.raises(Raised, match="^Reentrant"):
            one.do(f"{again}.obtain()")
    assert one.ask("lock.locked(), lock.release()") == (True, None)


def test_a_waiter_learns_of_a_release_while_theirs_sleeps_on(tmp_path, party):
    holder = lock_of(party, "sneck.compat.peak", "SHLockFile", tmp_path / "lock")
    holder.do(f"other = peak.SHLockFile({str(tmp_path / 'other')!r}); lock.obtain(); other.obtain()")
    mine = lock_of(party, "sneck.compat.peak", "SHLockFile", tmp_path / "lock")
    other = lock_of(party, "peak_reenacted", "SHLockFile", tmp_path / "other")
    mine.begin("lock.obtain()")
    other.begin("lock.obtain()")
    # It looks again after 1 s, and then after 2 more.
    other.must_block(1.3)
    holder.do("other.release(); lock.release()")
    assert mine.answer() is None
    other.must_block(0)
    assert other.answer() is None


@pytest.mark.parametrize(
    "url, kind, path",
    [
        ("lockfile:/a/b.lock", "SHLockFile", "/a/b.lock"),
        ("lockfile:///a/b.lock", "SHLockFile", "/a/b.lock"),
        ("lockfile://localhost/a/b.lock", "SHLockFile", "/a/b.lock"),
        ("shlockfile:/a%20b", "SHLockFile", "/a b"),
        ("flockfile:/a?mode=x", "FLockFile", "/a"),
        ("flockfile:b", "FLockFile", "HERE/b"),
        ("flockfile:b%3Fc", "FLockFile", "HERE/b?c"),
        ("LockFile:/a", "SHLockFile", "/a"),
    ],
)
def test_a_url_of_a_lock_file_gives_its_lock(url, kind, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = ours.lock_from_url(url)
    assert type(lock) is getattr(ours, kind) and lock.fn == path.replace("HERE", str(tmp_path))


def test_a_url_of_a_null_lock_gives_a_new_one_each_time():
    lock, other = (ours.lock_from_url("nulllockfile:x") for _ in range(2))
    assert type(lock) is ours.NullLockFile and lock.attempt() and other.attempt()
    lock.release()
    other.release()


@pytest.mark.parametrize(
    "url", ["lockfile:", "nulllockfile:", "lockfile:?x", "lockfile://localhost", "lockfile://host/a"]
)
def test_a_url_that_names_no_lock_is_refused(url):
    with pytest.raises(sneck.InvalidLock, match=url.replace("?", "[?]")):
        ours.lock_from_url(url)


@pytest.mark.parametrize("url", ["/a", "file:/a", ""])
def test_a_url_of_something_else_is_refused_with_the_schemes_that_are_known(url):
    with pytest.raises(ValueError, match="nulllockfile:"):
        ours.lock_from_url(url)


def test_a_lock_for_windows_cannot_be_had_elsewhere():
    with pytest.raises(ImportError, match="Windows"):
        ours.lock_from_url("winflockfile:/a")


def test_check_lock_takes_for_held_what_it_cannot_understand_and_nothing_for_free(tmp_path):
    path = tmp_path / "lock"
    assert ours.check_lock(path) is False
    for content in "", "0\n", "99999999999999999999\n":
        path.write_text(content)
        assert ours.check_lock(path) is True and path.read_text() == content
    assert ours.pid_exists(2**80) is False


def test_two_temporary_files_never_have_the_same_name(tmp_path):
    one, other = (ours.make_tempfile(tmp_path / "lock", 4711) for _ in range(2))
    assert one != other and sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, (one, other)))


def test_an_obtain_ends_with_what_a_signal_handler_raises(tmp_path, party):
    for kind in FILES:
        mine = lock_of(party, "sneck.compat.peak", kind, tmp_path / kind)
        mine.do("import signal; signal.signal(signal.SIGUSR1, lambda *_: 1 / 0)")
        other = getattr(ours, kind)(tmp_path / kind)
        other.obtain()
        mine.begin("lock.obtain()")
        mine.must_block()
        os.kill(mine.pid, signal.SIGUSR1)
        with pytest.raises(Raised, match="^ZeroDivisionError"):
            mine.answer(PATIENCE)
        other.release()
        assert mine.ask("lock.attempt()")
