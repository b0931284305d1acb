"""`sneck.compat.locket` is what locket 1.0.0 is, and the two exclude each other.

What both do is asked of both. Not for: locket's faults (`test_locket_faults.py`).
"""

import fcntl
import math
import os
import pickle
import threading

import pytest

try:
    import locket as original
except ImportError as missing:
    raise RuntimeError("locket is not installed: run scripts/test, which installs it") from missing

import sneck
import sneck.compat.locket as ours
from kernel_queue import until_asleep
from party import Raised, stays

NAMES = ["locket", "sneck.compat.locket"]
PAIRS = [NAMES, NAMES[::-1]]
both = pytest.mark.parametrize("locket", [original, ours], ids=["theirs", "ours"])
mixed = pytest.mark.parametrize("one, other", PAIRS, ids=["theirs-ours", "ours-theirs"])


def locker(party, name, path, arguments=""):
    """A party that has `lock`, a locker of that path."""
    setup = "import os, {0} as locket; lock = locket.lock_file({1!r}, {2})"
    return party(setup.format(name, str(path), arguments))


@both
def test_with_holds_and_gives_the_locker(locket, tmp_path, party):
    lock = locket.lock_file(tmp_path / "lock")
    other = locker(party, "locket", tmp_path / "lock", "timeout=0")
    with lock as inside:
        assert inside is lock
        with pytest.raises(Raised, match="LockError"):
            other.do("lock.acquire()")
    assert other.ask("lock.acquire()") is None


@both
def test_acquire_and_release_give_nothing_and_the_file_stays_empty(locket, tmp_path):
    lock = locket.lock_file(str(tmp_path / "lock"))
    assert lock.acquire() is None and lock.release() is None
    assert (tmp_path / "lock").read_bytes() == b""


@both
def test_what_is_not_held_cannot_be_released(locket, tmp_path):
    lock = locket.lock_file(str(tmp_path / "lock"))
    with pytest.raises(locket.LockError) as caught:
        lock.release()
    assert str(caught.value) == "cannot release unlocked lock"
    with lock:
        pass
    with pytest.raises(locket.LockError):
        lock.release()


@both
def test_a_locker_can_be_used_again_after_a_failure(locket, tmp_path, party):
    other = locker(party, "locket", tmp_path / "lock")
    other.do("lock.acquire()")
    lock = locket.lock_file(str(tmp_path / "lock"), timeout=0)
    for _ in range(2):
        with pytest.raises(locket.LockError, match=f"^Couldn't lock {tmp_path}/lock"):
            lock.acquire()
    other.do("lock.release()")
    with lock:
        pass


@both
@pytest.mark.parametrize("timeout", [-1, 0, 0.05])
def test_the_thread_that_holds_it_gets_an_error_after_the_timeout(locket, timeout, tmp_path):
    path = str(tmp_path / "lock")
    with locket.lock_file(path, timeout=timeout) as lock:
        for again in lock, locket.lock_file(path, timeout=timeout):
            with pytest.raises(locket.LockError):
                again.acquire()
        # It is held as before.
        lock.release()
        lock.acquire()


@both
def test_any_locker_of_the_path_releases_in_any_thread_and_each_has_its_own_timeout(locket, tmp_path, party):
    path = str(tmp_path / "lock")
    first, second = locket.lock_file(path), locket.lock_file(path, timeout=0, retry_period=0.01)
    assert first._lock is second._lock is not locket.lock_file(path + "2")._lock
    first.acquire()
    with pytest.raises(locket.LockError):
        second.acquire()
    thread = threading.Thread(target=second.release)
    thread.start()
    thread.join()
    other = locker(party, "locket", path, "timeout=0")
    other.do("lock.acquire(); lock.release()")
    with pytest.raises(locket.LockError):
        first.release()


@both
def test_threads_exclude_each_other(locket, tmp_path):
    path, inside, most = str(tmp_path / "lock"), [], []

    def work():
        for _ in range(50):
            with locket.lock_file(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 200


@both
def test_what_cannot_be_opened_is_an_OSError_of_its_own_kind(locket, tmp_path):
    for path, error in (tmp_path / "missing" / "lock", FileNotFoundError), (tmp_path, IsADirectoryError):
        with pytest.raises(error) as caught:
            locket.lock_file(str(path), timeout=0).acquire()
        assert not isinstance(caught.value, locket.LockError)


@both
def test_unknown_keywords_are_refused(locket, tmp_path):
    with pytest.raises(TypeError):
        locket.lock_file(str(tmp_path / "lock"), wait=1)


@both
def test_text_bytes_and_paths_are_taken(locket, tmp_path):
    for path in str(tmp_path / "lock"), os.fsencode(tmp_path / "lock"), tmp_path / "lock":
        with locket.lock_file(path):
            with open(tmp_path / "lock") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@mixed
@pytest.mark.parametrize("timeout", [None, 60])
def test_a_waiter_gets_it_when_the_other_releases(one, other, timeout, tmp_path, party):
    holder = locker(party, one, tmp_path / "lock")
    waiter = locker(party, other, tmp_path / "lock", f"timeout={timeout}")
    for first, second in (holder, waiter), (waiter, holder):
        first.do("lock.acquire()")
        second.begin("lock.acquire()")
        second.must_block()
        first.do("lock.release()")
        assert second.answer() is None
        second.do("lock.release()")


@mixed
def test_whoever_comes_while_the_other_holds_is_refused_after_the_timeout(one, other, tmp_path, party):
    holder = locker(party, one, tmp_path / "lock")
    for timeout in 0, 0.2:
        comer = locker(party, other, tmp_path / "lock", f"timeout={timeout}")
        holder.do("lock.acquire()")
        with pytest.raises(Raised, match="^LockError: Couldn't lock"):
            comer.do("lock.acquire()")
        holder.do("lock.release()")
        comer.do("lock.acquire(); lock.release()")


@mixed
def test_a_killed_holder_holds_no_longer(one, other, tmp_path, party):
    holder, waiter = (locker(party, name, tmp_path / "lock") for name in (one, other))
    holder.do("lock.acquire()")
    waiter.begin("lock.acquire()")
    waiter.must_block()
    holder.kill()
    assert waiter.answer() is None


def test_both_libraries_in_turn_are_never_inside_at_once(tmp_path, party):
    journal = str(tmp_path / "journal")
    work = f"""
from party import enter, leave
def work(times):
    for _ in range(times):
        with lock:
            enter({journal!r})
            leave({journal!r})
"""
    kinds = [(name, timeout) for name in NAMES for timeout in ("timeout=None", "timeout=60, retry_period=0.001")]
    parties = [locker(party, name, tmp_path / "lock", timeout) for name, timeout in kinds]
    for one in parties:
        one.do(work)
    for one in parties:
        one.begin("work(60)")
    for one in parties:
        assert one.answer() is None
    assert stays(journal) == 4 * 60


# What follows is ours alone.


def test_the_error_names_the_holder(tmp_path, party):
    holder = locker(party, "locket", tmp_path / "lock")
    holder.do("lock.acquire()")
    with pytest.raises(ours.LockError, match=str(holder.pid)) as caught:
        ours.lock_file(tmp_path / "lock", timeout=0).acquire()
    assert caught.value.holder.pid == holder.pid and caught.value.path == str(tmp_path / "lock")
    assert isinstance(caught.value, sneck.LockError)


def test_a_thread_that_would_wait_for_itself_without_an_end_gets_an_error_at_once(tmp_path, party):
    one = locker(party, "sneck.compat.locket", tmp_path / "lock")
    one.do("lock.acquire()")
    for again in "lock", f"locket.lock_file({str(tmp_path / 'lock')!r})":
        with pytest.raises(Raised, match="LockError: .*this thread"):
            one.do(f"{again}.acquire()")
    # A party answers from the thread that was asked: another one waits.
    one.begin("__import__('concurrent.futures').futures.ThreadPoolExecutor(1).submit(lock.acquire).result()")
    one.must_block()


@pytest.mark.parametrize("timeout", [60, math.inf])
def test_with_a_timeout_a_thread_waits_for_another_one_that_releases(timeout, tmp_path):
    lock = ours.lock_file(tmp_path / "lock", timeout=timeout)
    lock.acquire()
    done = []

    def end():
        done.append(1)
        lock.release()

    timer = threading.Timer(0.2, end)
    timer.start()
    lock.acquire()
    assert done
    lock.release()
    timer.join()


def test_a_thread_is_not_taken_for_one_that_has_ended_holding(tmp_path):
    lock = ours.lock_file(tmp_path / "lock")
    first = threading.Thread(target=lock.acquire)
    first.start()
    first.join()
    inside = threading.Event()

    def come():
        # The system gives the number of a thread that has ended to a later one.
        if threading.get_ident() == first.ident:
            lock.acquire()
            inside.set()

    threads = []
    while not any(thread.ident == first.ident for thread in threads):
        assert len(threads) < 1000, "no number is used again"
        threads.append(threading.Thread(target=come))
        threads[-1].start()
    assert not inside.wait(0.3)
    lock.release()
    for thread in threads:
        thread.join()
    assert inside.is_set()


def test_lockers_of_one_file_are_one_lock_however_its_path_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    os.symlink("folder", "link")
    lock = ours.lock_file("folder/lock")
    ways = "./folder/lock", "folder//lock", "link/lock", "folder/../folder/lock", str(tmp_path / "folder/lock")
    for way in ways:
        lock.acquire()
        other = ours.lock_file(way, timeout=0)
        with pytest.raises(ours.LockError):
            other.acquire()
        other.release()


def test_a_relative_path_stays_the_file_that_it_was(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    in_a = ours.lock_file("lock", timeout=0)
    monkeypatch.chdir(tmp_path / "b")
    with in_a:
        assert os.listdir(tmp_path / "a") == ["lock"] and os.listdir() == []
        # locket takes the two for one, since they are written alike, and refuses.
        with ours.lock_file("lock", timeout=0):
            pass


def test_a_pickled_locker_is_one_of_the_same_file(tmp_path):
    lock = ours.lock_file(tmp_path / "lock", timeout=0)
    again = pickle.loads(pickle.dumps(lock))
    with lock, pytest.raises(ours.LockError):
        again.acquire()
    with again, pytest.raises(ours.LockError):
        lock.acquire()


def test_waiting_sleeps_in_the_kernel_whatever_the_retry_period(tmp_path, party):
    waiter = locker(party, "sneck.compat.locket", tmp_path / "lock", "timeout=60, retry_period=0.001")
    with ours.lock_file(tmp_path / "lock"):
        waiter.begin("lock.acquire()")
        until_asleep(waiter.pid)
    assert waiter.answer() is None
