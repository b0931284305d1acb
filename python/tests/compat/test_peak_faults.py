"""What goes wrong with PEAK's lock files, each seen to happen in their re-enactment and not in `sneck.compat.peak`.

Not shown, since this Python or this machine cannot: descriptors that leak when flock(2) fails for another reason than
being busy, and an obtain() that a signal ends (PEP 475 repeats the call; of ours see `test_peak.py`); a DummyLock, for
a Python without threads; a process number used again, or of another pid namespace, and a file system without hard
links (the library's own tests have these).
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

import peak_reenacted as theirs
import sneck
from kernel_queue import until_asleep
from party import PATIENCE, dead_pid
from sneck.compat import peak as ours

THEIRS, OURS = "peak_reenacted", "sneck.compat.peak"
HERE = pathlib.Path(__file__).parent
# In a party: what came of a call, as its value or the name of an error; stopping between two steps of theirs.
WORDS = """
import os, signal, time
from party import PATIENCE
def said(call):
    try:
        return call()
    except BaseException as error:
        return type(error).__name__
def stop_at(step, sign):
    def between(there):
        if there == step:
            open(sign, "w").close()
            while os.path.exists(sign):
                time.sleep(0.002)
    peak.between = between
"""

modules = pytest.mark.parametrize("module", [THEIRS, OURS], ids=["theirs", "ours"])


def lock_of(party, module, kind, path):
    """A party that has `lock`, of that kind, `said(call)` and `stop_at(step, sign)`."""
    one = party(f"import sys; sys.path.append({str(HERE)!r}); import {module} as peak")
    one.do(f"lock = peak.{kind}({str(path)!r})")
    one.do(WORDS)
    return one


def until(seen):
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def folder(tmp_path):
    """A folder for lock files and nothing else."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


# Two breakers of one dead claim.


def test_of_two_that_break_a_dead_claim_both_hold_with_theirs(tmp_path, party):
    path, sign = tmp_path / "lock", tmp_path / "sign"
    path.write_text(f"{dead_pid()}\n")
    one, other = (lock_of(party, THEIRS, "SHLockFile", path) for _ in range(2))
    one.do(f"stop_at('judged', {str(sign)!r})")
    one.begin("lock.attempt()")
    until(sign.exists)
    assert other.ask("lock.attempt()") is True
    sign.unlink()
    assert one.answer() is True and other.ask("lock.locked()")


def test_of_four_that_break_a_dead_claim_one_holds_with_ours(tmp_path, party):
    rounds, path, dead = 60, tmp_path / "lock", dead_pid()
    parties = [lock_of(party, OURS, "SHLockFile", path) for _ in range(4)]
    for one in parties:
        one.do("def work(start):\n while time.monotonic() < start:\n  pass\n return lock.attempt()")
    for _ in range(rounds):
        (tmp_path / "new").write_text(f"{dead}\n")
        os.rename(tmp_path / "new", path)
        start = time.monotonic() + 0.01
        for one in parties:
            one.begin(f"work({start})")
        got = [one for one in parties if one.answer()]
        assert len(got) == 1 and path.read_text() == f"{got[0].pid}\n"
        got[0].do("lock.release()")


# A holder that releases while another one looks.


def test_an_attempt_beside_a_release_raises_and_leaves_a_file_with_theirs(folder, tmp_path, party):
    path, sign = folder / "lock", tmp_path / "sign"
    holder, comer = (lock_of(party, THEIRS, "SHLockFile", path) for _ in range(2))
    holder.do("lock.obtain()")
    comer.do(f"stop_at('taken', {str(sign)!r})")
    comer.begin("said(lock.attempt)")
    until(sign.exists)
    holder.do("lock.release()")
    sign.unlink()
    assert comer.answer() == "FileNotFoundError"
    assert os.listdir(folder) == [f"shlock{comer.pid}"]


def test_attempts_beside_releases_never_raise_and_leave_nothing_with_ours(folder, party):
    parties = [lock_of(party, OURS, "SHLockFile", folder / "lock") for _ in range(3)]
    for one in parties:
        one.do("""
def work(times):
    for _ in range(times):
        if lock.attempt():
            lock.release()
""")
        one.begin("work(2000)")
    for one in parties:
        assert one.answer() is None
    assert os.listdir(folder) == []


# Claims that cannot be judged.


@pytest.fixture
def public_folder():
    """A folder for everybody: those of pytest are for one user only."""
    path = pathlib.Path(tempfile.mkdtemp())
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("mode", [0o644, 0o000])
@modules
def test_another_users_claim_is_an_error_with_theirs_and_held_with_ours(module, mode, public_folder, party):
    # Of process 1, which is the administrator's: whoever this is becomes somebody else first.
    path = public_folder / "lock"
    one = lock_of(party, module, "SHLockFile", path)
    one.do("os.getuid() == 0 and os.setuid(65534)")
    path.write_text("1\n")
    path.chmod(mode)
    # What theirs leaves behind besides.
    assert one.ask("said(lock.attempt)") == ("PermissionError" if module == THEIRS else False)
    assert sorted(os.listdir(public_folder)) == ["lock"] + [f"shlock{one.pid}"] * (module == THEIRS)
    one.do("os.chdir('/')")
    assert one.ask(f"said(lambda: peak.check_lock({str(path)!r}))") == ("PermissionError" if module == THEIRS else True)
    assert one.ask("said(lambda: peak.pid_exists(1))") == ("PermissionError" if module == THEIRS else True)
    assert path.exists()


@pytest.mark.parametrize(
    "content, of_theirs, of_ours",
    [
        ("", "ValueError", "DamagedClaim"),
        ("text\n", "ValueError", "ForeignFile"),
        ("99999999999999999999\n", "OverflowError", "DamagedClaim"),
        ("PID\nmore\n", "ValueError", False),
        # Theirs takes it for a dead one's, and so the lock.
        ("-5\n", True, "DamagedClaim"),
        # Theirs takes it for alive, for ever and in silence.
        ("0\n", False, "DamagedClaim"),
    ],
)
def test_what_makes_no_sense_is_left_alone_and_said_so_with_ours(content, of_theirs, of_ours, folder, party):
    path, content = folder / "lock", content.replace("PID", str(os.getpid()))
    for module, says in (THEIRS, of_theirs), (OURS, of_ours):
        path.write_text(content)
        one = lock_of(party, module, "SHLockFile", path)
        assert one.ask("said(lock.attempt)") == says
        if module == OURS:
            assert path.read_text() == content and os.listdir(folder) == ["lock"]
            path.unlink()
            assert one.ask("lock.attempt()")
        elif isinstance(says, str):
            assert sorted(os.listdir(folder)) == ["lock", f"shlock{one.pid}"]
            os.unlink(folder / f"shlock{one.pid}")


@modules
def test_a_holder_that_ended_and_is_not_reaped_holds_with_theirs_and_not_with_ours(module, tmp_path, party):
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    (tmp_path / "lock").write_text(f"{ended.pid}\n")
    one = lock_of(party, module, "SHLockFile", tmp_path / "lock")
    assert one.ask("lock.attempt()") is (module == OURS)
    ended.wait()


# Threads with locks of their own in one folder.


def test_two_threads_take_each_others_temporary_file_away_with_theirs(folder, monkeypatch):
    one, other = (theirs.SHLockFile(str(folder / name)) for name in ("one", "other"))
    made, go_on, ended = threading.Event(), threading.Event(), []

    def between(step):
        if step == "made" and threading.current_thread() is thread:
            made.set()
            assert go_on.wait(PATIENCE)

    def work():
        try:
            ended.append(one.attempt())
        except OSError as error:
            ended.append(type(error))

    monkeypatch.setattr(theirs, "between", between)
    thread = threading.Thread(target=work)
    thread.start()
    assert made.wait(PATIENCE)
    assert other.attempt()
    go_on.set()
    thread.join()
    assert ended == [FileNotFoundError]


def test_threads_with_locks_of_their_own_are_not_in_each_others_way_with_ours(folder):
    ended = []

    def work(number):
        lock = ours.SHLockFile(folder / f"lock{number}")
        for _ in range(200):
            assert lock.attempt()
            lock.release()
        ended.append(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [0, 1, 2, 3] and os.listdir(folder) == []


# Releases.


@modules
def test_releasing_what_another_one_holds_removes_its_claim_with_theirs_and_nothing_with_ours(module, tmp_path, party):
    holder, other = (lock_of(party, module, "SHLockFile", tmp_path / "lock") for _ in range(2))
    holder.do("lock.obtain()")
    assert other.ask("said(lock.release)") == ("RuntimeError" if module == THEIRS else "NotHeld")
    assert holder.ask("lock.locked()") and (tmp_path / "lock").exists() is (module == OURS)
    assert other.ask("lock.attempt()") is (module == THEIRS)


IN_CHILD = """
def in_child(call):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        os.write(into, str(said(call)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(out, 100).decode()
"""


@pytest.mark.parametrize("kind", ["SHLockFile", "FLockFile"])
@modules
def test_a_forked_child_releases_its_parents_lock_with_theirs_and_has_none_with_ours(module, kind, tmp_path, party):
    holder, other = (lock_of(party, module, kind, tmp_path / "lock") for _ in range(2))
    holder.do(IN_CHILD)
    holder.do("lock.obtain()")
    assert holder.ask("in_child(lock.locked)") == str(module == THEIRS)
    assert holder.ask("in_child(lock.release)") == ("None" if module == THEIRS else "NotHeld")
    assert holder.ask("lock.locked()")
    assert other.ask("lock.attempt()") is (module == THEIRS)


@modules
def test_after_a_release_that_fails_an_object_is_dead_with_theirs_and_goes_on_with_ours(module, tmp_path, party):
    one = lock_of(party, module, "SHLockFile", tmp_path / "lock")
    one.do("lock.obtain()")
    os.unlink(tmp_path / "lock")
    assert one.ask("said(lock.release)") == ("FileNotFoundError" if module == THEIRS else "LockLost")
    assert one.ask("lock.locked()") is (module == THEIRS)
    assert one.ask("lock.attempt()") is (module == OURS)


@modules
def test_a_second_release_is_an_error_of_another_kind_with_theirs_and_NotHeld_with_ours(module, tmp_path, party):
    for kind, error in (
        ("SHLockFile", "FileNotFoundError"),
        ("FLockFile", "AttributeError"),
        ("NullLockFile", "RuntimeError"),
    ):
        one = lock_of(party, module, "SHLockFile", tmp_path / "lock")
        one.do(
            f"lock = peak.{kind}({str(tmp_path / kind)!r})" if kind != "NullLockFile" else "lock = peak.NullLockFile()"
        )
        assert one.ask("lock.obtain(), lock.release(), said(lock.release)")[2] == (
            error if module == THEIRS else "NotHeld"
        )
        assert one.ask("lock.attempt()") is True


@pytest.mark.parametrize("module, told", [(theirs, False), (ours, True)], ids=["theirs", "ours"])
def test_a_null_lock_that_is_held_says_free_with_theirs_and_held_with_ours(module, told):
    lock = module.NullLockFile()
    lock.obtain()
    assert lock.locked() is told
    lock.release()
    assert lock.locked() is False


# The file of a flock.


@modules
def test_a_program_that_was_started_keeps_the_lock_of_its_dead_parent_with_theirs_and_not_with_ours(
    module, tmp_path, party
):
    holder, other = (lock_of(party, module, "FLockFile", tmp_path / "lock") for _ in range(2))
    holder.do("import subprocess; lock.obtain()")
    holder.do("child = subprocess.Popen(['sleep', str(PATIENCE)], stdout=subprocess.DEVNULL, close_fds=False)")
    child = holder.ask("child.pid")
    try:
        holder.kill()
        assert other.ask("lock.attempt()") is (module == OURS)
    finally:
        os.kill(child, 9)


@modules
def test_whoever_waits_at_a_removed_file_gets_it_beside_another_holder_with_theirs_and_waits_on_with_ours(
    module, tmp_path, party
):
    holder, waiter, comer = (lock_of(party, module, "FLockFile", tmp_path / "lock") for _ in range(3))
    holder.do("lock.obtain()")
    waiter.begin("lock.obtain()")
    until_asleep(waiter.pid)
    os.unlink(tmp_path / "lock")
    # Whoever comes uses the file that is there; only ours tells the holder.
    assert comer.ask("lock.attempt()")
    assert holder.ask("said(lock.release)") == (None if module == THEIRS else "LockLost")
    if module == OURS:
        waiter.must_block()
        comer.do("lock.release()")
    assert waiter.answer() is None


@modules
def test_a_file_of_somebody_elses_is_overwritten_with_theirs_and_refused_with_ours(module, tmp_path, party):
    path = tmp_path / "lock"
    path.write_text("precious\n")
    one = lock_of(party, module, "FLockFile", path)
    assert one.ask("said(lock.attempt)") == (True if module == THEIRS else "ForeignFile")
    assert path.read_text() == (f"{one.pid}\n" if module == THEIRS else "precious\n")


def test_the_errors_of_ours_are_errors_of_sneck(tmp_path):
    lock = ours.SHLockFile(tmp_path / "missing" / "lock")
    with pytest.raises(sneck.LockError) as caught:
        lock.attempt()
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(sneck.NotHeld) as caught:
        lock.release()
    assert isinstance(caught.value, RuntimeError)
