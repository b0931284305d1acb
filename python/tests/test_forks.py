"""Forks: a child's copy of a lock holds nothing and releases nothing, whatever it does with it, and nothing of its parent's is in its way.

Not for: locks that are passed to children, and storms of them: `test_children.py`.
"""

import os
import signal
import time

import pytest

import sneck
from party import PATIENCE, stays

PROTOCOLS = ["flock", "fcntl", "flock+fcntl", "pidfile", "shlock", "symlink", "labm8", "dotlock", "mkdir"]
KERNEL = ["flock", "fcntl", "flock+fcntl"]

# What a child does with its copies, and what it hears.
WAYS = {
    "lock.release()": "NotHeld",
    "guard.release()": "NotHeld",
    "guard.ensure_held()": "NotHeld",
    "lock.__exit__(None, None, None)": None,
    "guard.__exit__(None, None, None)": None,
    "[globals().pop('guard'), globals().pop('lock')].clear(), gc.collect()": "",
    "atexit._run_exitfuncs()": None,
    "os._exit(0)": "",
}


def holder_of(party, place):
    return party(
        "import atexit, children, gc, os, signal, sneck, threading\n"
        f"lock = sneck.Lock.at({place!r})\n"
        "guard = lock.acquire()"
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_childs_copies_hold_nothing_and_release_nothing(tmp_path, party, protocol):
    place = f"{protocol}:{tmp_path}/lock"
    other = sneck.Lock.at(place)
    holder = holder_of(party, place)
    for way, heard in WAYS.items():
        if way == "os._exit(0)":
            holder.do("pid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)")
        else:
            said = holder.ask(f"children.ask(lambda: ({way}))")
            if heard is None:
                assert said is None, way
            elif heard:
                assert said[0] == heard, way
        assert holder.ask("lock.held, guard.held, guard.ensure_held()") == (True, True, None), way
        assert not other.try_acquire(), way
    assert holder.ask("children.ask(lambda: (*children.facts(lock), guard.held, guard.token, lock.try_acquire()))") == (
        *(False, False, True),
        *(False, None, False),
    )
    assert "released" in holder.ask("children.ask(lambda: repr(guard))")
    holder.do("lock.release()")
    other.acquire(timeout=0)
    other.release()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_child_that_leaves_the_block_in_which_it_was_forked_ends_nothing(tmp_path, party, protocol):
    place = f"{protocol}:{tmp_path}/lock"
    other = sneck.Lock.at(place)
    holder = holder_of(party, place)
    holder.do(
        "lock.release()\n"
        "status = []\n"
        "def leaving(block):\n"
        "    with block() as inner:\n"
        "        pid = os.fork()\n"
        "        if pid != 0:\n"
        "            status.append(os.waitpid(pid, 0)[1])\n"
        "            status.append(inner.held and lock.held)\n"
        "    if pid == 0:\n"
        "        os._exit(0)\n"
        "def leaving_by_exception(block):\n"
        "    try:\n"
        "        with block() as inner:\n"
        "            pid = os.fork()\n"
        "            if pid == 0:\n"
        "                raise KeyError('of the child')\n"
        "            status.append(os.waitpid(pid, 0)[1])\n"
        "            status.append(inner.held and lock.held)\n"
        "    except BaseException as error:\n"
        "        os._exit(0 if type(error) is KeyError else 7)\n"
    )
    for leave in "leaving", "leaving_by_exception":
        for block in "lambda: lock", "lock.acquire":
            assert holder.ask(f"{leave}({block}), status[-2:]") == (None, [0, True]), (leave, block)
            assert other.try_acquire(), "the parent has left"
            other.release()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_child_is_a_party_of_its_own(tmp_path, party, protocol):
    place = f"{protocol}:{tmp_path}/lock"
    other = sneck.Lock.at(place)
    holder = holder_of(party, place)
    # It waits for its parent, through the very object that its parent holds.
    holder.do(
        "child = children.Child(lambda: (lock.acquire(timeout=60).held, lock.held, lock.holder().pid == os.getpid()))"
    )
    holder.do("child.must_block()")
    holder.do("lock.release()")
    assert holder.ask("child.answer()") == (True, True, True)
    assert holder.ask("lock.held, lock.held_in_this_process, lock.locked()") == (False, False, True)
    assert holder.ask("lock.try_acquire()") is False and not other.try_acquire()
    holder.do("child.end()")
    # It has ended without releasing: claims are left, and stale.
    with other.acquire(timeout=60) as guard:
        assert [one.pid for one in guard.broken] == ([] if protocol in KERNEL else [holder.ask("child.pid")])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_lock_is_free_when_the_parent_is_killed_and_the_child_lives(tmp_path, party, protocol):
    place = f"{protocol}:{tmp_path}/lock"
    holder = holder_of(party, place)
    # Beside the copy of what is held one of a thread's that waits.
    holder.do(
        f"more = sneck.Lock.at({place!r})\n"
        "threading.Thread(target=more.acquire, daemon=True).start()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    while True: signal.pause()\n"
    )
    child = holder.ask("child")
    try:
        holder.kill()
        with sneck.Lock.at(place, timeout=60) as guard:
            os.kill(child, 0)
            assert [one.pid for one in guard.broken] == ([] if protocol in KERNEL else [holder.pid])
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("protocol", ["flock", "fcntl", "pidfile", "symlink", "mkdir", "memory"])
def test_nothing_that_threads_do_at_the_fork_is_in_the_childs_way(tmp_path, party, protocol):
    """Threads acquire, release, wait in the kernel and in the line; each child can do all of it, and the parent goes on."""
    path, journal = f"{tmp_path}/lock", f"{tmp_path}/journal"
    place = f"{protocol}:{path}"
    one = party(
        "import children, os, sneck, threading, time\n"
        f"lock, over = sneck.Lock.at({place!r}, timeout=60), threading.Event()\n"
        "def work(name):\n"
        "    while not over.is_set():\n"
        f"        children.rounds(lock, {journal!r}, 1)\n"
        # One that somebody holds all the time, waited for by threads.
        f"held = sneck.Lock.at({place + '.held'!r})\n"
        "kept = held.acquire()\n"
        "def wait(): held.acquire().release()\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]\n"
        "waiters = [threading.Thread(target=wait) for n in range(2)]\n"
        "for thread in threads + waiters: thread.start()\n"
        "def born():\n"
        f"    own = children.take_private({place + '.own'!r})\n"
        f"    children.rounds(lock, {journal + '.child' if protocol == 'memory' else journal!r}, 2)\n"
        "    return own, held.held, held.locked()\n"
    )
    # What is in memory is free in each child.
    expected = (True, False, protocol != "memory")
    for _ in range(15):
        assert one.ask("children.ask(born)") == expected
    one.do("over.set()\nkept.release()\nfor thread in threads + waiters: thread.join(60)")
    assert not one.ask("any(thread.is_alive() for thread in threads + waiters)")
    assert one.ask("lock.locked(), held.locked()") == (False, False)
    assert stays(journal) >= (0 if protocol == "memory" else 30)


def test_a_fork_in_a_thread_and_one_of_a_child(tmp_path, party):
    place = f"pidfile:{tmp_path}/lock"
    holder = holder_of(party, place)
    holder.do(
        "heard = []\n"
        "def in_thread(): heard.append(children.ask(lambda: (lock.held, children.ask(lambda: lock.release()))))\n"
        "thread = threading.Thread(target=in_thread)\n"
        "thread.start(); thread.join(60)\n"
    )
    held, (name, _) = holder.ask("heard[0]")
    assert (held, name) == (False, "NotHeld")
    # A child's own is no child's of its own.
    assert holder.ask(
        "children.ask(lambda: ("
        f" mine := sneck.Lock.at('pidfile:{tmp_path}/mine'),"
        " mine.acquire(),"
        " children.ask(lambda: (*children.facts(mine), *children.facts(lock))),"
        " mine.held, mine.release(), mine.locked())[2:])"
    ) == ((False, False, True, False, False, True), True, None, False)
    assert holder.ask("guard.held")


@pytest.mark.parametrize("protocol", ["flock", "fcntl", "pidfile"])
def test_a_program_that_is_started_under_a_lock_does_not_keep_it(tmp_path, party, protocol):
    place = f"{protocol}:{tmp_path}/lock"
    holder = holder_of(party, place)
    holder.do(
        "import subprocess, sys\n"
        "wait = [sys.executable, '-c', 'import sys; sys.stdin.read()']\n"
        "some = [subprocess.Popen(wait, stdin=subprocess.PIPE, **more) for more in ({}, {'close_fds': False}, {'preexec_fn': int})]\n"
    )
    other = sneck.Lock.at(place)
    assert not other.try_acquire()
    holder.do("lock.release()")
    assert holder.ask("[one.poll() for one in some]") == [None] * 3
    assert other.try_acquire()
    other.release()
    holder.do("for one in some: one.communicate()")


WAITING = """
import asyncio, os
async def forked():
    task = asyncio.ensure_future(lock.acquire_async())
    while not lock_is_waited_for():
        await asyncio.sleep(0.001)
    pid = os.fork()
    if not pid:
        try:
            # As when the child's interpreter ends: its copy of the task is closed in the middle of the wait.
            task.get_coro().close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    print("forked", file=open(told, "w"))
    return (await task).held
def lock_is_waited_for():
    return any(post.asleep for post in sneck._tasks._posts.values())
"""


def test_a_child_that_drops_the_tasks_it_was_forked_with_leaves_its_parents_waiting(tmp_path, party):
    path, told = tmp_path / "lock", tmp_path / "told"
    one = party(f"import sneck; lock = sneck.Lock({str(path)!r}); told = {str(told)!r}" + WAITING)
    with sneck.Lock(path):
        one.begin("asyncio.run(forked())")
        one.must_block()
        for _ in range(PATIENCE * 1000):
            if told.exists():
                break
            time.sleep(0.001)
        one.must_block(0.05)
    assert one.answer() is True
