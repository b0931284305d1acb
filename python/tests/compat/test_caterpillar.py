"""sneck.compat.caterpillar: caterpillar's own tests, company with the original, and each fault of the original beside what ours does.

Faults that cannot be shown here: deletions that are still pending on Windows. Not for: what any lock does (the other tests).
"""

import errno
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

import sneck
from originals import CLEARLY_YOUNGER, begin, container, let_go, source
from party import PATIENCE, Raised, dead_pid, stays
from sneck.compat import caterpillar as m

BOTH = ["original", "ours"]

REDIRECT = """
import os, sys, types
import sneck.compat.caterpillar as ours

stub = types.ModuleType("caterpillar")
stub.__path__ = [os.environ["CATERPILLAR"]]
stub.locking = ours
sys.modules["caterpillar"] = stub
sys.modules["caterpillar.locking"] = ours

def pytest_collection_modifyitems(items):
    assert all(item.module.PIDLockFile is ours.PIDLockFile for item in items)
"""


@pytest.fixture
def start(party, tmp_path):
    """Starts a party whose `m` is the original or ours, and whose `lock` is at one place for all: `lock.lock` in a folder of its own."""
    (tmp_path / "place").mkdir()

    def starts(whose, **options):
        return party(
            f"{begin('caterpillar', whose)}; lock = m.PIDLockFile({str(tmp_path / 'place' / 'lock')!r})", **options
        )

    return starts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "place" / "lock.lock"


@pytest.fixture
def gate(tmp_path):
    os.mkfifo(tmp_path / "gate")
    return str(tmp_path / "gate")


def refusal(party, code):
    """What it raised."""
    with pytest.raises(Raised) as caught:
        party.do(code)
    return caught.value.kind


def test_caterpillars_own_tests_pass_unmodified(tmp_path):
    package = source("caterpillar") / "caterpillar"
    (tmp_path / "redirect.py").write_text(REDIRECT)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    environment = dict(os.environ, PYTHONPATH=path, CATERPILLAR=str(package), PYTHONDONTWRITEBYTECODE="1")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "redirect",
        "-p",
        "no:cacheprovider",
        "-q",
        str(package / "test" / "test_locking.py"),
    ]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0 and "4 passed" in ran.stdout and "failed" not in ran.stdout, ran.stdout + ran.stderr


# Company.


@pytest.mark.parametrize("one, other", [("ours", "original"), ("original", "ours"), ("ours", "ours")])
def test_each_is_refused_and_waits_while_the_other_holds(start, path, one, other):
    one, other = start(one), start(other)
    one.do("lock.acquire()")
    assert path.read_text() == f"{one.pid}\n"
    assert other.ask("lock.is_locked(), lock.i_am_locking(), lock.read_pid()") == (True, False, one.pid)
    assert refusal(other, "lock.acquire(timeout=0)") == "AlreadyLocked"
    assert refusal(other, "lock.acquire(timeout=0.05)") == "LockTimeout"
    assert refusal(other, "lock.release()") == "NotMyLock"
    other.begin("lock.acquire()")
    other.must_block()
    one.do("lock.release()")
    other.answer()
    assert other.ask("lock.i_am_locking()") and one.ask("lock.read_pid()") == other.pid
    other.do("lock.release()")
    assert not os.path.lexists(path) and refusal(one, "lock.release()") == "NotLocked"


TURNS = """
import party as journal
def turns(count):
    for _ in range(count):
        while True:
            try:
                lock.acquire(timeout=0.02)
                break
            except m.LockTimeout:
                pass
        journal.enter(PATH)
        time.sleep(0.0003)
        journal.leave(PATH)
        lock.release()
"""


def test_two_of_each_take_turns_and_are_never_inside_at_once(start, tmp_path):
    parties = [start(whose) for whose in ("original", "ours", "original", "ours")]
    for one in parties:
        one.do(f"PATH = {str(tmp_path / 'journal')!r}\n{TURNS}")
    for one in parties:
        one.begin("turns(60)")
    for one in parties:
        one.answer()
    assert stays(tmp_path / "journal") == 240


# Faults of the original.


def test_a_crash_locks_the_original_for_ever_and_ours_is_free_at_once(start, path):
    holder = start("original")
    holder.do("lock.acquire()")
    waiter = start("ours")
    waiter.begin("lock.acquire()")
    waiter.must_block()
    holder.kill()
    waiter.answer()
    assert waiter.ask("lock.i_am_locking()")
    waiter.kill()
    assert path.exists()
    original = start("original")
    assert refusal(original, "lock.acquire(timeout=0)") == "AlreadyLocked"
    original.begin("lock.acquire()")
    original.must_block(0.5)
    start("ours").do("lock.acquire(timeout=0)")


def test_a_living_process_is_never_robbed(start, path):
    holder = start("original")
    holder.do("lock.acquire()")
    for _ in range(3):
        assert refusal(start("ours"), "lock.acquire(timeout=0.1)") == "LockTimeout"
    assert path.read_text() == f"{holder.pid}\n"


FULL = """
import resource
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
"""


def test_a_full_disk_leaves_the_original_wedged_and_nothing_of_ours(start, path):
    original = start("original")
    assert refusal(original, FULL + "lock.acquire()") == "LockFailed"
    assert path.read_bytes() == b""
    assert refusal(original, "lock.acquire(timeout=0)") == "AlreadyLocked"
    assert refusal(original, "lock.release()") == "NotMyLock"
    path.unlink()

    ours = start("ours")
    assert refusal(ours, FULL + "lock.acquire()") == "LockFailed"
    assert not os.listdir(path.parent)
    ours.do("resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)); lock.acquire(timeout=0)")


def test_an_empty_file_is_busy_while_it_may_be_written_yet_and_the_error_says_what_it_is(start, path):
    ours = start("ours")
    path.write_text("")
    with pytest.raises(Raised, match="it is empty") as caught:
        ours.do("lock.acquire(timeout=0)")
    assert caught.value.kind == "AlreadyLocked"
    assert refusal(ours, "lock.acquire(timeout=0.1)") == "LockTimeout"
    ours.begin("lock.acquire()")
    ours.must_block()
    path.unlink()
    ours.answer()


def test_whoever_is_robbed_between_look_and_release_removes_the_thiefs_lock_with_the_original_and_not_with_ours(
    start, path, gate
):
    robbed, thief = start("original"), start("original")
    robbed.do(f"lock.acquire(); os.remove = originals.held_up(os.remove, {gate!r})")
    robbed.begin("lock.release()")
    robbed.must_block()
    path.unlink()
    thief.do("lock.acquire()")
    let_go(gate)
    robbed.answer()
    assert not path.exists(), "the thief holds it, and anybody gets in"

    # Ours looks and removes in the native half, in one go: here it is robbed before.
    robbed, thief = start("ours"), start("ours")
    robbed.do("lock.acquire()")
    path.unlink()
    thief.do("lock.acquire()")
    assert refusal(robbed, "lock.release()") == "NotMyLock"
    assert thief.ask("lock.i_am_locking()")
    thief.do("lock.release()")
    robbed.do("lock.acquire(timeout=0)")
    assert robbed.ask("lock.i_am_locking()")


def test_a_restarted_container_takes_its_predecessors_file_for_its_own_with_the_original_and_not_with_ours(
    start, path, tmp_path
):
    first = start("ours", python=container(tmp_path))
    assert first.ask("lock.acquire() or os.getpid()") == 1
    first.kill()
    assert path.read_text() == "1\n"
    time.sleep(CLEARLY_YOUNGER)
    ours, original = (start(whose, python=container(tmp_path)) for whose in ("ours", "original"))
    assert ours.ask("lock.read_pid(), lock.i_am_locking()") == (1, False)
    assert refusal(ours, "lock.release()") == "NotMyLock"
    assert original.ask("lock.i_am_locking()") and path.exists()
    assert refusal(original, "lock.acquire(timeout=0)") == "AlreadyLocked", "nor does it get it: it waits for itself"
    ours.do("lock.acquire(timeout=0)")
    assert ours.ask("lock.i_am_locking()")


def test_a_namesake_in_another_container_releases_a_living_holders_lock_with_the_original_and_not_with_ours(
    start, path, tmp_path
):
    holder, ours, original = (start(whose, python=container(tmp_path)) for whose in ("ours", "ours", "original"))
    holder.do("lock.acquire()")
    assert ours.ask("lock.read_pid(), lock.i_am_locking()") == (1, False)
    assert refusal(ours, "lock.release()") == "NotMyLock"
    assert refusal(ours, "lock.acquire(timeout=0)") == "AlreadyLocked"
    assert holder.ask("lock.i_am_locking()") and path.exists()
    original.do("lock.release()")
    assert not path.exists()


JUMP = """
real = time.time
calls = []
def clock():
    calls.append(1)
    return real() + 3600 * (len(calls) > 1)
time.time = clock
"""


def test_a_clock_that_is_set_ends_the_originals_wait_and_not_ours(start):
    holder = start("ours")
    holder.do("lock.acquire()")
    original, ours = start("original"), start("ours")
    assert refusal(original, JUMP + "lock.acquire(timeout=1000)") == "LockTimeout"
    ours.do(JUMP)
    ours.begin("lock.acquire(timeout=1000)")
    ours.must_block()
    holder.do("lock.release()")
    ours.answer()


def test_a_negative_timeout_tries_once_even_if_the_clock_stands_still(start):
    start("ours").do("lock.acquire()")
    frozen = "time.time = lambda: 1000.0\nlock.acquire(timeout=-1)"
    assert refusal(start("original"), frozen) == "ValueError"
    assert refusal(start("ours"), frozen) == "AlreadyLocked"


def test_with_a_long_timeout_the_original_sleeps_on_and_ours_wakes(start):
    holder, original, ours = start("ours"), start("original"), start("ours")
    holder.do("lock.acquire()")
    for waiter in (original, ours):
        waiter.begin("lock.acquire(timeout=2000)")
        waiter.must_block()
    holder.do("lock.release()")
    ours.answer()
    ours.do("lock.release()")
    # It looks every 200 seconds.
    original.must_block()


FORK = """
import signal
def child():
    told = []
    for call in (lambda: lock.acquire(timeout=0), lock.release):
        try:
            call()
        except (m.LockError, m.UnlockError) as error:
            told.append(type(error).__name__)
    return told + [lock.i_am_locking()]
def forked():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(child()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reader, 1000).decode()
"""


@pytest.mark.parametrize("whose", BOTH)
def test_a_forked_child_does_not_hold_what_its_parent_holds(start, path, whose):
    parent = start(whose)
    parent.do(FORK + "lock.acquire()")
    assert parent.ask("forked()") == "['AlreadyLocked', 'NotMyLock', False]"
    assert parent.ask("lock.i_am_locking()") and path.read_text() == f"{parent.pid}\n"
    parent.do("lock.release()")


# What ours does by itself.


@pytest.mark.parametrize("whose", BOTH)
def test_a_process_that_replaces_itself_by_exec_keeps_its_lock(start, path, whose):
    before = start(whose)
    before.do("lock.acquire()")
    lock = f"lock = m.PIDLockFile({str(path)[: -len('.lock')]!r})"
    after = (
        f"{begin('caterpillar', whose)}; {lock}; print(lock.i_am_locking()); lock.release(); print(lock.is_locked())"
    )
    before.begin(f"os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {after!r}])")
    assert before.process.wait(PATIENCE) == 0
    assert before.process.stdout.read() == "True\nFalse\n"


def test_the_names_are_those_of_the_original(start):
    assert {m.LockTimeout.__base__, m.AlreadyLocked.__base__, m.LockFailed.__base__} == {m.LockError}
    assert {m.NotLocked.__base__, m.NotMyLock.__base__} == {m.UnlockError}
    assert m.LockError.__base__ is m.UnlockError.__base__ is Exception
    facts = "lock.path, lock.lock_file, lock.unique_name, lock.hostname"
    names = "sorted(n for n in dir(lock) if not n.startswith('_'))"
    original, ours = start("original"), start("ours")
    assert original.ask(facts) == ours.ask(facts)
    assert original.ask(names) == ours.ask(names)
    assert original.ask("lock.pid == os.getpid()") and ours.ask("lock.pid == os.getpid()")


def test_it_fails_with_LockFailed_where_waiting_would_not_help(tmp_path):
    with pytest.raises(m.LockFailed) as caught:
        m.PIDLockFile(tmp_path / "none" / "lock").acquire()
    assert isinstance(caught.value.__cause__, sneck.NoFolder) and caught.value.__cause__.errno == errno.ENOENT
    (tmp_path / "a.lock").write_text("letters")
    with pytest.raises(m.LockFailed, match="letters"):
        m.PIDLockFile(tmp_path / "a").acquire()
    assert (tmp_path / "a.lock").read_text() == "letters"
    (tmp_path / "b.lock").symlink_to(tmp_path / "nowhere")
    with pytest.raises(m.LockFailed):
        m.PIDLockFile(tmp_path / "b").acquire()


@pytest.mark.parametrize(
    "content, pid",
    [
        (b"12\n", 12),
        (b" +012 \nmore\n", 12),
        (b"", None),
        (b"\n12\n", None),
        (b"xxx", None),
        (b"\xff\xfe", None),
        (b"12 1.5\n", None),
    ],
)
def test_read_pid_reads_the_first_line_and_never_raises(tmp_path, content, pid):
    lock = m.PIDLockFile(tmp_path / "lock")
    (tmp_path / "lock.lock").write_bytes(content)
    assert lock.read_pid() == pid and lock.is_locked() and not lock.i_am_locking()
    with pytest.raises(m.NotMyLock):
        lock.release()
    assert (tmp_path / "lock.lock").read_bytes() == content


def test_a_link_to_nothing_is_locked(tmp_path):
    lock = m.PIDLockFile(tmp_path / "lock")
    (tmp_path / "lock.lock").symlink_to(str(os.getpid()))
    assert lock.is_locked() and not lock.i_am_locking() and lock.read_pid() is None


def test_any_object_and_any_thread_of_the_process_may_release(tmp_path):
    one = m.PIDLockFile(tmp_path / "lock")
    (tmp_path / "same").symlink_to(tmp_path)
    for other in (
        m.PIDLockFile(tmp_path / "lock"),
        m.PIDLockFile(tmp_path / "same" / "lock"),
        pickle.loads(pickle.dumps(one)),
    ):
        one.acquire()
        assert other.i_am_locking()
        with pytest.raises(m.AlreadyLocked):
            other.acquire(timeout=0)
        waits = threading.Thread(target=one.acquire)
        waits.start()
        releases = threading.Thread(target=other.release)
        releases.start()
        releases.join()
        waits.join()
        assert one.i_am_locking()
        other.release()
        assert not one.is_locked()


def test_a_thread_that_acquires_what_it_holds_waits_until_another_one_releases(tmp_path):
    lock = m.PIDLockFile(tmp_path / "lock")
    lock.acquire()
    with pytest.raises(m.LockTimeout):
        lock.acquire(timeout=0.05)
    other = threading.Timer(0.1, lock.release)
    other.start()
    lock.acquire()
    other.join()
    assert lock.i_am_locking()
    lock.release()


def test_a_lock_that_nobody_refers_to_is_held_and_can_be_released(tmp_path):
    m.PIDLockFile(tmp_path / "lock").acquire()
    assert m.PIDLockFile(tmp_path / "lock").i_am_locking()
    m.PIDLockFile(tmp_path / "lock").release()
    assert not os.path.lexists(tmp_path / "lock.lock")


def test_an_orderly_end_of_the_process_releases(start, path):
    ours = start("ours")
    ours.do("lock.acquire()")
    assert path.exists() and ours.end() == 0
    assert not path.exists()


def test_a_file_that_was_removed_behind_our_back_is_not_locked_and_can_be_acquired_again(tmp_path):
    lock = m.PIDLockFile(tmp_path / "lock")
    lock.acquire()
    os.remove(lock.path)
    with pytest.raises(m.NotLocked):
        lock.release()
    assert not sneck.Lock(lock.path, protocol="pidfile").held_in_this_process
    lock.acquire(timeout=0)
    os.remove(lock.path)
    lock.acquire(timeout=0)
    lock.release()
    assert not lock.is_locked()


def test_a_dead_process_is_named_until_its_lock_is_acquired(tmp_path):
    lock, dead = m.PIDLockFile(tmp_path / "lock"), dead_pid()
    (tmp_path / "lock.lock").write_text(f"{dead}\n")
    assert lock.is_locked() and lock.read_pid() == dead
    with pytest.raises(m.NotMyLock, match=str(dead)):
        lock.release()
    lock.acquire(timeout=0)
    assert lock.read_pid() == os.getpid()
    lock.release()


def test_a_refusal_names_the_holder(start, path):
    holder = start("ours")
    holder.do("lock.acquire()")
    lock = m.PIDLockFile(str(path)[: -len(".lock")])
    for kind, timeout in [(m.AlreadyLocked, 0), (m.LockTimeout, 0.05)]:
        with pytest.raises(kind, match=str(holder.pid)) as caught:
            lock.acquire(timeout)
        assert caught.value.__cause__.holder.pid == holder.pid
