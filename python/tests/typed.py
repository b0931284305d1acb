"""What users write, for `mypy --strict`: it is read, never run. Not for: whether it works (the tests)."""

from __future__ import annotations

import asyncio
import datetime
import os
import pathlib

import sneck
from sneck import Guard, Holder, Lock, LockError, LockTimeout


def tell(holder: Holder | None) -> None:
    if holder is not None:
        pid: int | None = holder.pid
        since: datetime.datetime | None = holder.since
        print(pid, since, holder.user, holder.command, holder.host, holder.mode, holder.source)


one: Lock = Lock("app.lock")
two = Lock(
    pathlib.Path("app.pid"),
    protocol="pidfile",
    mode="exclusive",
    timeout=5,
    stale=datetime.timedelta(minutes=5),
    reentry="idempotent",
    label="nightly",
    on_wait=tell,
)
three = Lock.at("symlink:/run/app.lock", stale="likely", timeout=None)
four = Lock(
    "etcd://localhost/nightly", ttl=15, lock_delay=datetime.timedelta(seconds=5), require=["durable-fencing", "fair"]
)
five = Lock.at("redis://localhost/nightly", ttl=1.5, require="fencing")
every: Lock = Lock.all(one, two, timeout=0.5, on_wait=lambda holder: None)


class Tagged(Lock):
    tag = "x"


tagged: Tagged = Tagged("tagged.lock")


def threads() -> str:
    with one as guard:
        guard.ensure_held()
        held: bool = guard.held
        token: int | None = guard.token
        print(held, token, guard.clean, guard.broken, guard.mode, guard.lock.path)
    try:
        with one.acquire(timeout=1.5):
            pass
        one.acquire(timeout=None).release()
        one.acquire(...)
        one.release()
    except LockTimeout as error:
        tell(error.holder)
        where: str | None = error.path
        number: int | None = error.errno
        advice: str | None = error.advice
        print(where, number, advice, error.holders, error.place)
    except TimeoutError:
        pass
    except LockError as error:
        print(error.holder, error.place)
    if one.try_acquire():
        one.release()
    tell(one.holder())
    gone: Holder | None = two.break_stale()
    print(gone, two.force_release(), two.locked(), two.held, two.held_in_this_process, two.timeout)
    return os.fspath(one.path)


def leased() -> None:
    waiting: list[Holder] = four.waiters()
    print([(waiter.label, waiter.token) for waiter in waiting], four.capabilities.meets("shared"))
    shortest: float | None = four.capabilities.shortest_lease
    order: str = four.capabilities.order
    print(shortest, order, four.capabilities)
    register = sneck.fence.Register(7)
    with four as guard:
        guard.on_lost(print)
        why: str | None = guard.until_lost(timeout=0.5)
        left: float | None = guard.expires
        print(why or guard.lost, left)
        sneck.fence.replace(pathlib.Path("report.txt"), b"text", guard.token, timeout=5)
        register.admit(guard.token)
        print(register.highest)


async def lost() -> str | None:
    async with four as guard:
        return await guard.until_lost_async()


@one
def sync(number: int, *, word: str) -> float:
    return number + len(word)


@one
async def task(number: int) -> str:
    return str(number)


async def tasks() -> None:
    async with one as guard:
        print(guard.held)
    other: Guard = await one.acquire_async(timeout=1)
    other.release()
    await asyncio.wait_for(one.acquire_async(), 1)
    done: str = await task(3)
    print(done)


total: float = sync(1, word="x")
raised: list[type[sneck.LockError]] = [sneck.NotHeld, sneck.Reentrant, sneck.LockLost, sneck.NoFolder]
