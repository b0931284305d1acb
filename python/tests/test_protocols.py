"""What every protocol promises in Python: the same tests for each. Exclusion, waiting, who holds, a holder that dies, modes, re-entry, records.

Not for: removing claims, by staleness or by force, and what stands in the place of one (`test_claims.py`); what has nothing to do with a
protocol (`test_api.py`).
"""

import errno
import inspect
import os
import pickle
import threading
from datetime import datetime, timedelta, timezone

import pytest

import sneck
from party import PATIENCE, Raised, enter, leave, stays
from protocols import FILES, KERNEL, claims, everything, files, is_free, kernel, on, snapshot, with_modes

TURNS = 100


@files
def test_two_processes_take_turns(tmp_path, party, protocol, place):
    journal = str(tmp_path / "journal")
    take_turns = (
        "def take_turns():\n"
        f"    for _ in range({TURNS}):\n"
        f"        with lock: party.enter({journal!r}); party.leave({journal!r})\n"
    )
    both = [party(on(place) + "\n" + take_turns) for _ in range(2)]
    with sneck.Lock.at(place):
        for one in both:
            one.begin("take_turns()")
        # Both are at it when the first turn begins.
        for one in both:
            one.must_block(0.1)
    for one in both:
        one.answer()
    assert stays(journal) == 2 * TURNS
    is_free(place)


@everything
def test_threads_take_turns(tmp_path, protocol, place):
    journal = str(tmp_path / "journal")
    failed = []

    def take_turns():
        try:
            # An object of its own for each.
            lock, who = sneck.Lock.at(place), threading.get_ident()
            for _ in range(TURNS // 4):
                with lock:
                    enter(journal, who)
                    leave(journal, who)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    with sneck.Lock.at(place):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failed and stays(journal) == TURNS


@files
def test_a_wait_ends_at_the_release(party, protocol, place):
    one = party(on(place))
    with sneck.Lock.at(place) as guard:
        one.begin("lock.acquire().held")
        one.must_block(0.1)
        assert guard.held
    assert one.answer() is True
    assert one.ask("lock.held, lock.held_in_this_process, lock.locked()") == (True, True, True)


@everything
def test_a_wait_for_a_thread_ends_at_the_release(protocol, place):
    inside, order = threading.Event(), []

    def wait():
        lock = sneck.Lock.at(place)
        assert not lock.try_acquire()
        inside.set()
        with lock:
            order.append("after")

    thread = threading.Thread(target=wait)
    with sneck.Lock.at(place):
        thread.start()
        assert inside.wait(PATIENCE)
        thread.join(0.2)
        order.append("before")
    thread.join(PATIENCE)
    assert order == ["before", "after"]


@pytest.mark.parametrize("timeout", [0, 0.05])
@files
def test_a_timeout_names_the_holder_and_takes_nothing(tmp_path, party, protocol, place, timeout):
    one = party(on(place))
    one.do("guard = lock.acquire()")
    before = snapshot(tmp_path)
    lock = sneck.Lock.at(place, timeout=timeout)
    for acquire in (lock.acquire, lock.__enter__, lambda: sneck.Lock.at(place).acquire(timeout)):
        with pytest.raises(sneck.LockTimeout) as caught:
            acquire()
        error = caught.value
        assert isinstance(error, TimeoutError) and error.errno == errno.ETIMEDOUT
        assert error.holder.pid == one.pid and f"pid {one.pid}" in str(error) and lock.path in str(error)
        assert error.path == lock.path and error.holders == (error.holder,)
    assert snapshot(tmp_path) == before
    assert not lock.held and not lock.held_in_this_process and lock.locked()
    assert one.ask("guard.held, guard.release()") == (True, None)
    is_free(place)


@everything
def test_a_timeout_between_threads_names_this_process(tmp_path, protocol, place):
    caught = []

    def fail():
        try:
            sneck.Lock.at(place).acquire(timeout=0.05)
        except sneck.LockTimeout as error:
            caught.append(error)

    with sneck.Lock.at(place) as guard:
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join(PATIENCE)
        assert guard.held
    assert caught[0].holder.pid == os.getpid() and f"pid {os.getpid()}" in str(caught[0])
    is_free(place)


@files
def test_the_lock_of_a_killed_holder_is_got_and_the_guard_says_so(party, protocol, place):
    one, waiter = party(on(place)), party(on(place))
    one.do("guard = lock.acquire()")
    waiter.begin("[(g.held, g.clean, [h.pid for h in g.broken]) for g in [lock.acquire()]]")
    waiter.must_block(0.1)
    one.kill()
    assert waiter.answer() == [(True, None, []) if protocol in KERNEL else (True, False, [one.pid])]
    # Left in good order, it is clean for the next one.
    waiter.do("lock.release()")
    with sneck.Lock.at(place) as guard:
        assert (guard.clean, guard.broken) == (None if protocol in KERNEL else True, [])


@files
def test_on_wait_is_called_once_and_only_before_a_wait(party, protocol, place):
    one, told = party(on(place)), []
    lock = sneck.Lock.at(place, on_wait=told.append)
    lock.acquire().release()
    with lock:
        pass
    one.do("guard = lock.acquire()")
    assert not lock.try_acquire()
    with pytest.raises(sneck.LockTimeout):
        lock.acquire(timeout=0)
    assert told == []
    with pytest.raises(sneck.LockTimeout):
        lock.acquire(timeout=0.2)
    assert [holder and holder.pid for holder in told] in ([one.pid], [None])

    def release(holder):
        told.append(holder)
        one.do("guard.release()")

    told.clear()
    sneck.Lock.at(place, on_wait=release).acquire(timeout=PATIENCE).release()
    assert len(told) == 1


@everything
def test_on_wait_is_called_before_a_wait_for_a_thread_too(protocol, place):
    lock, told = sneck.Lock.at(place), []
    guard = lock.acquire()

    def release(holder):
        told.append(holder and holder.pid)
        guard.release()

    thread = threading.Thread(target=lambda: sneck.Lock.at(place, on_wait=release).acquire().release())
    thread.start()
    thread.join(PATIENCE)
    assert told == [os.getpid()] and not lock.locked()


@files
def test_the_facts_about_a_holder(tmp_path, party, protocol, place):
    one, lock = party(on(place, label="why")), sneck.Lock.at(place)
    before = datetime.now(timezone.utc)
    one.do("guard = lock.acquire()")
    seen = snapshot(tmp_path)
    holder = lock.holder()
    # Clocks of the file system are coarse.
    after = datetime.now(timezone.utc) + timedelta(seconds=1)
    assert holder.pid == one.pid and holder.mode == "exclusive"
    assert (holder.host, holder.protocol) == (None, None), "it is one of this machine, and speaks the same protocol"
    assert holder.user == one.ask("__import__('pwd').getpwuid(os.getuid()).pw_name")
    with open(f"/proc/{one.pid}/cmdline", "rb") as file:
        assert holder.command.encode() == file.read().rstrip(b"\0").replace(b"\0", b" ")
    assert holder.started.utcoffset() == timedelta(0) and holder.started <= after
    if protocol in KERNEL:
        assert (holder.source, holder.since) == ("the kernel", None)
    else:
        assert holder.source == "the lock file"
        assert before - timedelta(seconds=1) <= holder.since <= after and holder.since.utcoffset() == timedelta(0)
    assert f"pid {one.pid}" in str(holder) and "\n" not in str(holder)
    # Once more, from the holder's side, and by something else than looks.
    assert one.ask("lock.holder().pid, lock.holder().source") == (one.pid, holder.source)
    # Some claims are touched now and then, and are of that moment from then on.
    looks = [(lock.holder(), lock.holder()) for _ in range(3)]
    assert any(one == other and hash(one) == hash(other) for one, other in looks)
    again = pickle.loads(pickle.dumps(holder))
    assert again == holder and str(again) == str(holder) and again.started == holder.started
    assert lock.locked() and snapshot(tmp_path) == seen, "looking changed something"
    with pytest.raises(AttributeError):
        holder.pid = 1


def test_the_facts_about_a_holder_in_memory():
    lock, before = sneck.Lock.at("memory:facts"), datetime.now(timezone.utc)
    with lock:
        holder = lock.holder()
    assert (holder.pid, holder.mode, holder.source) == (os.getpid(), "exclusive", "this process")
    assert before <= holder.since <= datetime.now(timezone.utc) and lock.holder() is None


@everything
def test_nobody_holds_what_is_free_and_looking_makes_nothing(tmp_path, protocol, place):
    lock = sneck.Lock.at(place)

    def look():
        before = snapshot(tmp_path)
        looks = [lock.holder(), lock.break_stale(), lock.force_release()]
        assert looks == [None] * 3 and not lock.locked() and not lock.held
        assert snapshot(tmp_path) == before

    look()
    assert not os.listdir(tmp_path)
    lock.acquire().release()
    look()
    assert bool(os.listdir(tmp_path)) is (protocol in KERNEL), "a kernel lock's file stays, a claim goes"


@kernel
def test_shared_holders_are_inside_together_and_an_exclusive_one_waits_for_all(party, protocol, place):
    shared = [party(on(place, mode="shared")) for _ in range(2)]
    alone = party(on(place))
    assert [one.ask("lock.acquire(timeout=0).mode") for one in shared] == ["shared"] * 2
    assert alone.ask("lock.try_acquire()") is False
    lock = sneck.Lock.at(place)
    assert lock.holder().mode == "shared" and lock.holder().pid in [one.pid for one in shared]
    with pytest.raises(sneck.LockTimeout) as caught:
        lock.acquire(timeout=0)
    assert {holder.pid for holder in caught.value.holders} == {one.pid for one in shared}
    alone.begin("lock.acquire().mode")
    for one in shared:
        alone.must_block(0.1)
        one.do("lock.release()")
    assert alone.answer() == "exclusive"
    assert shared[0].ask("lock.try_acquire()") is False


@with_modes
def test_a_shared_holder_of_this_process_lets_in_the_same_mode_only(protocol, place):
    one, two, alone = (sneck.Lock.at(place, mode=mode) for mode in ("shared", "shared", "exclusive"))
    got = {}

    def visit():
        got.update(shared=two.try_acquire(), exclusive=alone.try_acquire(), holder=alone.holder().mode)
        two.release()

    with one as guard:
        thread = threading.Thread(target=visit)
        thread.start()
        thread.join(PATIENCE)
        assert guard.mode == "shared"
    assert got == {"shared": True, "exclusive": False, "holder": "shared"}
    is_free(place)


@claims
def test_a_protocol_without_a_shared_mode_says_so_and_makes_nothing(tmp_path, protocol, place):
    lock = sneck.Lock.at(place, mode="shared")
    for acquire in (lock.acquire, lock.try_acquire, lambda: lock.acquire(timeout=0), lock.__enter__):
        with pytest.raises(sneck.Unsupported, match="shared") as caught:
            acquire()
        assert caught.value.place == place and caught.value.advice
    assert not os.listdir(tmp_path) and not lock.held


@everything
def test_whoever_holds_it_is_refused(protocol, place):
    lock, same = sneck.Lock.at(place), sneck.Lock.at(place)
    with lock as guard:
        for one in (lock, same):
            with pytest.raises(sneck.Reentrant) as caught:
                one.acquire()
            assert isinstance(caught.value, RuntimeError) and caught.value.advice
            assert not one.try_acquire()
        assert guard.held and lock.held and not same.held
    is_free(place)


@everything
def test_holdings_are_counted_if_they_may_be(party, protocol, place):
    # What is in memory another process cannot see.
    tries = party(on(place)).ask if protocol != "memory" else None
    one, two = (sneck.Lock.at(place, reentry="idempotent", timeout=PATIENCE) for _ in range(2))
    first, second, third = one.acquire(), one.acquire(), two.acquire()
    for guard in (second, third):
        guard.release()
        assert not guard.held and first.held and one.locked()
        assert tries is None or tries("lock.try_acquire()") is False
    first.release()
    assert not one.locked() and (tries is None or tries("lock.try_acquire()") is True)


@everything
def test_a_thread_may_wait_for_what_another_one_will_release_for_it(protocol, place):
    lock = sneck.Lock.at(place, reentry="wait", timeout=PATIENCE)
    guard, order = lock.acquire(), []
    with pytest.raises(sneck.LockTimeout):
        lock.acquire(timeout=0.05)

    def release():
        order.append("released")
        guard.release()

    timer = threading.Timer(0.1, release)
    timer.start()
    with lock:
        order.append("acquired")
    timer.join(PATIENCE)
    assert order == ["released", "acquired"]


def test_a_flock_file_says_the_pid_if_it_shall_and_by_that_whether_the_last_holder_died(tmp_path, party):
    path = tmp_path / "lock"
    lock = sneck.Lock(path, record="pid")
    with lock as guard:
        assert path.read_bytes() == b"%d\n" % os.getpid() and guard.clean is True
    assert path.read_bytes() == b""
    one = party(on(str(path), record="pid"))
    one.do("guard = lock.acquire()")
    one.kill()
    assert path.read_bytes() == b"%d\n" % one.pid and not lock.locked()
    with lock as guard:
        assert guard.clean is False and guard.broken == []
    with lock as guard:
        assert guard.clean is True
    # Nobody's work is overwritten.
    path.write_bytes(b"something else\n")
    with pytest.raises(sneck.ForeignFile):
        lock.acquire()
    assert path.read_bytes() == b"something else\n"


@pytest.mark.parametrize("protocol", [one for one in FILES if one != "flock"] + ["memory"])
def test_no_other_protocol_writes_a_record(protocol, place):
    with pytest.raises(sneck.InvalidLock, match="record"):
        sneck.Lock.at(place, record="pid")


@kernel
def test_the_content_of_a_kernel_locks_file_is_left_alone(tmp_path, party, protocol, place):
    (tmp_path / "lock").write_bytes(b"precious")
    before = snapshot(tmp_path)
    one = party(on(place))
    for _ in range(2):
        with sneck.Lock.at(place):
            assert one.ask("lock.try_acquire(), lock.holder().pid, lock.locked()") == (False, os.getpid(), True)
            assert snapshot(tmp_path) == before
    one.do("lock.acquire()")
    one.kill()
    is_free(place)
    assert snapshot(tmp_path) == before


def refusal(call):
    """The facts of a failure, as literals."""
    try:
        call()
    except OSError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return kinds, error.errno, error.filename, error.path, error.place, error.advice
    return None


@files
def test_a_missing_folder_is_a_FileNotFoundError_and_is_not_made(tmp_path, protocol):
    folder = tmp_path / "missing"
    lock = sneck.Lock(folder / "lock", protocol=protocol)
    assert lock.holder() is None and not lock.locked() and lock.break_stale() is None
    for call in (lock.acquire, lock.try_acquire, lambda: lock.acquire(timeout=0.05)):
        kinds, number, filename, path, place, advice = refusal(call)
        assert kinds[0] == "NoFolder" and {"CannotCreate", "LockOSError", "LockError", "FileNotFoundError"} < set(kinds)
        assert (number, filename, path) == (errno.ENOENT, lock.path, lock.path)
        assert place.endswith(lock.path) and "folder" in advice
    assert not os.listdir(tmp_path) and not lock.held


@files
def test_a_folder_without_rights_is_a_PermissionError(tmp_path, party, protocol):
    folder = tmp_path / "closed"
    folder.mkdir(0o700)
    place = f"{protocol}:{folder}/lock"
    one = party(on(place) + "\n" + inspect.getsource(refusal))
    if os.getuid() == 0:
        one.do("os.setuid(65534)")
    else:
        folder.chmod(0)
    try:
        for call in ("lock.acquire", "lock.try_acquire", "lock.holder", "lock.force_release"):
            kinds, number, filename, path, where, advice = one.ask(f"refusal({call})")
            assert kinds[0] == "NoPermission" and {"LockOSError", "LockError", "PermissionError"} < set(kinds), call
            assert (number, filename, path) == (errno.EACCES, f"{folder}/lock", f"{folder}/lock")
            assert where.endswith(path) and advice
        assert one.ask("lock.held, lock.held_in_this_process") == (False, False)
    finally:
        folder.chmod(0o700)
    assert not os.listdir(folder)


def test_a_party_can_tell_what_it_was_refused(tmp_path, party):
    with pytest.raises(Raised) as caught:
        party(on(str(tmp_path / "no" / "lock"))).do("lock.acquire()")
    assert caught.value.kind == "NoFolder"
