"""sneck.compat.labm8: what the original promises, and company with it. Its package brings no tests of this module.

Not for: the faults of the original (`test_labm8_faults.py`).
"""

import os
import pickle
import sys
import threading
from datetime import datetime, timedelta, timezone

import pytest

import sneck
from originals import begin, let_go
from party import PATIENCE, Raised, dead_pid, stays
from sneck.compat import labm8 as m

BOTH = ["original", "ours"]
PAIRS = [("ours", "original"), ("original", "ours"), ("ours", "ours")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def start(party, path):
    """Starts a party whose `m` is the original or ours, and whose `lock` is at one place for all."""

    def starts(whose):
        return party(f"{begin('labm8', whose)}; lock = m.LockFile({str(path)!r})")

    return starts


def refusal(party, code):
    """What it raised."""
    with pytest.raises(Raised) as caught:
        party.do(code)
    return caught.value.kind


# Company.


@pytest.mark.parametrize("one, other", PAIRS)
def test_each_reads_the_others_lock_and_is_refused(start, path, one, other):
    one, other = start(one), start(other)
    assert one.ask("lock.acquire() is lock")
    facts = "lock.islocked, lock.owned_by_self, lock.pid, (lock.date.year, lock.date.month, lock.date.day)"
    now = datetime.now()
    assert one.ask(facts)[1] is True
    islocked, owned, pid, day = other.ask(facts)
    assert (islocked, owned, pid) == (True, False, one.pid)
    assert abs(datetime(*day) - now) < timedelta(days=2)
    for refused in ("lock.acquire()", "lock.acquire(replace_stale=True)", "lock.__enter__()"):
        assert refusal(other, refused) == "UnableToAcquireLockError"
    assert refusal(other, "lock.release()") == "UnableToReleaseLockError"
    assert one.ask("lock.owned_by_self")
    one.do("lock.release()")
    assert not path.exists() and not other.ask("lock.islocked or lock.pid or lock.date or lock.owned_by_self")
    other.do("lock.acquire()")
    assert one.ask("lock.pid") == other.pid


POLL = """
import party as journal
def poll():
    while True:
        try:
            lock.acquire()
            journal.enter(PATH)
            return
        except (m.UnableToAcquireLockError, FileNotFoundError, IndexError):
            time.sleep(0.001)
def leave():
    journal.leave(PATH)
    lock.release()
"""


def test_the_original_and_ours_take_turns_and_are_never_inside_at_once(start, tmp_path):
    """One wants it while the other holds it. Where both want a free one the original cannot be kept out: see below."""
    parties = [start("original"), start("ours")]
    for one in parties:
        one.do(f"PATH = {str(tmp_path / 'journal')!r}\n{POLL}")
    parties[0].do("poll()")
    for number in range(30):
        holder, waiter = parties[number % 2], parties[(number + 1) % 2]
        waiter.begin("poll()")
        waiter.must_block(0.01)
        holder.do("leave()")
        waiter.answer()
    parties[0].do("leave()")
    assert stays(tmp_path / "journal") == 31


def test_an_original_that_saw_it_free_writes_over_ours_which_is_told_and_leaves_it_alone(start, path, tmp_path):
    os.mkfifo(tmp_path / "gate")
    gate = str(tmp_path / "gate")
    original, ours, third = start("original"), start("ours"), start("ours")
    original.do(f"m.LockFile.write = staticmethod(originals.held_up(m.LockFile.write, {gate!r}))")
    original.begin("lock.acquire() is lock")
    original.must_block()
    ours.do("lock.acquire()")
    assert ours.ask("lock.owned_by_self")
    let_go(gate)
    assert original.answer()
    written = path.read_bytes()
    assert not ours.ask("lock.owned_by_self")
    assert refusal(ours, "lock.release()") == "UnableToReleaseLockError"
    assert refusal(ours, "lock.acquire()") == "UnableToAcquireLockError"
    assert refusal(third, "lock.acquire(replace_stale=True)") == "UnableToAcquireLockError"
    assert path.read_bytes() == written and original.ask("lock.owned_by_self")
    original.do("lock.release()")
    ours.do("lock.acquire()")


@pytest.mark.parametrize("holder, thief", PAIRS + [("original", "original")])
def test_whoever_is_robbed_by_force_is_told_when_it_releases(start, path, holder, thief):
    holder, thief = start(holder), start(thief)
    holder.do("lock.acquire()")
    thief.do("lock.acquire(force=True)")
    assert not holder.ask("lock.owned_by_self")
    assert refusal(holder, "lock.release()") == "UnableToReleaseLockError"
    assert refusal(holder, "lock.acquire()") == "UnableToAcquireLockError"
    assert thief.ask("lock.owned_by_self, lock.pid") == (True, thief.pid)
    thief.do("lock.release()")
    holder.do("lock.acquire()")
    thief.do("lock.release(force=True)")
    assert not path.exists()
    holder.do("lock.release()")


@pytest.mark.parametrize("dead, heir", PAIRS)
def test_a_dead_holders_lock_stays_until_replace_stale(start, path, dead, heir):
    dead, heir = start(dead), start(heir)
    dead.do("lock.acquire()")
    dead.kill()
    assert heir.ask("lock.islocked, lock.owned_by_self, lock.pid") == (True, False, dead.pid)
    assert refusal(heir, "lock.acquire()") == "UnableToAcquireLockError"
    assert refusal(heir, "lock.release()") == "UnableToReleaseLockError"
    heir.do("lock.acquire(replace_stale=True)")
    assert heir.ask("lock.owned_by_self")
    heir.do("lock.release()")
    assert not path.exists()


# What the original promises.


@pytest.mark.parametrize("whose", BOTH)
def test_acquisitions_are_not_counted_and_give_the_lock_itself(start, path, whose):
    one = start(whose)
    assert one.ask("lock.acquire() is lock.acquire(force=True) is lock.acquire(replace_stale=True) is lock")
    written = path.read_bytes()
    one.do("lock.acquire()")
    assert path.read_bytes() == written
    one.do("lock.release()")
    assert not path.exists()
    one.do("lock.release(); lock.release(force=True)")
    one.do(
        "lock.acquire(force=True); lock.release(force=True); lock.acquire(replace_stale=True)\nwith lock as same: assert same is lock"
    )
    assert not path.exists()


@pytest.mark.parametrize("whose", BOTH)
def test_the_names_are_those_of_the_original(start, path, whose):
    one = start(whose)
    assert one.ask("repr(lock), str(lock), lock.path") == (str(path),) * 3
    names = ["acquire", "date", "islocked", "owned_by_self", "path", "pid", "read", "release", "write"]
    assert one.ask("sorted(n for n in dir(lock) if not n.startswith('_'))") == names
    errors = "(m.UnableToAcquireLockError, m.UnableToReleaseLockError)"
    assert one.ask(f"[issubclass(e, m.Error) for e in {errors}] + [m.Error.__base__ is Exception]") == [True] * 3
    one.do("os.environ['HOME'] = '/a'")
    assert one.ask("m.LockFile('~/b').path, m.LockFile('c').path") == ("/a/b", "c")
    assert refusal(one, "m.LockFile('/nowhere/lock').acquire()") in ("FileNotFoundError", "NoFolder")
    assert issubclass(sneck.NoFolder, FileNotFoundError)


def test_the_errors_tell_process_time_and_path_as_they_were_when_raised(start, path):
    holder, lock = start("ours"), m.LockFile(path)
    holder.do("lock.acquire()")
    date = lock.date
    with pytest.raises(m.UnableToAcquireLockError) as acquiring:
        lock.acquire()
    with pytest.raises(m.UnableToReleaseLockError) as releasing:
        lock.release()
    holder.do("lock.release()")
    for caught in (acquiring.value, releasing.value, pickle.loads(pickle.dumps(acquiring.value))):
        assert caught.lock.path == str(path)
        assert all(fact in str(caught) for fact in (str(path), f"process {holder.pid} ", str(date)))


def test_the_date_is_a_datetime_in_local_time(start, path):
    lock = m.LockFile(path)
    before = datetime.now()
    with lock:
        assert before - timedelta(milliseconds=1) <= lock.date <= datetime.now()
        assert lock.date.tzinfo is None
        assert m.LockFile.read(path) == m.LockFile.read(str(path)) == (os.getpid(), lock.date)
    assert lock.date is lock.pid is None and m.LockFile.read(path) == (None, None)


@pytest.mark.parametrize("whose", BOTH)
def test_what_is_written_can_be_read_by_either(start, path, whose):
    writer, reader = start(whose), start("original" if whose == "ours" else "ours")
    seconds = datetime(2017, 3, 4, 5, 6, 7, 250000).timestamp()
    writer.do(f"m.LockFile.write({str(path)!r}, 4194304, {seconds})")
    assert path.read_bytes() == f"4194304 {seconds!r}\n".encode()
    day = f"[(pid, date.year, date.month, date.day) for pid, date in [m.LockFile.read({str(path)!r})]]"
    assert reader.ask(day) == writer.ask(day) == [(4194304, 2017, 3, 4)]
    for one in (writer, reader):
        assert refusal(one, "lock.acquire()") == "UnableToAcquireLockError"
    reader.do("lock.acquire(replace_stale=True)")


def test_write_takes_a_datetime_of_any_zone(path):
    moment = datetime(2017, 3, 4, 5, 6, 7, 250000)
    m.LockFile.write(path, 12, moment)
    assert m.LockFile.read(path) == (12, moment)
    m.LockFile.write(str(path), 13, datetime(2017, 3, 4, 5, 6, 7, tzinfo=timezone.utc))
    assert m.LockFile.read(path)[1].timestamp() == 1488603967
    assert os.listdir(path.parent) == ["lock"]


def test_what_is_written_is_never_seen_half_written(path):
    m.LockFile.write(path, 12, 1.5)
    with open(path) as opened:
        m.LockFile.write(path, 13, 2.5)
        assert opened.read() == "12 1.5\n"
    assert path.read_text() == "13 2.5\n"


def test_write_leaves_alone_what_is_no_file_and_leaves_nothing_of_its_own(path):
    path.symlink_to("nowhere")
    with pytest.raises(m.Error):
        m.LockFile.write(path, 12, 0)
    assert os.readlink(path) == "nowhere" and os.listdir(path.parent) == ["lock"]
    with pytest.raises(ValueError):
        m.LockFile.write(path.parent / "other", "x", 0)
    assert os.listdir(path.parent) == ["lock"]


def test_a_holder_over_whose_lock_somebody_wrote_holds_it_no_more(path):
    lock = m.LockFile(path).acquire()
    m.LockFile.write(path, 1, 1e9)
    assert not lock.owned_by_self and lock.pid == 1
    with pytest.raises(m.UnableToReleaseLockError):
        lock.release()
    lock.acquire(force=True)
    assert lock.owned_by_self
    lock.release()
    assert not path.exists()


def test_a_holder_whose_file_was_removed_may_acquire_again_and_holds_no_more_than_that(start, path):
    lock, other = m.LockFile(path), start("ours")
    lock.acquire()
    path.unlink()
    lock.release()
    assert not sneck.Lock(path, protocol="labm8").held_in_this_process
    lock.acquire()
    path.unlink()
    lock.acquire()
    lock.release()
    other.do("lock.acquire()")
    with pytest.raises(m.UnableToAcquireLockError):
        lock.acquire()


def test_a_lock_that_was_written_in_our_name_is_ours_and_is_made_anew_by_acquiring_it(path):
    lock = m.LockFile(path)
    m.LockFile.write(path, os.getpid(), datetime.now())
    assert lock.owned_by_self
    lock.release()
    assert not path.exists()
    m.LockFile.write(path, os.getpid(), datetime.now())
    lock.acquire()
    assert sneck.Lock(path, protocol="labm8").held_in_this_process
    lock.release()
    assert not path.exists()


@pytest.mark.parametrize("whose", BOTH)
def test_a_process_that_replaces_itself_by_exec_keeps_its_lock(start, path, whose):
    before = start(whose)
    before.do("lock.acquire()")
    lock = f"lock = m.LockFile({str(path)!r})"
    after = f"{begin('labm8', whose)}; {lock}; print(lock.owned_by_self); lock.acquire(); lock.release(); print(lock.islocked)"
    before.begin(f"os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {after!r}])")
    assert before.process.wait(PATIENCE) == 0
    assert before.process.stdout.read() == "True\nFalse\n"


def test_any_object_and_any_thread_of_the_process_may_release(path):
    one = m.LockFile(path)
    (path.parent / "same").symlink_to(path.parent)
    for other in (m.LockFile(path), m.LockFile(path.parent / "same" / "lock"), pickle.loads(pickle.dumps(one))):
        one.acquire()
        assert other.owned_by_self and other.acquire() is other
        thread = threading.Thread(target=other.release)
        thread.start()
        thread.join()
        assert not path.exists() and not one.owned_by_self


def test_threads_of_one_process_that_acquire_at_once_all_have_it(path):
    barrier, failures = threading.Barrier(4), []

    def work():
        try:
            for _ in range(50):
                barrier.wait(PATIENCE)
                assert m.LockFile(path).acquire().owned_by_self
                barrier.wait(PATIENCE)
                m.LockFile(path).release()
        except BaseException as failure:
            failures.append(failure)
            barrier.abort()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and not path.exists()


def test_a_lock_that_nobody_refers_to_is_held_and_can_be_released(start, path):
    m.LockFile(path).acquire()
    assert refusal(start("ours"), "lock.acquire(replace_stale=True)") == "UnableToAcquireLockError"
    m.LockFile(path).release()
    assert not path.exists()


def test_an_orderly_end_of_the_process_releases(start, path):
    ours = start("ours")
    ours.do("lock.acquire()")
    assert path.exists() and ours.end() == 0
    assert not path.exists()


def test_a_relative_path_means_the_same_file_after_chdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = m.LockFile("lock").acquire()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir("else")
    assert lock.path == "lock" and lock.owned_by_self
    lock.release()
    assert os.listdir(tmp_path) == ["else"]


def test_a_dead_process_is_not_replaced_by_entering(path):
    m.LockFile.write(path, dead_pid(), 1e9)
    with pytest.raises(m.UnableToAcquireLockError):
        with m.LockFile(path):
            pass
    assert m.LockFile(path).date == datetime.fromtimestamp(1e9)


def test_files_of_labm8_of_2020_are_read_and_respected(path):
    path.write_text(
        f'owner_process_id: {os.getppid()}\nowner_process_argv: "x"\ndate_acquired_unix_epoch_ms: 1000\nowner_user: "x"\n'
    )
    lock = m.LockFile(path)
    assert lock.pid == os.getppid() and isinstance(lock.date, datetime) and lock.date.tzinfo is None
    with pytest.raises(m.UnableToAcquireLockError):
        lock.acquire(replace_stale=True)
    lock.acquire(force=True).release()
