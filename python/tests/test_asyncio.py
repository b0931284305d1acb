"""Tasks of asyncio: a thousand of them on one lock, cancelled at every point, in several loops. Not for: forks (`test_forks.py`), the calls themselves (`test_lock.py`)."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time

import pytest

import sneck
from party import PATIENCE, Party, enter, leave, stays

PROTOCOLS = ["flock", "fcntl", "pidfile", "symlink", "mkdir", "memory"]
FILES = [protocol for protocol in PROTOCOLS if protocol != "memory"]


@pytest.fixture(autouse=True)
def the_loop_has_nothing_to_complain_of(caplog):
    """What a callback of the loop raises ends in asyncio's log, and nowhere else."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def lock_at(tmp_path, protocol="flock", **options):
    return sneck.Lock(tmp_path / "lock", protocol=protocol, **options)


def twin(lock):
    """Another object for the same lock, as text for a party."""
    return f"import sneck; lock = sneck.Lock({lock.path!r}, protocol={lock.protocol!r})"


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.001)


def threads():
    return len(os.listdir("/proc/self/task"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_thousand_tasks_get_one_lock_in_the_order_of_arrival_without_a_thread_each(tmp_path, protocol):
    lock, journal = lock_at(tmp_path, protocol), tmp_path / "journal"
    order = []

    async def turn(number):
        async with lock as guard:
            enter(journal, number)
            assert guard.held
            order.append(number)
            await asyncio.sleep(0)
            leave(journal, number)

    async def main():
        before = threads()
        async with lock:
            all_of_them = asyncio.gather(*(turn(number) for number in range(1000)))
            await turns(3)
            assert order == []
            assert threads() - before <= 4, "they wait without threads"
        await all_of_them

    asyncio.run(main())
    assert order == list(range(1000))
    assert stays(journal) == 1000
    assert not lock.held and lock.try_acquire()
    lock.release()


def test_a_thousand_tasks_on_a_thousand_locks_wait_for_another_process(tmp_path, party):
    names = [str(tmp_path / str(number)) for number in range(1000)]
    setup = f"import sneck; locks = [sneck.Lock(name) for name in {names!r}]; [lock.acquire() for lock in locks]"
    other = party(setup)

    async def turn(name):
        async with sneck.Lock(name):
            pass

    async def main():
        before = threads()
        all_of_them = asyncio.gather(*(turn(name) for name in names))
        await asyncio.sleep(0.3)
        assert threads() - before <= 20
        assert not all_of_them.done()
        other.do("[lock.release() for lock in locks]")
        await asyncio.wait_for(all_of_them, PATIENCE)

    asyncio.run(main())


class Holder:
    """Somebody who holds a lock and can be told to release: the same task's code, another task, a thread, a process."""

    def __init__(self, kind, lock):
        self.kind, self.lock = kind, lock

    async def __aenter__(self):
        if self.kind == "task":
            self.told, has_it = asyncio.Event(), asyncio.Event()

            async def hold():
                async with self.lock:
                    has_it.set()
                    await self.told.wait()

            self.task = asyncio.ensure_future(hold())
            await has_it.wait()
        elif self.kind == "thread":
            self.told, has_it = threading.Event(), threading.Event()

            def work():
                with sneck.Lock(self.lock.path, protocol=self.lock.protocol):
                    has_it.set()
                    self.told.wait()

            self.thread = threading.Thread(target=work)
            self.thread.start()
            has_it.wait()
        elif self.kind == "process":
            self.party = Party(twin(self.lock) + "; lock.acquire()")
        return self

    def release(self):
        if self.kind in ("task", "thread"):
            self.told.set()
        elif self.kind == "process":
            self.party.begin("lock.release()")

    async def __aexit__(self, *_):
        if self.kind == "task":
            await self.task
        elif self.kind == "thread":
            self.thread.join()
        elif self.kind == "process":
            self.party.answer()
            self.party.__exit__()


async def cancelled_after(lock, kind, count, timeout, moment):
    """Cancel a task that acquires, after so many turns of the loop. Whether it had ended by then."""
    inside = []

    async def work():
        guard = await lock.acquire_async(timeout)
        try:
            inside.append(guard)
            await asyncio.sleep(0)
        finally:
            guard.release()

    async with Holder(kind, lock) as holder:
        task = asyncio.ensure_future(work())
        if moment == "after the release":
            await turns(2)
            holder.release()
        await turns(count)
        ended = task.done()
        if moment == "at the release":
            holder.release()
        task.cancel()
        if moment == "before the release":
            await turns(1)
            holder.release()
        try:
            await task
        except asyncio.CancelledError:
            pass
    assert not any(guard.held for guard in inside)
    assert not lock.held, "the task is gone, and holds it"
    # Nothing stands in the line for it either.
    guard = await lock.acquire_async(PATIENCE)
    guard.release()
    return ended


@pytest.mark.parametrize("timeout", [None, PATIENCE])
@pytest.mark.parametrize("moment", ["before the release", "at the release", "after the release"])
@pytest.mark.parametrize("kind", ["nobody", "task", "thread", "process"])
@pytest.mark.parametrize("protocol", ["flock", "symlink", "memory"])
def test_a_task_that_is_cancelled_at_any_point_leaves_nothing_behind(tmp_path, protocol, kind, moment, timeout):
    if protocol == "memory" and kind == "process":
        kind = "task"
    lock = lock_at(tmp_path, protocol)

    async def main():
        for count in range(12):
            if await cancelled_after(lock, kind, count, timeout, moment) and kind == "nobody":
                break

    asyncio.run(main())
    if protocol != "memory":
        with Party(twin(lock)) as other:
            assert other.ask("lock.try_acquire()")


def test_tasks_that_are_cancelled_in_the_very_turn_of_the_grant_pass_it_on(tmp_path):
    lock = lock_at(tmp_path)

    async def main():
        for _ in range(200):
            guard = await lock.acquire_async()
            first, second = (asyncio.ensure_future(lock.acquire_async()) for _ in range(2))
            await turns(2)
            guard.release()
            # Its wake-up is in the inbox, or delivered: it has not run.
            first.cancel()
            granted = await asyncio.wait_for(second, PATIENCE)
            with pytest.raises(asyncio.CancelledError):
                await first
            granted.release()
            assert not lock.held

    asyncio.run(main())


def test_half_of_a_crowd_is_cancelled_and_the_other_half_gets_it(tmp_path, party):
    lock, journal = lock_at(tmp_path), tmp_path / "journal"
    other = party(twin(lock) + "; lock.acquire()")
    got = []

    async def turn(number):
        async with lock:
            enter(journal, number)
            got.append(number)
            await asyncio.sleep(0)
            leave(journal, number)

    async def main():
        tasks = [asyncio.ensure_future(turn(number)) for number in range(400)]
        await asyncio.sleep(0.05)
        for task in tasks[::2]:
            task.cancel()
        other.do("lock.release()")
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in done[::2]] == [asyncio.CancelledError] * 200
        assert done[1::2] == [None] * 200

    asyncio.run(main())
    assert got == list(range(1, 400, 2))
    assert stays(journal) == 200 and other.ask("lock.try_acquire()")


def test_a_loop_watches_for_wake_ups_only_while_a_task_waits(tmp_path):
    lock = lock_at(tmp_path)

    async def main():
        loop = asyncio.get_running_loop()

        async def turn():
            async with lock:
                pass

        async with lock:
            waiting = [asyncio.ensure_future(turn()) for _ in range(3)]
            await asyncio.sleep(0.05)
            post = sneck._tasks._posts[loop]
            assert len(post.asleep) == 3
            waiting[0].cancel()
            await asyncio.sleep(0)
            assert len(post.asleep) == 2
        await asyncio.gather(*waiting[1:])
        assert not post.asleep
        assert not loop.remove_reader(post.inbox.fileno()), "it was watched still"

    asyncio.run(main())


def test_a_timeout_names_the_holder_and_leaves_the_line(tmp_path, party):
    lock = lock_at(tmp_path)
    other = party(twin(lock) + "; lock.acquire()")

    async def main():
        for timeout in (0, 0.05):
            with pytest.raises(sneck.LockTimeout) as caught:
                await lock.acquire_async(timeout)
            assert caught.value.holder.pid == other.pid
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire_async(), 0.05)
        other.do("lock.release()")
        async with lock:
            assert lock.held

    asyncio.run(main())


def test_a_task_that_acquires_what_it_holds_is_refused_and_another_waits(tmp_path):
    lock, counted = lock_at(tmp_path), lock_at(tmp_path, reentry="idempotent")

    async def main():
        async with lock:
            with pytest.raises(sneck.Reentrant):
                await lock.acquire_async()
            task = asyncio.ensure_future(lock.acquire_async())
            await asyncio.sleep(0.05)
            assert not task.done()
        (await task).release()
        async with counted:
            async with counted:
                assert counted.held
            assert counted.held
        assert not counted.held

    asyncio.run(main())


STOPS = """
import asyncio
async def main():
    async with lock:
        try:
            lock.acquire()
        except sneck.Reentrant as error:
            answer = [str(error)]
        answer.append(lock.try_acquire())
        try:
            lock.acquire(timeout=0.01)
        except sneck.LockTimeout as error:
            answer.append("timed out")
    with lock:
        answer.append(lock.held)
    return answer
"""


@pytest.mark.parametrize("reentry", ["refuse", "idempotent"])
def test_a_thread_that_would_stop_the_loop_of_the_task_it_waits_for_is_refused(tmp_path, party, reentry):
    # In a process of its own: there it may hang.
    lock = lock_at(tmp_path)
    other = party(f"import sneck; lock = sneck.Lock({lock.path!r}, reentry={reentry!r})" + STOPS)
    why, *more = other.ask("asyncio.run(main())")
    assert "event loop" in why and more == [False, "timed out", True]


def test_a_thread_shares_a_lock_with_a_task_of_its_loop_and_another_thread_waits_for_it(tmp_path):
    lock, shared = lock_at(tmp_path), sneck.Lock(tmp_path / "shared", mode="shared")

    async def main():
        async with lock, shared:
            shared.acquire().release()
            thread = threading.Thread(target=lambda: lock.acquire().release())
            thread.start()
        await until(lambda: not thread.is_alive())

    asyncio.run(main())


def test_a_thread_and_tasks_take_turns_in_the_order_of_arrival(tmp_path):
    lock, order = lock_at(tmp_path), []

    async def turn(number):
        async with lock:
            order.append(number)

    def work():
        with lock:
            order.append("thread")

    async def main():
        thread = threading.Thread(target=work)
        async with lock:
            first = asyncio.ensure_future(turn(1))
            await turns(2)
            thread.start()
            # Nothing tells that it stands in the line; it has time to.
            await asyncio.sleep(0.3)
            second = asyncio.ensure_future(turn(2))
            await turns(2)
            assert order == []
        await asyncio.gather(first, second)
        thread.join()

    asyncio.run(main())
    assert order == [1, "thread", 2]


def test_loops_of_several_threads_share_a_lock(tmp_path):
    path, journal = tmp_path / "lock", tmp_path / "journal"

    async def turn(lock, who):
        for _ in range(20):
            async with lock:
                enter(journal, who)
                await asyncio.sleep(0)
                leave(journal, who)

    async def main(number):
        lock = sneck.Lock(path)
        await asyncio.gather(*(turn(lock, f"{number}.{task}") for task in range(5)))

    loops = [threading.Thread(target=asyncio.run, args=(main(number),)) for number in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(PATIENCE)
    assert stays(journal) == 4 * 5 * 20


@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_is_closed_while_a_task_waits_leaves_nothing(tmp_path, party):
    lock = lock_at(tmp_path)
    other = party(twin(lock) + "; lock.acquire()")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(lock.acquire_async())
    loop.run_until_complete(turns(3))
    loop.close()
    del task, loop
    gc.collect()
    other.do("lock.release()")
    # A thread that slept in the kernel's queue for it may just be leaving.
    assert other.ask("lock.acquire(timeout=60).held"), "nobody stands before it"
    other.do("lock.release()")
    lock.acquire(timeout=PATIENCE).release()


def test_on_wait_is_told_once_before_a_task_waits_and_what_it_raises_arrives(tmp_path, party):
    told = []
    lock = lock_at(tmp_path, on_wait=told.append)
    other = party(twin(lock))

    async def main():
        async with lock:
            pass
        assert told == []
        other.do("lock.acquire()")
        task = asyncio.ensure_future(lock.acquire_async())
        await until(lambda: told)
        other.do("lock.release()")
        (await task).release()
        assert [holder.pid for holder in told] == [other.pid]

        def refuse(holder):
            raise KeyError(holder.pid)

        other.do("lock.acquire()")
        with pytest.raises(KeyError, match=str(other.pid)):
            await lock_at(tmp_path, on_wait=refuse).acquire_async()
        other.do("lock.release()")
        (await lock.acquire_async(PATIENCE)).release()

    asyncio.run(main())


@pytest.mark.parametrize("protocol", FILES)
def test_an_interrupt_while_a_task_waits_leaves_nothing_held(tmp_path, party, protocol):
    lock = lock_at(tmp_path, protocol)
    lock.acquire()
    waits = (
        f"import asyncio, sneck\nlock = sneck.Lock({lock.path!r}, protocol={protocol!r})\n"
        "async def main():\n"
        "    async with lock: pass\n"
        "def wait():\n"
        "    try:\n"
        "        asyncio.run(main())\n"
        "    except KeyboardInterrupt:\n"
        "        return lock.held\n"
    )
    other = party(waits)
    other.begin("wait()")
    other.must_block()
    other.process.send_signal(signal.SIGINT)
    assert other.answer() is False
    lock.release()
    assert lock.try_acquire(), "nobody stands before us"
    lock.release()


def test_a_crash_of_the_holder_wakes_a_task(tmp_path, party):
    for protocol in FILES:
        lock = sneck.Lock(tmp_path / protocol, protocol=protocol)
        other = party(twin(lock) + "; lock.acquire()")

        async def main(lock=lock, other=other):
            task = asyncio.ensure_future(lock.acquire_async())
            await asyncio.sleep(0.05)
            assert not task.done()
            other.kill()
            (await asyncio.wait_for(task, PATIENCE)).release()

        asyncio.run(main())


def test_a_decorated_coroutine_function_holds_while_it_runs(tmp_path):
    lock = lock_at(tmp_path)

    @lock
    async def work(number):
        await asyncio.sleep(0)
        return number, lock.held

    async def main():
        assert await asyncio.gather(work(1), work(2)) == [(1, True), (2, True)]
        assert not lock.held

    asyncio.run(main())


def test_asyncios_debug_mode_finds_nothing(tmp_path, recwarn):
    lock = lock_at(tmp_path)

    async def turn():
        async with lock:
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(turn() for _ in range(50)))

    asyncio.run(main(), debug=True)
    assert [str(warning.message) for warning in recwarn] == []


if sys.version_info >= (3, 11):

    def test_a_task_group_that_fails_takes_its_waiters_along(tmp_path):
        lock = lock_at(tmp_path)

        async def fail():
            await asyncio.sleep(0.02)
            raise KeyError("it")

        async def main():
            guard = await lock.acquire_async()
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(20):
                        group.create_task(lock.acquire_async())
                    group.create_task(fail())
            except BaseException as failure:
                assert [type(one) for one in failure.exceptions] == [KeyError]
            guard.release()
            assert not lock.held
            (await lock.acquire_async(PATIENCE)).release()

        asyncio.run(main())


class Deaf(asyncio.SelectorEventLoop):
    """A loop that waits only for what it began itself, as that of Windows does."""

    def add_reader(self, *_):
        raise NotImplementedError


class DeafPolicy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Deaf()


@pytest.fixture
def deaf():
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(DeafPolicy())
    yield
    asyncio.set_event_loop_policy(before)


@pytest.mark.parametrize(
    "again",
    [
        lambda tmp_path, party: test_a_thousand_tasks_on_a_thousand_locks_wait_for_another_process(tmp_path, party),
        lambda tmp_path, _: test_a_task_that_is_cancelled_at_any_point_leaves_nothing_behind(
            tmp_path, "flock", "process", "at the release", None
        ),
        lambda tmp_path, _: test_tasks_that_are_cancelled_in_the_very_turn_of_the_grant_pass_it_on(tmp_path),
        lambda tmp_path, _: test_loops_of_several_threads_share_a_lock(tmp_path),
        lambda tmp_path, party: test_a_loop_that_is_closed_while_a_task_waits_leaves_nothing(tmp_path, party),
        lambda tmp_path, party: test_a_timeout_names_the_holder_and_leaves_the_line(tmp_path, party),
        lambda tmp_path, party: test_a_crash_of_the_holder_wakes_a_task(tmp_path, party),
    ],
    ids=["thousand", "cancelled", "grant", "loops", "closed", "timeout", "crash"],
)
def test_a_loop_that_cannot_watch_is_told_by_a_thread_that_ends_with_the_wait(tmp_path, party, deaf, again):
    again(tmp_path, party)
    for thread in threading.enumerate():
        if thread.name == "sneck-listen":
            thread.join(PATIENCE)
            assert not thread.is_alive()
