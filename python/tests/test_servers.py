"""Locks at servers: the same calls as anywhere, leases, what a place can promise, who holds and who waits; losing such a lock, and being told.

Not for: what the engines do about faults (the tests of their crates); checking tokens (`test_fence.py`).
"""

import asyncio
import ctypes
import datetime
import os
import pickle
import signal
import sys
import threading
import time

import pytest

import sneck
from party import PATIENCE
from protocols import on
from servers import ENGINES

everywhere = pytest.mark.parametrize("engine", ENGINES)
# Short enough for a test, long enough for a busy machine.
SHORT = {"ttl": 1.5, "lock_delay": 0.5}
# Of which a holder that falls silent loses its lock: no server is asked for that.
LEASED = [engine for engine in ENGINES if sneck.Lock(f"{engine}://localhost/name").capabilities.meets("lease")]
leased = pytest.mark.parametrize("engine", LEASED)


@pytest.fixture
def at_redis(servers, request):
    return servers("redis").place(request.node.name)


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def robbed(place):
    """A guard of a lock that somebody else has taken away."""
    guard = sneck.Lock(place, **SHORT).acquire()
    assert sneck.Lock(place).force_release() is not None
    return guard


@everywhere
def test_a_lock_at_a_server_is_written_as_an_address_and_used_like_any_other(at_server, engine, party):
    lock = sneck.Lock(at_server, timeout=0, label="nightly")
    assert (lock.protocol, lock.path) == (engine, at_server.split(":", 1)[1]) and lock.place == at_server
    other = party(f"import sneck; lock = sneck.Lock({at_server!r}, timeout=0)")
    with lock as guard:
        assert guard.held and guard.lost is None and guard.ensure_held() is None
        assert other.ask("lock.try_acquire(), lock.locked(), lock.held") == (False, True, False)
        holder = lock.holder()
        assert holder.source == "the server" and "nightly" in str(holder)
        assert other.ask("lock.holder().pid") == holder.pid
        assert pickle.loads(pickle.dumps(holder)) == holder
        with pytest.raises(sneck.LockTimeout) as caught:
            pickle.loads(pickle.dumps(lock)).acquire()
        assert caught.value.holder.pid == os.getpid()
        if engine in LEASED:
            assert (holder.pid, holder.label, holder.token) == (os.getpid(), "nightly", guard.token)
    assert guard.lost is None and guard.expires is None and guard.token is None
    assert other.ask("lock.try_acquire()") is True
    other.do("lock.release()")

    async def task():
        async with lock as guard:
            return guard.held, other.ask("lock.try_acquire()")

    assert asyncio.run(task()) == (True, False)
    assert not lock.locked() and lock.holder() is None


@everywhere
def test_tokens_grow_from_holder_to_holder(at_server, party):
    other = party(f"import sneck; lock = sneck.Lock({at_server!r})")
    tokens = []
    for _ in range(3):
        with sneck.Lock(at_server) as guard:
            assert guard.token == guard.token
            tokens.append(guard.token)
        tokens.append(other.ask("lock.acquire().token"))
        other.do("lock.release()")
    assert tokens == sorted(set(tokens)), tokens


@leased
def test_those_who_wait_are_named_in_order(at_server, party):
    lock = sneck.Lock(at_server)
    with lock:
        waiting = []
        for label in ["first", "second"]:
            one = party(f"import sneck; lock = sneck.Lock({at_server!r}, label={label!r})")
            one.begin("lock.acquire().token")
            waiting.append(one)
            until(lambda: len(lock.waiters()) == len(waiting))
        named = [(waiter.pid, waiter.label) for waiter in lock.waiters()]
        assert named == [(waiting[0].pid, "first"), (waiting[1].pid, "second")]
    tokens = []
    for one in waiting:
        tokens.append(one.answer())
        one.do("lock.release()")
    assert tokens == sorted(tokens) and lock.waiters() == []


def test_a_place_is_asked_for_what_it_must_promise():
    redis, etcd = "redis://localhost/name", "etcd://localhost/name"
    for required in ["durable-fencing", "fair, durable-fencing", ["durable-fencing"], ("survives-restart", "fair")]:
        with pytest.raises(sneck.Unsupported, match="durable-fencing|survives-restart"):
            sneck.Lock(redis, require=required)
    lock = sneck.Lock(etcd, require=(word for word in ["durable-fencing", "fair", "linearizable", "survives-restart"]))
    assert pickle.loads(pickle.dumps(lock)).place == lock.place
    assert lock.capabilities.meets("durable-fencing") and not sneck.Lock(redis).capabilities.meets("durable-fencing")
    with pytest.raises(ValueError, match="durabel"):
        sneck.Lock(etcd, require="durabel-fencing")
    with pytest.raises(ValueError, match="cheap"):
        lock.capabilities.meets("cheap")
    with pytest.raises(TypeError, match="require"):
        sneck.Lock(etcd, require=7)


def test_capabilities_say_what_each_place_can(tmp_path):
    kinds = ["redis", "etcd", "postgres"]
    can = {kind: sneck.Lock(f"{kind}://localhost/name").capabilities for kind in kinds}
    for kind, one in can.items():
        assert (one.shared, one.reach, one.order, one.crash) == (True, "network", "fifo", "free"), kind
    assert [can[kind].tokens for kind in kinds] == ["best-effort", "durable", "durable"]
    etcd, redis = can["etcd"], can["redis"]
    assert (etcd.shortest_lease, etcd.lease_step, etcd.restart, etcd.consistency) == (2, 1, "survives", "linearizable")
    assert (redis.restart, redis.consistency) == ("freed", "until-failover") and redis.lease_step < 0.01
    assert repr(redis) == "<sneck.Capabilities fencing fair shared lease>"
    local = sneck.Lock(tmp_path / "lock").capabilities
    assert (local.shortest_lease, local.lease_step, local.tokens, local.restart) == (None, None, "none", "no-server")
    assert local == sneck.Lock(tmp_path / "other").capabilities != redis
    assert hash(local) == hash(sneck.Lock(tmp_path / "other").capabilities)
    pidfile = sneck.Lock(tmp_path / "other", protocol="pidfile").capabilities
    assert (pidfile.crash, pidfile.removable, pidfile.mark, pidfile.shared) == ("stale", True, True, False)


def test_what_makes_no_sense_as_a_lease_is_refused(tmp_path):
    place = "redis://localhost/name"
    for told in [{"ttl": 0.01}, {"ttl": -1}, {"ttl": float("nan")}, {"lock_delay": 1e9}]:
        with pytest.raises(ValueError):
            sneck.Lock(place, **told)
    with pytest.raises(TypeError, match="ttl: a number of seconds, or a timedelta"):
        sneck.Lock(place, ttl="15s")
    for told in [{"ttl": 5}, {"lock_delay": datetime.timedelta(seconds=1)}, {"require": "lease"}]:
        with pytest.raises(sneck.Unsupported):
            sneck.Lock(tmp_path / "lock", **told)
    with pytest.raises(sneck.InvalidLock, match="htpt"):
        sneck.Lock("htpt://host/name")


@leased
def test_a_lease_lasts_as_long_as_was_asked_for_and_is_renewed(at_server):
    ttl = datetime.timedelta(seconds=SHORT["ttl"])
    with sneck.Lock(at_server, ttl=ttl, lock_delay=0.5) as guard:
        assert 0 < guard.expires <= SHORT["ttl"]
        until_renewed = time.monotonic() + SHORT["ttl"] * 1.5
        while time.monotonic() < until_renewed:
            assert 0 < guard.expires <= SHORT["ttl"] and guard.held
            time.sleep(0.05)
    copy = pickle.loads(pickle.dumps(sneck.Lock(at_server, ttl=ttl)))
    with copy as guard:
        assert 0 < guard.expires <= SHORT["ttl"]
    with sneck.Lock(at_server) as guard:
        assert SHORT["ttl"] < guard.expires <= 15


def test_whoever_keeps_the_gil_for_longer_than_a_lease_keeps_the_lock(servers, party):
    place = servers("redis").place("gil")
    other = party(f"import sneck; lock = sneck.Lock({place!r})")
    told = []
    with sneck.Lock(place, ttl=1, lock_delay=0.5) as guard:
        guard.on_lost(told.append)
        other.begin("lock.acquire().token")
        until(lambda: len(guard.lock.waiters()) == 1)
        began, ran = time.monotonic(), []
        ticker = threading.Thread(target=lambda: ran.append(time.monotonic()))
        # A call into C that does not let go of it: no other thread of Python runs meanwhile.
        keep = ctypes.PyDLL(None)
        keep.usleep(900_000)
        keep.usleep(900_000)
        keep.usleep(900_000)
        assert time.monotonic() - began > 2.5
        assert guard.lost is None and guard.held and 0 < guard.expires <= 1
        other.must_block(0.1)
        ticker.start()
        ticker.join()
        assert told == [] and ran
        token = guard.token
    assert other.answer() > token


@leased
def test_a_holder_that_is_robbed_is_told_in_every_way(at_server):
    guard = sneck.Lock(at_server, **SHORT).acquire()
    told, hears = [], threading.Event()

    def callback(why):
        told.append((why, threading.current_thread() is threading.main_thread(), guard.held))
        hears.set()

    guard.on_lost(callback)

    async def task():
        waits = asyncio.ensure_future(guard.until_lost_async())
        for _ in range(3):
            # Whoever is cancelled takes nothing along.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(guard.until_lost_async(), 0.01)
        assert not waits.done()
        robber = threading.Thread(target=sneck.Lock(at_server).force_release)
        robber.start()
        why = await asyncio.wait_for(waits, PATIENCE)
        robber.join()
        return why

    assert guard.until_lost(0.01) is None
    why = asyncio.run(task())
    assert guard.until_lost() == guard.lost == why and why
    assert hears.wait(PATIENCE) and told == [(why, False, False)]
    assert not guard.held and not guard.lock.held
    with pytest.raises(sneck.LockLost, match="lost"):
        guard.ensure_held()
    # Whoever comes late is told as well.
    hears.clear()
    guard.on_lost(callback)
    assert hears.wait(PATIENCE)
    with sneck.Lock(at_server, timeout=PATIENCE), pytest.raises(sneck.LockLost):
        guard.release()
    with pytest.raises(sneck.NotHeld):
        guard.until_lost()


@leased
def test_leaving_the_block_of_a_lost_lock_says_so_and_what_the_block_raised(at_server):
    def threads():
        with sneck.Lock(at_server, timeout=PATIENCE, **SHORT) as guard:
            sneck.Lock(at_server).force_release()
            assert guard.until_lost(PATIENCE)
            raise KeyError("own")

    async def task():
        async with sneck.Lock(at_server, timeout=PATIENCE, **SHORT) as guard:
            sneck.Lock(at_server).force_release()
            assert await guard.until_lost_async()
            raise KeyError("own")

    def by_guard():
        with sneck.Lock(at_server, timeout=PATIENCE, **SHORT).acquire() as guard:
            sneck.Lock(at_server).force_release()
            assert guard.until_lost(PATIENCE)
            raise KeyError("own")

    for way in [threads, by_guard, lambda: asyncio.run(task())]:
        with pytest.raises(sneck.LockLost) as caught:
            way()
        assert isinstance(caught.value.__context__, KeyError), way


def test_what_is_not_known_to_be_done_alone_is_not_returned(at_redis):
    lock = sneck.Lock(at_redis, timeout=PATIENCE)

    @lock
    def work():
        sneck.Lock(at_redis).force_release()
        return "done"

    with pytest.raises(sneck.LockLost) as caught:
        work()
    assert caught.value.__context__ is None


def test_a_server_that_falls_silent_costs_the_lock_when_our_own_clock_says_so(own_redis):
    place = own_redis.place("silent")
    lock = sneck.Lock(place, ttl=0.6, lock_delay=0.4)
    guard = lock.acquire()
    told = threading.Event()
    guard.on_lost(lambda why: told.set())
    own_redis.stand_still()
    try:
        why = guard.until_lost(PATIENCE)
        assert "could not be renewed" in why and guard.expires == 0 and not guard.held
        assert told.wait(PATIENCE)
    finally:
        own_redis.go_on()
    # Losing is final, whatever the server says now.
    time.sleep(0.5)
    assert guard.lost == why
    with pytest.raises(sneck.LockLost, match="could not be renewed"):
        guard.release()
    with sneck.Lock(place, timeout=PATIENCE):
        pass


@leased
def test_a_killed_holders_lock_passes_on_when_its_lease_is_over(at_server, party):
    other = party(f"import sneck; lock = sneck.Lock({at_server!r}, **{SHORT})")
    first = other.ask("lock.acquire().token")
    other.kill()
    with sneck.Lock(at_server, timeout=PATIENCE, **SHORT) as guard:
        assert guard.token > first


@everywhere
def test_a_forked_child_has_no_part_in_it(at_server, engine, party):
    told = SHORT if engine in LEASED else {}
    holder = party(f"import children, sneck, time; lock = sneck.Lock({at_server!r}, **{told}); guard = lock.acquire()")
    holder.do("losses = []; guard.on_lost(losses.append)")
    asked = "(guard.held, guard.lost, guard.expires, guard.token, lock.held, guard.until_lost(0))"
    assert holder.ask(f"children.ask(lambda: {asked})")[0] == "NotHeld"
    asked = "(guard.held, guard.lost, guard.expires, guard.token, lock.held)"
    assert holder.ask(f"children.ask(lambda: {asked})") == (False, None, None, None, False)
    assert holder.ask("children.ask(lambda: lock.release())")[0] == "NotHeld"
    assert holder.ask("children.ask(lambda: lock.try_acquire())") is False
    # It lives on for longer than the lease, and the parent renews it.
    holder.do("child = children.Child(lambda: guard.held)\nassert child.answer() is False")
    holder.do("time.sleep(2.5)\nassert guard.held and guard.ensure_held() is None and losses == []")
    assert not sneck.Lock(at_server).try_acquire()
    holder.do("child.end(); guard.release()")
    sneck.Lock(at_server, timeout=PATIENCE).acquire().release()


def test_what_a_callback_raises_is_told_and_a_released_lock_calls_nobody(at_redis, monkeypatch):
    seen, hears = [], threading.Event()

    def hook(told):
        seen.append((told.exc_type, told.object))
        hears.set()

    monkeypatch.setattr(sys, "unraisablehook", hook)

    def callback(why):
        raise KeyError(why)

    released = sneck.Lock(at_redis).acquire()
    released.on_lost(callback)
    released.release()
    guard = robbed(at_redis)
    guard.on_lost(callback)
    assert hears.wait(PATIENCE)
    assert seen == [(KeyError, callback)]
    with pytest.raises(TypeError, match="call"):
        guard.on_lost(7)
    with pytest.raises(sneck.LockLost):
        guard.release()
    with pytest.raises(sneck.NotHeld):
        guard.on_lost(callback)


def test_ctrl_c_ends_a_wait_for_a_loss(at_redis, party):
    one = party(on(at_redis) + "\nimport signal; guard = lock.acquire()")
    one.begin("guard.until_lost()")
    one.must_block()
    one.process.send_signal(signal.SIGINT)
    with pytest.raises(Exception, match="KeyboardInterrupt"):
        one.answer()
    assert one.ask("guard.held") is True


def test_a_callback_that_has_begun_is_waited_for_at_the_end(at_redis, party, tmp_path):
    begun, done = tmp_path / "begun", tmp_path / "done"
    one = party(
        on(at_redis) + "\nimport pathlib, time\n"
        "guard = lock.acquire()\n"
        "def callback(why):\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n"
        "    time.sleep(0.5)\n"
        f"    pathlib.Path({str(done)!r}).touch()\n"
        "guard.on_lost(callback)"
    )
    sneck.Lock(at_redis).force_release()
    until(begun.exists)
    assert one.end() == 0 and done.exists()


def test_a_released_lock_ends_the_waits_for_its_loss(at_redis):
    lock = sneck.Lock(at_redis)

    async def task():
        async with lock as guard:
            waits = [asyncio.ensure_future(guard.until_lost_async()) for _ in range(100)]
            await asyncio.sleep(0.05)
            assert not any(one.done() for one in waits)
        return await asyncio.wait_for(asyncio.gather(*waits), PATIENCE)

    assert asyncio.run(task()) == [None] * 100
    guard = lock.acquire()
    other = threading.Timer(0.1, guard.release)
    other.start()
    assert guard.until_lost() is None
    other.join()
