"""The lock as it is written in Python: `with`, calls, exceptions, facts. Not for: forks, signals, tasks, other libraries (files of their own)."""

import pickle
import threading

import pytest

import sneck
from party import Raised


def test_with_holds_and_releases(tmp_path, party):
    lock = sneck.Lock(tmp_path / "lock")
    other = party(f"import sneck; lock = sneck.Lock({str(tmp_path / 'lock')!r})")
    with lock as guard:
        assert guard.held and lock.held and lock.locked()
        assert other.ask("lock.try_acquire()") is False
        assert other.ask("lock.held, lock.locked(), lock.holder().pid") == (False, True, lock.holder().pid)
    assert not guard.held and not lock.held and not lock.locked() and lock.holder() is None
    assert other.ask("lock.try_acquire()") is True
    assert lock.holder().pid == other.pid


def test_a_timeout_names_the_holder_and_is_a_TimeoutError(tmp_path, party):
    lock = sneck.Lock(tmp_path / "lock")
    other = party(f"import sneck; lock = sneck.Lock({str(tmp_path / 'lock')!r}); lock.acquire()")
    with pytest.raises(TimeoutError) as caught:
        lock.acquire(timeout=0.05)
    error = caught.value
    assert isinstance(error, sneck.LockTimeout) and isinstance(error, sneck.LockError)
    assert error.holder.pid == other.pid and str(other.pid) in str(error)
    assert error.path == lock.path == str(tmp_path / "lock")
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_a_wait_ends_when_the_holder_releases(tmp_path, party):
    path = tmp_path / "lock"
    lock = sneck.Lock(path)
    other = party(f"import sneck; lock = sneck.Lock({str(path)!r}, timeout=60)")
    lock.acquire()
    other.begin("lock.acquire().held")
    other.must_block()
    lock.release()
    assert other.answer() is True


def test_a_lock_that_nobody_refers_to_is_held(tmp_path, party):
    sneck.Lock(tmp_path / "lock").acquire()
    other = party(f"import sneck; lock = sneck.Lock({str(tmp_path / 'lock')!r})")
    assert other.ask("lock.try_acquire()") is False


def test_an_orderly_end_leaves_no_claim(tmp_path, party):
    path = tmp_path / "lock"
    other = party(f"import sneck; sneck.Lock({str(path)!r}, protocol='pidfile').acquire()")
    assert path.exists()
    assert other.end() == 0
    assert not path.exists()


def test_a_daemon_thread_that_is_inside_at_the_end_is_not_robbed(tmp_path, party):
    path, journal = str(tmp_path / "lock"), str(tmp_path / "journal")
    other = party(
        "import sneck, party, threading, time, atexit\n"
        f"lock = sneck.Lock({path!r})\n"
        "inside = threading.Event()\n"
        "def work():\n"
        "    with lock:\n"
        "        inside.set()\n"
        "        while True:\n"
        f"            party.enter({journal!r}); time.sleep(0.001)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "inside.wait()\n"
        # Comes after the lock's own, since it was registered before.
        "import sys; atexit.unregister(sneck._ends.leave); atexit.register(time.sleep, 0.5); atexit.register(sneck._ends.leave)"
    )
    lock = sneck.Lock(path)
    taken = []
    thread = threading.Thread(target=lambda: taken.append((lock.acquire(), open(journal).read())))
    thread.start()
    assert other.end() == 0
    thread.join()
    assert open(journal).read() == taken[0][1], "it still worked when the lock was ours"
    lock.release()


def test_a_thread_that_acquires_what_it_holds_is_refused_and_another_waits(tmp_path):
    lock = sneck.Lock(tmp_path / "lock")
    with lock:
        with pytest.raises(sneck.Reentrant):
            lock.acquire()
        inside = threading.Event()

        def work():
            with lock:
                inside.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert not inside.wait(0.2)
    thread.join()
    assert inside.is_set()


def test_releasing_what_is_not_held_is_an_error(tmp_path):
    lock, other = sneck.Lock(tmp_path / "lock"), sneck.Lock(tmp_path / "lock")
    with pytest.raises(sneck.NotHeld):
        lock.release()
    with other:
        with pytest.raises(sneck.NotHeld, match="another one"):
            lock.release()
        assert other.held


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "x"}, {"timeout": -1}, {"timeout": float("nan")}, {"stale": "x"}, {"protocol": "x"}, {"reentry": "x"}],
)
def test_wrong_words_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError):
        sneck.Lock(tmp_path / "lock", **wrong)


def test_what_raises_on_wait_ends_the_acquisition(tmp_path, party):
    other = party(f"import sneck; lock = sneck.Lock({str(tmp_path / 'lock')!r}); lock.acquire()")

    def refuse(holder):
        raise KeyError(holder.pid)

    with pytest.raises(KeyError, match=str(other.pid)):
        sneck.Lock(tmp_path / "lock", on_wait=refuse).acquire()


def test_several_as_one(tmp_path, party):
    one, two = sneck.Lock(tmp_path / "one"), sneck.Lock(tmp_path / "two", protocol="pidfile")
    other = party(f"import sneck; two = sneck.Lock({str(tmp_path / 'two')!r}, protocol='pidfile')")
    with sneck.Lock.all(one, two):
        assert one.locked() and two.locked()
    other.do("two.acquire()")
    both = sneck.Lock.all(one, two)
    assert not both.try_acquire() and not one.locked()
    with pytest.raises(sneck.LockTimeout) as caught:
        both.acquire(timeout=0)
    assert caught.value.holder.pid == other.pid


def test_a_pickled_lock_is_the_same_and_not_held(tmp_path):
    lock = sneck.Lock(tmp_path / "lock", protocol="symlink", timeout=2, stale="likely", label="x")
    with lock:
        again = pickle.loads(pickle.dumps(lock))
        assert (again.path, again.protocol, again.timeout) == (lock.path, lock.protocol, lock.timeout)
        assert not again.held and not again.try_acquire() and again.held_in_this_process


def test_a_lock_says_where_it_is_after_the_folder_was_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = sneck.Lock("lock", protocol="symlink")
    monkeypatch.chdir("/")
    with lock:
        assert lock.path == str(tmp_path / "lock") and lock.place == f"symlink:{lock.path}"
        assert (tmp_path / "lock").is_symlink()
    for wrong in ("", ".", "..", "lock/"):
        with pytest.raises(sneck.InvalidLock):
            sneck.Lock(wrong)


def test_a_party_tells_what_it_raised(tmp_path, party):
    with pytest.raises(Raised) as caught:
        party().do(f"sneck.Lock({str(tmp_path)!r}).acquire()")
    assert caught.value.kind == "ForeignFile"
