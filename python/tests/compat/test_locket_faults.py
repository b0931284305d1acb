"""What goes wrong with locket 1.0.0, each seen to happen there and not in `sneck.compat.locket`.

Not for: what both do (`test_locket.py`). Not shown: network file systems, whose locks may differ from any of this.
"""

import fcntl
import os
import threading

import pytest

try:
    import locket as original
except ImportError as missing:
    raise RuntimeError("locket is not installed: run scripts/test, which installs it") from missing

import sneck.compat.locket as ours
from kernel_queue import until_asleep, until_open
from party import PATIENCE, Raised

THEIRS, OURS = "locket", "sneck.compat.locket"
# In a party: what came of a call, as a word.
WORDS = """
import os, signal, threading, time
from party import PATIENCE
def said(call):
    try:
        call()
        return "done"
    except BaseException as error:
        return type(error).__name__
"""


def locker(party, name, path, arguments=""):
    """A party that has `lock`, a locker of that path, and `said(call)`."""
    one = party(f"import {name} as locket; lock = locket.lock_file({str(path)!r}, {arguments})")
    one.do(WORDS)
    return one


def is_free(path):
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("name, free", [(THEIRS, True), (OURS, False)])
def test_a_lock_that_nobody_refers_to_is_lost_with_locket_and_held_with_ours(name, free, tmp_path, party):
    path = str(tmp_path / "lock")
    one = locker(party, name, path)
    one.do(f"import gc; del lock; locket.lock_file({path!r}).acquire(); gc.collect()")
    assert is_free(path) is free
    if not free:
        one.do(f"locket.lock_file({path!r}).release()")
        assert is_free(path)


@pytest.mark.parametrize("name, left", [(THEIRS, b""), (OURS, b"precious")])
@pytest.mark.parametrize("held", [True, False])
def test_locket_empties_the_file_even_if_it_does_not_get_it_and_ours_leaves_it_alone(name, left, held, tmp_path, party):
    path = tmp_path / "lock"
    path.write_bytes(b"precious")
    with open(path) as file:
        if held:
            fcntl.flock(file, fcntl.LOCK_EX)
        one = locker(party, name, path, "timeout=0")
        assert one.ask("said(lock.acquire)") == ("LockError" if held else "done")
    assert path.read_bytes() == left


def test_locket_spends_the_timeout_on_threads_and_once_more_on_processes_and_ours_once(tmp_path, party):
    # Another process holds all. At 0 s one thread begins to wait, for 2 s; at 1 s a second one, for 2 s; and, at a
    # lock without other threads, a third one for 2.5 s. The second one has to be the first to give up of the two.
    work = """
ended = []
def wait(who, path, timeout):
    def work():
        assert said(locket.lock_file(path, timeout=timeout).acquire) == "LockError"
        ended.append(who)
    thread = threading.Thread(target=work)
    thread.start()
    return thread
def waits(path):
    threads = [wait("first", path, 2)]
    time.sleep(1)
    threads += [wait("second", path, 2), wait("third", path + "2", 2.5)]
    for thread in threads:
        thread.join()
    return ended
"""
    path = str(tmp_path / "lock")
    with open(path, "w") as one, open(path + "2", "w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)
        parties = [locker(party, name, path) for name in (THEIRS, OURS)]
        for waiter in parties:
            waiter.do(work)
            waiter.begin(f"waits({path!r})")
        assert [waiter.answer() for waiter in parties] == [["first", "third", "second"], ["first", "second", "third"]]


def test_locket_sleeps_its_whole_period_beyond_the_timeout_and_ours_does_not(tmp_path, party):
    with open(tmp_path / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        theirs, mine = (
            locker(party, name, tmp_path / "lock", "timeout=0.2, retry_period=3") for name in (THEIRS, OURS)
        )
        theirs.begin("said(lock.acquire)")
        mine.begin("said(lock.acquire)")
        assert mine.answer() == "LockError"
        theirs.must_block(0)
        assert theirs.answer() == "LockError"


def test_the_holder_of_a_removed_file_hears_nothing_from_locket_and_an_error_from_ours(tmp_path, party):
    for name, heard in (THEIRS, "done"), (OURS, "LockError"):
        holder, comer = (locker(party, name, tmp_path / "lock") for _ in range(2))
        holder.do("lock.acquire()")
        os.unlink(tmp_path / "lock")
        # Whoever comes uses the file that is there: nobody can prevent that any more.
        comer.do("lock.acquire()")
        assert holder.ask("said(lock.release)") == heard
        comer.do("lock.release()")


def test_whoever_waits_at_a_removed_file_gets_it_with_locket_beside_another_holder_and_waits_on_with_ours(
    tmp_path, party
):
    for name, enters in (THEIRS, True), (OURS, False):
        holder, waiter, comer = (locker(party, name, tmp_path / "lock") for _ in range(3))
        holder.do("lock.acquire()")
        waiter.begin("lock.acquire()")
        until_asleep(waiter.pid)
        os.unlink(tmp_path / "lock")
        comer.do("lock.acquire()")
        holder.ask("said(lock.release)")
        if enters:
            assert waiter.answer() is None
        else:
            waiter.must_block()
        comer.do("lock.release()")
        if not enters:
            assert waiter.answer() is None
        waiter.do("lock.release()")


@pytest.mark.parametrize("name, said, free", [(THEIRS, "done", True), (OURS, "LockError", False)])
def test_a_forked_child_releases_its_parents_lock_with_locket_and_has_nothing_to_release_with_ours(
    name, said, free, tmp_path, party
):
    one = locker(party, name, tmp_path / "lock")
    one.do("""
def in_child(call):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        os.write(into, said(call).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(out, 100).decode()
lock.acquire()
""")
    assert one.ask("in_child(lock.release)") == said
    assert is_free(tmp_path / "lock") is free
    # A child that leaves the block it was forked in: with ours in silence, and that frees nothing either.
    if not free:
        assert one.ask("in_child(lambda: lock.__exit__(None, None, None))") == "done"
        assert not is_free(tmp_path / "lock")
        one.do("lock.release()")
        assert is_free(tmp_path / "lock")


@pytest.mark.parametrize("name, free", [(THEIRS, False), (OURS, True)])
def test_a_forked_child_that_lives_on_keeps_the_lock_with_locket_and_not_with_ours(name, free, tmp_path, party):
    one = locker(party, name, tmp_path / "lock")
    # The child says that it runs: its copy is closed before that, but not before the system lets it run.
    one.do("""
lock.acquire()
out, into = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(PATIENCE)
    # What its parent is told goes to a pipe that closes with the last who has it.
    os.close(0)
    os.close(1)
    os.write(into, b"x")
    while True:
        time.sleep(60)
os.read(out, 1)
""")
    child = one.ask("child")
    try:
        one.kill()
        assert is_free(tmp_path / "lock") is free
    finally:
        os.kill(child, 9)


@pytest.mark.parametrize("name, comes", [(THEIRS, False), (OURS, True)])
@pytest.mark.parametrize(
    "busy",
    [
        # Another thread is about to make a locker.
        "(getattr(locket, '_locks_lock', None) or locket._registry).acquire()",
        # Another thread holds the lock, and releases it after the fork.
        "thread = threading.Thread(target=lambda: (lock.acquire(), held.set(), go.wait(), lock.release())); "
        "thread.start(); held.wait()",
    ],
    ids=["registry", "lock"],
)
def test_a_child_forked_while_a_thread_is_at_it_never_gets_a_lock_with_locket_and_does_with_ours(
    name, comes, busy, tmp_path, party
):
    one = locker(party, name, tmp_path / "lock")
    one.do(f"held, go = threading.Event(), threading.Event(); {busy}")
    one.do(f"""
child = os.fork()
if child == 0:
    signal.alarm(PATIENCE)
    locket.lock_file({str(tmp_path / "lock")!r}).acquire()
    os._exit(0)
go.set()
""")
    child = one.ask("child")
    if comes:
        assert one.ask("os.waitpid(child, 0)") == (child, 0)
    else:
        # It would be through as soon as it runs.
        one.begin("os.waitpid(child, 0)")
        one.must_block(1)
        os.kill(child, 9)
        assert one.answer() == (child, 9)


def test_of_two_threads_that_release_at_once_one_gets_a_stray_error_from_locket(tmp_path, monkeypatch):
    # Both are let into the release before either goes on.
    lock = original.lock_file(str(tmp_path / "lock"))
    together = threading.Barrier(2)
    unlock = original._unlock_file

    def unlock_together(file):
        together.wait(PATIENCE)
        unlock(file)

    monkeypatch.setattr(original, "_unlock_file", unlock_together)
    lock.acquire()
    errors = [error for error in _at_once([lock.release, lock.release]) if error]
    assert len(errors) == 1 and not isinstance(errors[0], original.LockError)


def test_of_two_threads_that_release_at_once_one_does_with_ours(tmp_path):
    lock, other = ours.lock_file(tmp_path / "lock", timeout=0), ours.lock_file(tmp_path / "lock", timeout=0)
    for _ in range(200):
        lock.acquire()
        errors = [error for error in _at_once([lock.release, other.release]) if error]
        assert len(errors) == 1 and isinstance(errors[0], ours.LockError)
        assert is_free(tmp_path / "lock")


def _at_once(calls):
    ended, together = [], threading.Barrier(len(calls))

    def run(call):
        together.wait(PATIENCE)
        try:
            call()
            ended.append(None)
        except Exception as error:
            ended.append(error)

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def test_after_a_release_that_fails_locket_is_locked_for_good(tmp_path):
    lock = original.lock_file(str(tmp_path / "lock"), timeout=0)
    lock.acquire()
    lock._lock._locks[1]._file.close()
    with pytest.raises(ValueError):
        lock.release()
    assert is_free(tmp_path / "lock")
    with pytest.raises(original.LockError):
        lock.acquire()


def test_after_a_release_that_fails_ours_goes_on(tmp_path):
    lock = ours.lock_file(tmp_path / "lock", timeout=0)
    lock.acquire()
    os.unlink(tmp_path / "lock")
    with pytest.raises(ours.LockError, match="removed"):
        lock.release()
    with lock:
        assert not is_free(tmp_path / "lock")


def test_locket_goes_through_a_link_to_a_number_and_ours_waits_for_its_holder(tmp_path, party):
    path, holder = tmp_path / "lock", party("")
    os.symlink(str(holder.pid), path)
    mine = locker(party, OURS, path, "timeout=0")
    with pytest.raises(Raised, match=f"LockError: .*{holder.pid}"):
        mine.do("lock.acquire()")
    assert os.listdir(tmp_path) == ["lock"]
    theirs = locker(party, THEIRS, path, "timeout=0")
    assert theirs.ask("said(lock.acquire)") == "done"
    assert sorted(os.listdir(tmp_path)) == sorted(["lock", str(holder.pid)])


@pytest.mark.parametrize("name, first", [(THEIRS, "late"), (OURS, "early")])
def test_whoever_looks_more_often_goes_first_with_locket_and_whoever_came_first_with_ours(name, first, tmp_path, party):
    holder = locker(party, name, tmp_path / "lock")
    holder.do("lock.acquire()")
    waits = {
        "early": locker(party, name, tmp_path / "lock", f"timeout={PATIENCE}, retry_period=4"),
        "late": locker(party, name, tmp_path / "lock", f"timeout={PATIENCE}, retry_period=0.001"),
    }
    for who, waiter in waits.items():
        # When they got it, and how long they keep it: the clock is one for all processes.
        waiter.do("def work():\n lock.acquire()\n at = time.monotonic()\n lock.release()\n return at")
        waiter.begin("work()")
        if name == OURS:
            until_asleep(waiter.pid)
        else:
            # It opens the file and looks once; then the early one sleeps for long.
            until_open(waiter.pid, tmp_path / "lock")
            waiter.must_block()
    holder.do("lock.release()")
    got = {who: waiter.answer() for who, waiter in waits.items()}
    assert min(got, key=got.get) == first
