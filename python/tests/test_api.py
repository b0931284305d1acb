"""Locks as Python objects: as decorators, made by `Lock.at` and `Lock.all`, copied and pickled, subclassed, collected; paths of all kinds.

Not for: what holding means (`test_protocols.py`), exceptions and documentation (`test_errors.py`), tasks (`test_asyncio.py`).
"""

import asyncio
import functools
import inspect
import os
import pickle
import socket
import sys

import pytest

import sneck
from party import PATIENCE, stays
from protocols import FILES, files, is_free, on


@pytest.fixture
def lock(tmp_path):
    return sneck.Lock(tmp_path / "lock")


def decorated(lock):
    @lock
    def work(one, *more: int, key: str = "x") -> list:
        """What it does."""
        if key == "raise":
            raise KeyError(one)
        return [one, more, key, lock.held]

    return work


def test_a_decorated_function_looks_like_itself(lock):
    work = decorated(lock)
    assert (work.__name__, work.__doc__, work.__module__) == ("work", "What it does.", __name__)
    assert str(inspect.signature(work)) == "(one, *more: int, key: str = 'x') -> list"
    assert not lock.held and work.__wrapped__("one")[-1] is False


def test_a_decorated_function_runs_while_the_lock_is_held(lock):
    work = decorated(lock)
    for _ in range(2):
        assert work(1, 2, 3, key="y") == [1, (2, 3), "y", True] and not lock.held
    with pytest.raises(KeyError, match="own"):
        work("own", key="raise")
    assert not lock.held and work(1)[-1] is True


def test_a_decorated_function_is_not_called_without_the_lock(tmp_path, party):
    one = party(on(str(tmp_path / "lock")))
    one.do("lock.acquire()")
    called = []
    busy = sneck.Lock(tmp_path / "lock", timeout=0)(called.append)
    with pytest.raises(sneck.LockTimeout) as caught:
        busy(1)
    assert not called and caught.value.holder.pid == one.pid
    one.do("lock.release()")
    busy(2)
    assert called == [2]


def test_decorated_functions_of_two_processes_take_turns(tmp_path, party):
    place, journal = str(tmp_path / "lock"), str(tmp_path / "journal")
    both = [
        party(
            on(place) + f"\n@lock\ndef work(): party.enter({journal!r}); party.leave({journal!r})\n"
            "def all_of_it():\n    for _ in range(100): work()\n"
        )
        for _ in range(2)
    ]
    with sneck.Lock(place):
        for one in both:
            one.begin("all_of_it()")
        for one in both:
            one.must_block(0.1)
    for one in both:
        one.answer()
    assert stays(journal) == 200


def test_methods_and_all_else_that_is_called_can_be_decorated(lock):
    class Room:
        @lock
        def enter(self, key):
            return self, key, lock.held

        @staticmethod
        @lock
        def size():
            return lock.held

        @classmethod
        @lock
        def kind(cls):
            return cls, lock.held

        def __call__(self):
            return lock.held

    room = Room()
    assert room.enter("k") == (room, "k", True)
    assert (Room.size(), Room.kind(), lock(room)()) == (True, (Room, True), True)
    assert lock(functools.partial(max, 2))(3) == 3 == lock(len)("abc") and not lock.held


def test_a_decorated_function_that_calls_itself_is_refused_unless_it_may(tmp_path, lock):
    def down(lock):
        @lock
        def work(number):
            return work(number - 1) if number else lock.held

        return work

    assert down(lock)(0) is True
    with pytest.raises(sneck.Reentrant):
        down(lock)(1)
    assert not lock.held
    assert down(sneck.Lock(lock.path, reentry="idempotent", timeout=PATIENCE))(3) is True
    is_free(lock.path)


def test_a_decorated_coroutine_function_stays_one(lock):
    @lock
    async def work(one, *, key):
        return one, key, lock.held

    assert inspect.iscoroutinefunction(work) and (work.__name__, str(inspect.signature(work))) == (
        "work",
        "(one, *, key)",
    )
    assert asyncio.run(work(1, key=2)) == (1, 2, True) and not lock.held


def generator():
    yield


async def async_generator():
    yield


REFUSED = {
    "a generator": generator,
    "an async generator": async_generator,
    "a partial of one": functools.partial(generator),
    "a lambda that is one": lambda: (yield),
    "a class": dict,
    "a staticmethod": staticmethod(len),
    "a classmethod": classmethod(len),
    "no function": 3,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_run_after_the_release_cannot_be_decorated(lock, what):
    with pytest.raises(TypeError, match="generator|decorates"):
        lock(REFUSED[what])


def test_a_function_that_gives_a_coroutine_is_found_out_and_releases(lock):
    async def later():
        raise AssertionError("it ran")

    with pytest.raises(TypeError, match="async def"):
        lock(lambda: later())()
    assert not lock.held


@files
def test_a_lock_at_a_place_is_the_one_of_that_protocol(tmp_path, party, protocol, place):
    path = str(tmp_path / "lock")
    lock, same = sneck.Lock.at(place), sneck.Lock(path, protocol=protocol)
    for one in (lock, same):
        assert (one.protocol, one.path) == (protocol, path)
        assert one.place == (path if protocol == "flock" else place)
    other = party(on(place))
    with lock:
        assert same.held_in_this_process and not same.held and not same.try_acquire()
        assert other.ask("lock.try_acquire()") is False


def test_a_place_may_be_a_plain_path_and_the_keywords_are_those_of_a_lock(tmp_path):
    options = {
        "mode": "shared",
        "timeout": 2.5,
        "stale": "never",
        "reentry": "idempotent",
        "label": "why",
        "record": "pid",
    }
    lock = sneck.Lock.at(str(tmp_path / "lock"), on_wait=print, **options)
    assert (lock.protocol, lock.path, lock.timeout) == ("flock", str(tmp_path / "lock"), 2.5)
    with lock as guard, lock:
        assert guard.mode == "shared" and (tmp_path / "lock").read_bytes() == b"%d\n" % os.getpid()
    # Python 3.9 knows no signature of a class that is not written in Python.
    if sys.version_info >= (3, 10):
        ways = [set(inspect.signature(make).parameters) for make in (sneck.Lock, sneck.Lock.at)]
        assert ways[0] ^ ways[1] == {"path", "protocol", "place"}


def test_a_place_is_settled_when_the_lock_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    locks = [sneck.Lock.at(written) for written in ("one", "symlink:two", "flock+pidfile:three", "./pidfile:four")]
    places = [lock.place for lock in locks]
    assert places == [
        f"{tmp_path}/one",
        f"symlink:{tmp_path}/two",
        f"flock+pidfile:{tmp_path}/three",
        f"{tmp_path}/pidfile:four",
    ]
    monkeypatch.chdir("/")
    for lock, place in zip(locks, places):
        again = pickle.loads(pickle.dumps(lock))
        assert lock.place == again.place == place and again.path == lock.path and lock.path.startswith(str(tmp_path))
        with lock:
            assert again.held_in_this_process and os.path.lexists(lock.path)


def test_a_place_in_memory_is_a_name(tmp_path):
    lock, same, nameless = sneck.Lock.at("memory:a name"), sneck.Lock.at("memory:a name"), sneck.Lock.at("memory:")
    assert (lock.protocol, lock.path, lock.place) == ("memory", "a name", "memory:a name")
    with lock, nameless:
        assert same.held_in_this_process and not same.try_acquire()
        assert sneck.Lock.at("memory:").try_acquire() and sneck.Lock("a name").locked() is False


@pytest.mark.parametrize(
    "wrong",
    ["smylink:a", "zookeeper://host/a", "etcd://host", "flock+nothing:a", "", "pidfile:", "flock:a/", "flock+flock:a"],
)
def test_a_place_that_is_written_wrongly_is_refused(wrong):
    with pytest.raises(sneck.InvalidLock) as caught:
        sneck.Lock.at(wrong)
    assert isinstance(caught.value, ValueError)
    if "nothing" in wrong or "smylink" in wrong:
        assert "symlink" in str(caught.value) and "known are" in caught.value.advice


def test_a_server_that_is_not_there_is_unreachable_and_its_password_not_told():
    with socket.socket() as nobody, socket.socket() as silent:
        # Nobody listens at one; at the other nobody answers.
        nobody.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        for one, options in ((nobody, ""), (silent, "?connect_timeout=1")):
            address = f"127.0.0.1:{one.getsockname()[1]}/base/name{options}"
            lock = sneck.Lock.at(f"postgres://ada:secret@{address}")
            assert lock.protocol == "postgres" and address in lock.place
            with pytest.raises(sneck.Unreachable) as caught:
                lock.acquire(timeout=PATIENCE)
            error = caught.value
            assert isinstance(error, ConnectionError) and "127.0.0.1" in str(error) and not lock.held
            joined = sneck.Lock.all(lock, sneck.Lock("/tmp/x"))
            told = [
                lock.path,
                lock.place,
                repr(lock),
                error.path,
                error.place,
                error.filename,
                joined.path,
                joined.place,
            ]
            assert "secret" not in "".join([str(error), repr(error), repr(joined)] + told)
            assert all("ada" in one and address in one for one in told)


def test_locks_of_all_protocols_are_taken_as_one(tmp_path, party):
    parts = [sneck.Lock(tmp_path / one, protocol=one) for one in FILES] + [sneck.Lock.at("memory:all of them")]
    whole = sneck.Lock.all(*parts)
    other = party("import sneck")
    with whole as guard:
        assert guard.held and whole.held and whole.held_in_this_process and not any(part.held for part in parts)
        assert all(part.locked() and part.held_in_this_process and not part.try_acquire() for part in parts)
        busy = [f"sneck.Lock.at({part.place!r}).locked()" for part in parts[:-1]]
        assert other.ask(f"[{', '.join(busy)}]") == [True] * len(FILES)
    assert not any(part.locked() for part in parts)
    assert whole.protocol == "+" and whole.path == whole.place == " + ".join(part.place for part in parts)
    # Of one that is in the way it is told, and the others are given back.
    for part in parts[:-1]:
        other.do(f"guard = sneck.Lock.at({part.place!r}).acquire()")
        with pytest.raises(sneck.LockTimeout) as caught:
            whole.acquire(timeout=0.01)
        assert caught.value.holder.pid == other.pid and os.path.basename(part.path) in caught.value.path
        assert [one.place for one in parts if one.locked()] == [part.place]
        other.do("guard.release()")
    is_free(parts[0].place)


def test_several_may_be_several_again(tmp_path):
    one, two, three = (sneck.Lock(tmp_path / str(number), protocol="pidfile") for number in range(3))
    whole = sneck.Lock.all(sneck.Lock.all(one, two), sneck.Lock.all(three))
    with whole:
        assert one.locked() and two.locked() and three.locked()
    assert not os.listdir(tmp_path)
    for wrong in ([], [one, one], [whole, two], [one, sneck.Lock(one.path, protocol="mkdir")]):
        with pytest.raises(sneck.InvalidLock):
            sneck.Lock.all(*wrong)
    for wrong in ("path", None, [one]):
        with pytest.raises(TypeError, match="locks"):
            sneck.Lock.all(one, wrong)


def test_two_who_name_them_in_another_order_do_not_wait_for_each_other(tmp_path, party):
    journal = str(tmp_path / "journal")
    paths = [str(tmp_path / "one"), str(tmp_path / "two")]
    both = [
        party(
            f"import party, sneck; both = sneck.Lock.all(*map(sneck.Lock, {order!r}))\n"
            "def all_of_it():\n    for _ in range(50):\n"
            f"        with both: party.enter({journal!r}); party.leave({journal!r})\n"
        )
        for order in (paths, paths[::-1])
    ]
    with sneck.Lock(paths[0]):
        for one in both:
            one.begin("all_of_it()")
        for one in both:
            one.must_block(0.1)
    for one in both:
        one.answer()
    assert stays(journal) == 100
