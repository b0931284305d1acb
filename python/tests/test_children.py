"""Children of multiprocessing, by each way to start them: locks that are passed to them, storms, how they end. And event loops that were forked.

Not for: what a child's copies do: `test_forks.py`.
"""

import subprocess
import sys

import pytest

import sneck
from party import PATIENCE, stays

STARTS = ["fork", "spawn", "forkserver"]
PROTOCOLS = ["flock", "fcntl", "pidfile", "symlink", "mkdir"]


def starter(party, start):
    return party(f"import children, multiprocessing, os, sneck\ncontext = multiprocessing.get_context({start!r})")


@pytest.mark.parametrize("start", STARTS)
def test_a_lock_that_is_passed_to_a_child_is_the_same_and_not_held(tmp_path, party, start):
    parent = starter(party, start)
    parent.do(
        f"lock = sneck.Lock({str(tmp_path / 'lock')!r}, protocol='symlink', timeout={PATIENCE}, label='x')\n"
        f"both = sneck.Lock.all(lock, sneck.Lock.at({str(tmp_path / 'two')!r}), timeout={PATIENCE})\n"
        "lock.acquire()\n"
        "some = [context.Process(target=children.rounds, args=(one, %r, 1)) for one in (lock, both)]\n"
        "for one in some: one.start()" % str(tmp_path / "journal")
    )
    parent.begin("[one.join() for one in some]")
    parent.must_block()
    assert not (tmp_path / "journal").exists()
    sneck.Lock(tmp_path / "lock", protocol="symlink").force_release()
    parent.answer()
    assert parent.ask("[one.exitcode for one in some]") == [0, 0]
    assert stays(tmp_path / "journal") == 2


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_storm_of_processes_and_threads_lets_one_in_at_a_time(tmp_path, party, start, protocol):
    parent, journal = starter(party, start), str(tmp_path / "journal")
    parent.do(
        f"lock = sneck.Lock({str(tmp_path / 'lock')!r}, protocol={protocol!r}, timeout={PATIENCE})\n"
        # The first ones are started while the lock is held: by fork they get a copy of the guard.
        "guard = lock.acquire()\n"
        f"some = [context.Process(target=children.rounds, args=(lock, {journal!r}, 6, 3)) for _ in range(4)]\n"
        "for one in some: one.start()\n"
        f"children.enter({journal!r}, 'parent')\n"
        "import time; time.sleep(0.05)\n"
        f"children.leave({journal!r}, 'parent')\n"
        "guard.release()\n"
        f"children.rounds(lock, {journal!r}, 6, 3)\n"
        "for one in some: one.join()"
    )
    assert parent.ask("[one.exitcode for one in some]") == [0] * 4
    assert stays(journal) == 5 * 6 * 3 + 1


@pytest.mark.parametrize("start", STARTS)
def test_pools_take_locks_too(tmp_path, party, start):
    parent, journal = starter(party, start), str(tmp_path / "journal")
    parent.do(
        "from concurrent.futures import ProcessPoolExecutor\n"
        f"lock = sneck.Lock({str(tmp_path / 'lock')!r}, timeout={PATIENCE})\n"
        "with lock, ProcessPoolExecutor(3, mp_context=context) as pool, context.Pool(3) as other:\n"
        f"    work = [(lock, {journal!r}, 2, 2)] * 6\n"
        "    answers = pool.map(children.rounds_of_a_pickled_one, work)\n"
        "    more = other.map_async(children.rounds_of_a_pickled_one, work)\n"
        "    lock.release()\n"
        "    pids = {*answers, *more.get()}\n"
        "    lock.acquire()\n"
    )
    assert parent.ask("len(pids) > 1 and os.getpid() not in pids")
    assert stays(journal) == 2 * 6 * 2 * 2


@pytest.mark.parametrize("start", STARTS)
def test_a_child_that_comes_to_its_end_leaves_no_claim_and_one_that_is_cut_off_does(tmp_path, party, start):
    parent, path = starter(party, start), tmp_path / "lock"
    for how in "in order", "at once":
        parent.do(
            f"lock = sneck.Lock({str(path)!r}, protocol='pidfile')\n"
            f"child = context.Process(target=children.keep, args=(lock, {how!r}))\n"
            "child.start(); child.join()"
        )
        assert path.exists() is (how == "at once"), how
    with sneck.Lock(path, protocol="pidfile").acquire(timeout=0) as guard:
        assert [one.pid for one in guard.broken] == [parent.ask("child.pid")] and guard.clean is False


@pytest.mark.parametrize("start", STARTS)
def test_a_childs_end_ends_nothing_of_its_parent(tmp_path, party, start):
    """At the end of a child nothing of its parent's is released, and what a thread of its own is in the middle of is not either."""
    parent, path, journal = starter(party, start), tmp_path / "lock", str(tmp_path / "journal")
    parent.do(
        f"mine, lock = (sneck.Lock({str(path)!r} + name, protocol='pidfile', timeout={PATIENCE}) for name in ('.mine', ''))\n"
        "mine.acquire()\n"
        f"child = context.Process(target=children.begin_and_return, args=(lock, {journal!r}))\n"
        "child.start(); child.join()"
    )
    assert parent.ask("child.exitcode, mine.held, mine.locked()") == (0, True, True)
    # One that waited for it came in when its work was done, and no sooner.
    assert stays(journal) == 2


def script(text, *arguments):
    """A Python that really comes to its end, which a party does not."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


ENDS = """
import os, sneck, sys, threading
lock = sneck.Lock.at(sys.argv[1])
with lock:
    child = os.fork()
    if child == 0:
        {end}
    status = os.waitpid(child, 0)[1]
    print(status, lock.held, flush=True)
    sys.stdin.readline()
print("over", flush=True)
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "threading.Thread(target=int).start(); sys.exit(0)"])
def test_a_forked_childs_end_ends_nothing(tmp_path, protocol, end):
    place = f"{protocol}:{tmp_path}/lock"
    with script(ENDS.format(end=end), place) as parent:
        assert parent.stdout.readline() == "0 True\n"
        other = sneck.Lock.at(place)
        assert not other.try_acquire()
        print(file=parent.stdin, flush=True)
        assert parent.stdout.readline() == "over\n"
        assert other.try_acquire()
        other.release()


LOOPS = """
import asyncio, gc, os, sneck, sys, threading
place = sys.argv[1]

async def wait():
    async with sneck.Lock.at(place):
        return 1

async def main():
    tasks = [loop.create_task(wait()) for _ in range(5)]
    await asyncio.sleep(0)
    waits.set()
    return sum(await asyncio.gather(*tasks))

loop, waits = asyncio.new_event_loop(), threading.Event()
answer = []
thread = threading.Thread(target=lambda: answer.append(loop.run_until_complete(main())))
thread.start()
waits.wait()

async def fresh():
    lock = sneck.Lock.at(place + ".fresh")
    async def turn():
        async with lock:
            await asyncio.sleep(0)
            return 1
    return sum(await asyncio.gather(*(turn() for _ in range(5))))

child = os.fork()
if child == 0:
    done = asyncio.run(fresh())
    {end}
status = os.waitpid(child, 0)[1]
print(os.WEXITSTATUS(status), flush=True)
thread.join()
print(answer[0], flush=True)
"""

# How the child comes by an end of the tasks that it has a copy of.
ENDS_OF_TASKS = {
    "with the interpreter": "sys.exit(done)",
    "by hand": "[task.get_coro().close() for task in asyncio.all_tasks(loop)]; gc.collect(); os._exit(done)",
    "not at all": "os._exit(done)",
}


@pytest.mark.parametrize("end", ENDS_OF_TASKS)
def test_a_fork_while_tasks_wait_hurts_neither_parent_nor_child(tmp_path, party, end):
    place = f"flock:{tmp_path}/lock"
    holder = party(f"import sneck; lock = sneck.Lock.at({place!r}); lock.acquire()")
    with script(LOOPS.format(end=ENDS_OF_TASKS[end]), place) as parent:
        assert parent.stdout.readline() == "5\n", "the child's own tasks"
        holder.do("lock.release()")
        assert parent.stdout.readline() == "5\n", "the parent's tasks"
