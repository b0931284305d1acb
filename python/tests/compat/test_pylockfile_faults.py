"""What goes wrong with lockfile 0.12.2, each seen to happen there and not in `sneck.compat.pylockfile`.

Not for: what both do (`test_pylockfile.py`). Not shown: MkdirLockFile killed between its two steps, which leaves an empty directory that nobody
breaks (ours: the crash points of the library's own tests); names of other hosts.
"""

import os
import time

import pytest

try:
    import lockfile as original  # noqa: F401
except ImportError as missing:
    raise RuntimeError("lockfile is not installed: run scripts/test, which installs it") from missing

from party import PATIENCE, stays
from test_pylockfile import BY_THREAD, CLASSES, OURS, THEIRS, locker

each = pytest.mark.parametrize("name", CLASSES)


def fault(theirs, ours):
    """What the original gives, and what ours gives."""
    return pytest.mark.parametrize("package, seen", [(THEIRS, theirs), (OURS, ours)], ids=["theirs", "ours"])


def until(condition):
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def in_fork(one, call):
    """What a call gives in a forked child of a party."""
    one.do("""
def in_fork(call, *arguments):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, said(call, *arguments).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        return answer.read(), os.waitpid(pid, 0)[1]
""")
    answer, status = one.ask(f"in_fork({call})")
    assert status == 0
    return answer


@each
@fault(("AlreadyLocked", "LockTimeout", True), ("None", "None", False))
def test_after_a_crash_the_original_stays_locked_and_ours_goes_on(package, seen, name, tmp_path, party):
    one = locker(party, package, name, tmp_path / "lock")
    one.do("lock.acquire()")
    one.kill()
    other = locker(party, package, name, tmp_path / "lock")
    assert other.ask("lock.is_locked()") is seen[2]
    # The second one again after the first: the same holder, unless the class refuses that.
    assert other.ask("said(lock.acquire, 0)") == seen[0]
    if name != "PIDLockFile":
        assert other.ask("said(lock.acquire, 0.05)") == seen[1]
    # By then only this is left to the original.
    other.do("lock.break_lock(); lock.acquire()")
    assert other.ask("lock.i_am_locking()")


@pytest.mark.parametrize(
    "name, threaded, recovers",
    [
        ("LinkLockFile", False, False),
        ("MkdirLockFile", True, False),
        ("MkdirLockFile", False, True),
        ("SymlinkLockFile", False, False),
        ("PIDLockFile", False, True),
    ],
)
def test_what_the_original_leaves_behind_is_broken_where_it_tells_its_number(name, threaded, recovers, tmp_path, party):
    one = locker(party, THEIRS, name, tmp_path / "lock", f"threaded={threaded}")
    one.do("lock.acquire()")
    one.kill()
    other = locker(party, OURS, name, tmp_path / "lock", "timeout=0")
    assert other.ask("said(lock.acquire)") == ("None" if recovers else "AlreadyLocked")
    if not recovers:
        other.do("lock.break_lock(); lock.acquire()")


@each
def test_those_who_break_a_dead_lock_at_once_do_not_meet(name, tmp_path, party):
    path, journal = tmp_path / "lock", tmp_path / "journal"
    parties = [locker(party, OURS, name, path) for _ in range(4)]
    for one in parties:
        one.do(f"""
def work():
    lock.acquire(60)
    enter({str(journal)!r})
    time.sleep(0.001)
    leave({str(journal)!r})
    lock.release()
""")
    for _ in range(10):
        dead = locker(party, OURS, name, path)
        dead.do("lock.acquire()")
        dead.kill()
        for one in parties:
            one.begin("work()")
        for one in parties:
            one.answer()
    assert stays(journal) == 40


@each
def test_two_that_break_a_dead_lock_of_the_original_can_both_get_in(name, tmp_path, party):
    # Ours does it in one exclusive step, in the library, at acquire: see the test before.
    path = tmp_path / "lock"
    dead = locker(party, THEIRS, name, path)
    dead.do("lock.acquire()")
    dead.kill()
    slow, quick, third = (locker(party, THEIRS, name, path) for _ in range(3))
    # It has seen the lock, and is about to remove it.
    slow.do(f"""
def later(call):
    def stopped(*arguments, **keywords):
        if not os.path.exists({str(tmp_path / "seen")!r}):
            open({str(tmp_path / "seen")!r}, "w").close()
            while not os.path.exists({str(tmp_path / "go")!r}):
                time.sleep(0.005)
        return call(*arguments, **keywords)
    return stopped
os.unlink, os.remove, os.listdir = later(os.unlink), later(os.remove), later(os.listdir)
""")
    slow.begin("said(lock.break_lock)")
    until((tmp_path / "seen").exists)
    quick.do("lock.break_lock(); lock.acquire(0)")
    assert third.ask("said(lock.acquire, 0)") == "AlreadyLocked"
    (tmp_path / "go").touch()
    slow.answer()
    assert third.ask("said(lock.acquire, 0)") == "None"


@fault(("None", "None"), ("NotMyLock", "AlreadyLocked"))
def test_who_was_robbed_of_a_link_removes_the_next_holders_in_the_original(package, seen, tmp_path, party):
    robbed, second, third = (locker(party, package, "LinkLockFile", tmp_path / "lock") for _ in range(3))
    robbed.do("lock.acquire()")
    second.do("lock.break_lock(); lock.acquire(0)")
    assert robbed.ask("said(lock.release)") == seen[0]
    assert third.ask("said(lock.acquire, 0)") == seen[1]


@pytest.mark.parametrize("name", BY_THREAD)
@fault(("None", "None", False), ("AlreadyLocked", "NotMyLock", True))
def test_a_forked_child_takes_itself_for_the_holder_in_the_original(package, seen, name, tmp_path, party):
    one = locker(party, package, name, tmp_path / "lock")
    one.do("lock.acquire()")
    assert in_fork(one, "lock.acquire, 0") == seen[0]
    assert in_fork(one, "lock.release") == seen[1]
    assert one.ask("lock.i_am_locking()") is seen[2]


@each
def test_a_forked_child_of_ours_leaves_the_block_without_a_word_and_the_lock_alone(name, tmp_path, party):
    one = locker(party, OURS, name, tmp_path / "lock")
    one.do("lock.__enter__()")
    assert in_fork(one, "lock.__exit__, None, None, None") == "None"
    assert in_fork(one, "lock.i_am_locking") == "False"
    assert one.ask("lock.i_am_locking()")
    one.do("lock.__exit__(None, None, None)")
    # What the child acquires itself is its own.
    assert in_fork(one, "lambda: (lock.acquire(0), lock.i_am_locking(), lock.release())") == "(None, True, None)"
    assert os.listdir(tmp_path) == []


CLOCK = """
_time, _calls = time.time, []
def stepped():
    _calls.append(1)
    return _time() + (STEP if len(_calls) > 1 else 0)
time.time = stepped
"""


@each
def test_when_the_clock_is_set_forward_the_original_gives_up_and_ours_waits(name, tmp_path, party):
    holder = locker(party, OURS, name, tmp_path / "lock")
    holder.do("lock.acquire()")
    theirs, ours = (locker(party, package, name, tmp_path / "lock") for package in (THEIRS, OURS))
    for one in theirs, ours:
        one.do(CLOCK.replace("STEP", "100000"))
        one.begin("said(lock.acquire, 10000)")
    assert theirs.answer() == "LockTimeout"
    ours.must_block()
    holder.do("lock.release()")
    assert ours.answer() == "None"


@each
def test_when_the_clock_is_set_back_the_original_waits_on_and_ours_gives_up(name, tmp_path, party):
    holder = locker(party, OURS, name, tmp_path / "lock")
    holder.do("lock.acquire()")
    theirs, ours = (locker(party, package, name, tmp_path / "lock") for package in (THEIRS, OURS))
    for one in theirs, ours:
        one.do(CLOCK.replace("STEP", "-100000"))
        one.begin("said(lock.acquire, 0.1)")
    assert ours.answer() == "LockTimeout"
    theirs.must_block(1)


@each
def test_the_original_looks_ten_times_in_its_timeout_and_ours_is_woken(name, tmp_path, party):
    holder = locker(party, OURS, name, tmp_path / "lock")
    holder.do("lock.acquire()")
    theirs = locker(party, THEIRS, name, tmp_path / "lock")
    asleep = tmp_path / "asleep"
    theirs.do(f"""
_sleep = time.sleep
def sleep(seconds):
    open({str(asleep)!r}, "w").close()
    _sleep(seconds)
time.sleep = sleep
""")
    theirs.begin("said(lock.acquire, 3000)")
    until(asleep.exists)
    ours = locker(party, OURS, name, tmp_path / "lock")
    ours.begin("said(lock.acquire, 3000)")
    ours.must_block()
    holder.do("lock.release()")
    assert ours.answer() == "None"
    ours.do("lock.release()")
    # It is free, and has been for a while.
    theirs.must_block(1)


@fault((b"", "AlreadyLocked", "None"), (None, "None", "None"))
def test_a_pid_file_that_could_not_be_written_blocks_for_ever_in_the_original(package, seen, tmp_path, party):
    one = locker(party, package, "PIDLockFile", tmp_path / "pid")
    one.do("""
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
""")
    assert one.ask("said(lock.acquire, 0)") == "LockFailed"
    one.do("resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))")
    left = (tmp_path / "pid").read_bytes() if (tmp_path / "pid").exists() else None
    assert left == seen[0]
    assert one.ask("said(lock.acquire, 0), lock.read_pid()") == (seen[1], None if left == b"" else one.pid)
    # Of an empty file ours cannot tell either whether it is about to be written. It can be broken.
    one.kill()
    (tmp_path / "pid").write_bytes(b"")
    other = locker(party, OURS, "PIDLockFile", tmp_path / "pid")
    assert other.ask("said(lock.acquire, 0), said(lock.acquire, 0.05)") == ("AlreadyLocked", "LockTimeout")
    other.do("lock.break_lock(); lock.acquire(0)")


@fault((True, "None", False), (False, "NotMyLock", True))
def test_a_pid_file_of_an_earlier_process_with_our_number_is_ours_to_the_original(package, seen, tmp_path, party):
    one = locker(party, package, "PIDLockFile", tmp_path / "pid")
    (tmp_path / "pid").write_text(f"{one.pid}\n")
    assert one.ask("lock.i_am_locking(), said(lock.release)") == seen[:2]
    assert (tmp_path / "pid").exists() is seen[2]


@fault("AlreadyLocked", "LockFailed")
def test_without_its_folder_a_symbolic_link_of_the_original_is_locked_for_ever(package, seen, tmp_path, party):
    one = locker(party, package, "SymlinkLockFile", tmp_path / "missing" / "lock")
    assert one.ask("lock.is_locked(), said(lock.acquire, 0)") == (False, seen)
    one.begin("said(lock.acquire)")
    if package == THEIRS:
        one.must_block()
    else:
        assert one.answer() == seen


@fault(1, 0)
def test_a_link_that_is_waited_for_leaves_litter_in_the_original(package, seen, tmp_path, party):
    holder = locker(party, package, "LinkLockFile", tmp_path / "lock")
    holder.do("lock.acquire()")
    there = len(os.listdir(tmp_path))
    one = locker(party, package, "LinkLockFile", tmp_path / "lock")
    one.begin("said(lock.acquire)")
    if package == THEIRS:
        until(lambda: len(os.listdir(tmp_path)) > there)
    one.must_block()
    one.kill()
    assert len(os.listdir(tmp_path)) == there + seen
    holder.do("lock.release()")
    assert len(os.listdir(tmp_path)) == seen


@fault("LockFailed", "None")
def test_a_read_only_name_beside_the_lock_is_in_the_way_of_the_original_only(package, seen, tmp_path, party):
    # The second name is made by opening it for writing, whatever stands there.
    one = locker(party, package, "LinkLockFile", tmp_path / "lock")
    os.mkdir(one.ask("lock.unique_name"))
    assert one.ask("said(lock.acquire, 0)") == seen
