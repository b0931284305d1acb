"""Each fault of labm8's lock files, seen to happen in the original and not in ours.

Not for: what the original promises, and company with it (`test_labm8.py`).
"""

import os
import tempfile
import time

import pytest

import sneck
from originals import CLEARLY_YOUNGER, begin, container, let_go
from party import Raised, dead_pid, stays
from sneck.compat import labm8 as m

BOTH = ["original", "ours"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def start(party, path):
    """Starts a party whose `m` is the original or ours, and whose `lock` is at one place for all."""

    def starts(whose, **options):
        return party(f"{begin('labm8', whose)}; lock = m.LockFile({str(path)!r})", **options)

    return starts


@pytest.fixture
def gate(tmp_path):
    os.mkfifo(tmp_path / "gate")
    return str(tmp_path / "gate")


def refusal(party, code):
    """What it raised."""
    with pytest.raises(Raised) as caught:
        party.do(code)
    return caught.value.kind


HOLD_UP_WRITE = "m.LockFile.write = staticmethod(originals.held_up(m.LockFile.write, {gate!r}))"

TRY = """
import party as journal
def attempt(**how):
    try:
        lock.acquire(**how)
        return True
    except m.UnableToAcquireLockError:
        return False
def storm(count):
    inside = 0
    while inside < count:
        if attempt():
            journal.enter(JOURNAL)
            time.sleep(0.0002)
            journal.leave(JOURNAL)
            lock.release()
            inside += 1
        time.sleep(0)
"""


def test_two_originals_that_both_saw_it_free_both_get_it(start, gate):
    slow, quick = start("original"), start("original")
    slow.do(HOLD_UP_WRITE.format(gate=gate))
    slow.begin("lock.acquire() is lock")
    slow.must_block()
    assert quick.ask("lock.acquire() is lock")
    let_go(gate)
    assert slow.answer(), "and the quick one is inside"


def test_of_ours_one_at_a_time_gets_it_and_nobody_stumbles(start, tmp_path):
    parties = [start("ours") for _ in range(4)]
    for one in parties:
        one.do(f"JOURNAL = {str(tmp_path / 'journal')!r}\n{TRY}")
    for one in parties:
        one.begin("storm(60)")
    for one in parties:
        one.answer()
    assert stays(tmp_path / "journal") == 240


def test_two_originals_that_both_saw_a_dead_holder_both_replace_it(start, path, gate):
    m.LockFile.write(path, dead_pid(), 1e9)
    slow, quick = start("original"), start("original")
    slow.do(HOLD_UP_WRITE.format(gate=gate))
    slow.begin("lock.acquire(replace_stale=True) is lock")
    slow.must_block()
    assert quick.ask("lock.acquire(replace_stale=True) is lock")
    let_go(gate)
    assert slow.answer(), "and the quick one is inside"


def test_of_ours_one_replaces_a_dead_holder(start, path):
    parties, dead = [start("ours") for _ in range(4)], dead_pid()
    for one in parties:
        one.do(TRY)
    for _ in range(40):
        m.LockFile.write(path, dead, 1e9)
        for one in parties:
            one.begin("attempt(replace_stale=True)")
        got = [one.answer() for one in parties]
        assert got.count(True) == 1, got
        parties[got.index(True)].do("lock.release()")


def test_another_users_process_is_dead_to_the_original_and_alive_to_ours(party):
    assert os.geteuid() == 0, "changing the user needs root"
    # pytest keeps its own folders closed to others.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for whose, is_robbed in [("ours", False), ("original", True)]:
            path = os.path.join(folder, whose)
            m.LockFile.write(path, os.getpid(), time.time())
            os.chmod(path, 0o666)
            stranger = party(f"{begin('labm8', whose)}; lock = m.LockFile({path!r})")
            stranger.do(f"{TRY}\nos.setuid(65534)")
            assert stranger.ask("attempt(replace_stale=True)") is is_robbed
            assert (m.LockFile(path).pid != os.getpid()) is is_robbed


# Empty, cut off, and what the original's write() makes of a datetime.
DAMAGED = ["", "46", "4647", "4647 ", "4647\n", "4647 2026-11-21 02:04:31.580000\n"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_breaks_every_call_of_the_original(start, path, content):
    path.write_text(content)
    calls = [
        "lock.pid",
        "lock.date",
        "lock.owned_by_self",
        "lock.acquire()",
        "lock.acquire(force=True)",
        "lock.release(force=True)",
    ]
    original = start("original")
    assert {refusal(original, call) for call in calls} <= {"IndexError", "ValueError"}
    assert path.read_text() == content


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_an_error_of_ours_and_repaired_by_force(path, content):
    lock = m.LockFile(path)
    path.write_text(content)
    assert lock.islocked and not lock.owned_by_self and lock.pid == (int(content.split()[0]) if content else None)
    for how in ({}, {"replace_stale": True}):
        with pytest.raises(m.UnableToAcquireLockError, match="damaged|process"):
            lock.acquire(**how)
    with pytest.raises(m.UnableToReleaseLockError):
        lock.release()
    assert path.read_text() == content
    assert lock.acquire(force=True).owned_by_self
    lock.release()
    path.write_text(content)
    lock.release(force=True)
    assert not path.exists()


@pytest.mark.parametrize("content", ["letters", "12 monkeys\n", "\x00\x01"])
def test_what_is_no_lock_is_left_alone_by_ours_even_with_force(path, content):
    lock = m.LockFile(path)
    path.write_text(content)
    assert lock.islocked and lock.pid is lock.date is None and not lock.owned_by_self
    for force in (False, True):
        with pytest.raises(m.UnableToAcquireLockError):
            lock.acquire(force=force)
        with pytest.raises(m.UnableToReleaseLockError):
            lock.release(force=force)
    assert path.read_text() == content


def test_a_folder_is_left_alone_by_ours(path):
    path.mkdir()
    lock = m.LockFile(path)
    assert lock.islocked and lock.pid is None
    with pytest.raises(m.UnableToAcquireLockError):
        lock.acquire(force=True)
    with pytest.raises(m.UnableToReleaseLockError):
        lock.release(force=True)
    assert path.is_dir()


FULL = """
import resource
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
"""


def test_a_full_disk_leaves_an_empty_file_with_the_original_and_nothing_with_ours(start, path):
    assert refusal(start("original"), FULL + "lock.acquire()") == "OSError"
    assert path.read_bytes() == b""
    path.unlink()
    ours = start("ours")
    assert issubclass(getattr(sneck, refusal(ours, FULL + "lock.acquire()")), OSError)
    assert not os.listdir(path.parent)
    ours.do("resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)); lock.acquire()")


def test_whoever_is_robbed_between_look_and_release_removes_the_thiefs_lock_with_the_original_and_not_with_ours(
    start, path, gate
):
    robbed, thief = start("original"), start("original")
    robbed.do(f"lock.acquire(); os.remove = originals.held_up(os.remove, {gate!r})")
    robbed.begin("lock.release()")
    robbed.must_block()
    thief.do("lock.acquire(force=True)")
    let_go(gate)
    robbed.answer()
    assert not path.exists(), "the thief holds it, and anybody gets in"

    # Ours looks and removes in the native half, in one go: here it is robbed before.
    robbed, thief = start("ours"), start("ours")
    robbed.do("lock.acquire()")
    thief.do("lock.acquire(force=True)")
    assert refusal(robbed, "lock.release()") == "UnableToReleaseLockError"
    assert thief.ask("lock.owned_by_self")


def test_force_makes_a_new_file_so_that_nobody_reads_it_half_written(start, path):
    holder, thief = start("original"), start("ours")
    holder.do("lock.acquire()")
    with open(path) as opened:
        thief.do("lock.acquire(force=True)")
        assert opened.read().split()[0] == str(holder.pid)
    assert path.read_text().split()[0] == str(thief.pid)


def test_a_link_is_written_through_by_the_original_and_refused_by_ours(start, path):
    path.symlink_to("target")
    ours = start("ours")
    for call in ("lock.acquire()", "lock.acquire(replace_stale=True)", "lock.acquire(force=True)"):
        assert refusal(ours, call) == "UnableToAcquireLockError"
    assert refusal(ours, "lock.release(force=True)") == "UnableToReleaseLockError"
    assert ours.ask("lock.islocked") and os.readlink(path) == "target" and os.listdir(path.parent) == ["lock"]
    original = start("original")
    assert not original.ask("lock.islocked")
    original.do("lock.acquire()")
    assert (path.parent / "target").exists()


def test_a_restarted_container_takes_its_predecessors_file_for_its_own_with_the_original_and_not_with_ours(
    start, path, tmp_path
):
    first = start("original", python=container(tmp_path))
    assert first.ask("lock.acquire() and os.getpid()") == 1
    first.kill()
    time.sleep(CLEARLY_YOUNGER)
    ours, original = (start(whose, python=container(tmp_path)) for whose in ("ours", "original"))
    written = path.read_bytes()
    assert original.ask("lock.owned_by_self and lock.acquire() is lock"), "without having made it"
    assert path.read_bytes() == written
    assert ours.ask("lock.pid, lock.owned_by_self") == (1, False)
    assert refusal(ours, "lock.release()") == "UnableToReleaseLockError"
    assert refusal(ours, "lock.acquire()") == "UnableToAcquireLockError"
    ours.do("lock.acquire(replace_stale=True)")
    assert ours.ask("lock.owned_by_self") and path.read_bytes() != written


def test_a_namesake_in_another_container_shares_a_living_holders_lock_with_the_original_and_not_with_ours(
    start, path, tmp_path
):
    holder, ours, original = (start(whose, python=container(tmp_path)) for whose in ("ours", "ours", "original"))
    holder.do("lock.acquire()")
    assert ours.ask("lock.pid, lock.owned_by_self") == (1, False)
    for refused in ("lock.acquire()", "lock.acquire(replace_stale=True)"):
        assert refusal(ours, refused) == "UnableToAcquireLockError"
    assert refusal(ours, "lock.release()") == "UnableToReleaseLockError"
    assert holder.ask("lock.owned_by_self")
    assert original.ask("lock.acquire() is lock"), "and the holder is inside"
    original.do("lock.release()")
    assert not path.exists()


FORK = """
def forked(act):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        told = []
        for call in act:
            try:
                call()
            except m.Error as error:
                told.append(type(error).__name__)
        os.write(writer, repr(told + [lock.owned_by_self]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reader, 1000).decode()
"""


@pytest.mark.parametrize("whose", BOTH)
def test_a_forked_child_does_not_hold_what_its_parent_holds(start, path, whose):
    parent = start(whose)
    parent.do(FORK + "lock.acquire()")
    told = parent.ask("forked([lock.acquire, lock.release])")
    assert told == "['UnableToAcquireLockError', 'UnableToReleaseLockError', False]"
    assert parent.ask("lock.owned_by_self")
    parent.do("lock.release()")


def test_a_forked_child_that_leaves_its_parents_with_raises_with_the_original_and_not_with_ours(start, path):
    for whose, expected in [("original", "['UnableToReleaseLockError', False]"), ("ours", "[False]")]:
        parent = start(whose)
        parent.do(FORK + "lock.__enter__()")
        assert parent.ask("forked([lambda: lock.__exit__(None, None, None)])") == expected
        assert parent.ask("lock.owned_by_self")
        parent.do("lock.__exit__(None, None, None)")
        assert not path.exists()
