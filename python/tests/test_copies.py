"""Locks as Python objects: copied, pickled, subclassed, compared, shown, collected.

Not for: children of multiprocessing, which get pickled locks (`test_children.py`); what a lock does (`test_protocols.py`).
"""

import copy
import gc
import os
import pickle
import threading
import weakref

import pytest

import sneck
from party import PATIENCE
from protocols import FILES, everything, on


@pytest.fixture
def lock(tmp_path):
    return sneck.Lock(tmp_path / "lock")


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy}
for number in range(pickle.HIGHEST_PROTOCOL + 1):
    COPIES[f"pickle {number}"] = lambda lock, number=number: pickle.loads(pickle.dumps(lock, number))


@pytest.mark.parametrize("way", COPIES)
@everything
def test_a_copy_is_the_same_lock_and_not_held(protocol, place, way):
    locks = [sneck.Lock.at(place), sneck.Lock.all(sneck.Lock.at(place), sneck.Lock.at("memory:beside"))]
    for lock in locks:
        with lock:
            again = COPIES[way](lock)
            assert again is not lock and (again.place, again.path) == (lock.place, lock.path)
            assert not again.held and again.held_in_this_process and not again.try_acquire()
            with pytest.raises(sneck.NotHeld):
                again.release()
        assert again.try_acquire() and not lock.held
        again.release()


heard = []


def hear(holder):
    heard.append(holder)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_has_all_that_the_lock_was_told(tmp_path, way):
    path = tmp_path / "lock"
    lock = sneck.Lock(path, mode="shared", timeout=0.05, reentry="idempotent", record="pid", on_wait=hear)
    again = COPIES[way](lock)
    with again as guard, again:
        assert guard.mode == "shared" and path.read_bytes()
    assert again.timeout == 0.05
    heard.clear()
    holder = threading.Thread(target=lambda: sneck.Lock(path).acquire())
    holder.start()
    holder.join(PATIENCE)
    with pytest.raises(sneck.LockTimeout):
        again.acquire()
    assert len(heard) == 1
    claim = sneck.Lock(tmp_path / "claim", protocol="pidfile", stale="never")
    (tmp_path / "claim").write_text("2147483647\n")
    assert COPIES[way](claim).break_stale() is None and sneck.Lock.at(claim.place).break_stale().pid == 2147483647


@pytest.mark.parametrize("way", COPIES)
def test_a_lock_in_memory_without_a_name_is_not_copied(way):
    with pytest.raises(TypeError, match="no name"):
        COPIES[way](sneck.Lock.at("memory:"))


class Named(sneck.Lock):
    """One that takes other arguments and keeps something."""

    def __new__(cls, name, folder):
        return super().__new__(cls, os.path.join(folder, f"{name}.lock"), protocol="pidfile", timeout=0.05)

    def __init__(self, name, folder):
        super().__init__()
        self.name = name
        self.turns = []

    def acquire(self, timeout=...):
        guard = super().acquire(timeout)
        self.turns.append(guard.mode)
        return guard


class Slotted(sneck.Lock):
    """One without a dict."""

    __slots__ = ("word",)


class Forgetful(Named):
    """One that says itself what of it is pickled."""

    def __getstate__(self):
        return {"name": self.name.upper()}


@pytest.mark.parametrize("way", [way for way in COPIES if way not in ("pickle 0", "pickle 1")])
def test_a_subclass_is_copied_with_what_it_keeps(tmp_path, way):
    lock = Named("a", tmp_path)
    lock.acquire().release()
    again = COPIES[way](lock)
    assert type(again) is Named and isinstance(again, sneck.Lock)
    assert (again.name, again.turns, again.path, again.timeout) == ("a", ["exclusive"], lock.path, 0.05)
    again.acquire()
    assert again.turns[1:] == ["exclusive"] and lock.held_in_this_process and not lock.held
    again.release()
    assert vars(COPIES[way](Forgetful("b", tmp_path))) == {"name": "B"}


def test_a_subclass_is_a_lock_in_all_ways(tmp_path, party):
    lock = Named("a", tmp_path)
    other = party(on(lock.place))
    with lock as guard:
        assert guard.lock is lock and lock.held and other.ask("lock.try_acquire()") is False
    assert lock(lambda: lock.held)() is True
    with sneck.Lock.all(lock, sneck.Lock(tmp_path / "other")):
        assert other.ask("lock.locked()") is True
    assert type(Named.at(str(tmp_path / "b"))) is sneck.Lock
    slotted = Slotted(tmp_path / "c")
    slotted.word = "x"
    assert slotted.try_acquire() and not hasattr(slotted, "__dict__")
    with pytest.raises(TypeError):
        type("No", (sneck.Guard,), {})


def test_locks_and_guards_can_be_referred_to_weakly(lock):
    seen = weakref.ref(lock)
    guard = lock.acquire()
    kept = weakref.ref(guard)
    assert seen() is lock and kept() is guard
    guard.release()
    del guard
    assert kept() is None
    gone = weakref.ref(sneck.Lock(lock.path))
    assert gone() is None


def test_what_is_held_is_not_collected(tmp_path, party):
    seen = weakref.ref(sneck.Lock(tmp_path / "lock").acquire())
    other = party(on(str(tmp_path / "lock")))
    for _ in range(3):
        gc.collect()
    assert seen().held and other.ask("lock.try_acquire()") is False
    seen().release()
    gc.collect()
    assert seen() is None and other.ask("lock.try_acquire()") is True


def test_ten_thousand_locks_leave_nothing_open(tmp_path):
    sneck.Lock(tmp_path / "lock").acquire().release()
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(10_000):
        sneck.Lock(tmp_path / str(number % 100), protocol=FILES[number % len(FILES)])
    assert sorted(os.listdir("/proc/self/fd")) == before
    for number in range(1000):
        sneck.Lock(tmp_path / f"{number % 9}", protocol=FILES[number % len(FILES)]).acquire(timeout=0).release()
    assert len(os.listdir("/proc/self/fd")) == len(before)


class Owner:
    pass


def cycle_by_on_wait(path):
    owner = Owner()
    owner.lock = sneck.Lock(path, on_wait=lambda holder: owner)
    return owner


def cycle_by_on_wait_of_several(path):
    owner = Owner()
    owner.lock = sneck.Lock.all(sneck.Lock(path), on_wait=lambda holder: owner)
    return owner


def cycle_by_guard(path):
    owner = Owner()
    owner.lock = sneck.Lock(path, on_wait=lambda holder: owner)
    owner.guard = owner.lock.acquire()
    owner.guard.release()
    return owner


def cycle_by_itself(path):
    owner = Named("cycle", os.path.dirname(path))
    owner.lock = owner
    return owner


@pytest.mark.parametrize("cycle", [cycle_by_on_wait, cycle_by_on_wait_of_several, cycle_by_guard, cycle_by_itself])
def test_cycles_are_collected(lock, cycle):
    owner = cycle(lock.path)
    seen = [weakref.ref(owner), weakref.ref(owner.lock)]
    del owner
    gc.collect()
    assert [one() for one in seen] == [None, None]


def test_locks_and_guards_show_what_they_are(tmp_path, lock):
    claim = sneck.Lock(tmp_path / "claim", protocol="symlink")
    assert repr(lock) == f"<sneck.Lock flock:{lock.path}>" and repr(claim) == f"<sneck.Lock symlink:{claim.path}>"
    whole = sneck.Lock.all(lock, claim)
    assert repr(whole) == f"<sneck.Lock {lock.path} + symlink:{claim.path}>"
    guard = claim.acquire()
    assert repr(claim) == f"<sneck.Lock symlink:{claim.path} held>"
    assert repr(guard) == f"<sneck.Guard symlink:{claim.path} held>"
    holder = claim.holder()
    assert repr(holder) == f"<sneck.Holder {holder}>" and str(holder).startswith(f"pid {os.getpid()} ")
    os.remove(claim.path)
    assert repr(guard) == f"<sneck.Guard symlink:{claim.path} lost>"
    with pytest.raises(sneck.LockLost):
        guard.release()
    assert repr(guard) == f"<sneck.Guard symlink:{claim.path} released>" and "held" not in repr(claim)
    for one in (lock, claim, guard):
        with pytest.raises(AttributeError):
            one.unknown = 1


def test_a_lock_equals_itself_only(lock):
    same = sneck.Lock(lock.path)
    assert lock == lock and lock != same and len({lock, same, lock}) == 2 and hash(lock) == hash(lock)
    one = lock.acquire()
    one.release()
    with lock as other:
        assert one != other and len({one, other}) == 2
