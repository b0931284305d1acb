"""Children made by os.fork and by multiprocessing, for parties: what came of a function in one, and what such a child does.

Not for: processes that share nothing with those who start them: `party.py`.
"""

import ast
import os
import select
import threading
import time

import sneck
from party import PATIENCE, enter, leave


class Child:
    """A forked child that does one thing, says what came of it, and stays until it is ended."""

    def __init__(self, work):
        answer, to_say = os.pipe()
        until, self.stay = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.stay)
                try:
                    said = ("ok", work())
                except BaseException as error:
                    said = ("raised", type(error).__name__, str(error))
                os.write(to_say, repr(said).encode())
                os.close(to_say)
                # Until it is told to end, or the parent is gone.
                os.read(until, 1)
            finally:
                os._exit(0)
        os.close(to_say)
        os.close(until)
        self.said = answer

    def must_block(self, seconds=0.3):
        assert not select.select([self.said], [], [], seconds)[0], "it does not wait"

    def answer(self):
        """What it said: a value, or the name of what it raised and its text."""
        said = b""
        while True:
            if not select.select([self.said], [], [], PATIENCE)[0]:
                raise AssertionError("a child does not answer")
            more = os.read(self.said, 65536)
            if not more:
                break
            said += more
        kind, *what = ast.literal_eval(said.decode())
        return what[0] if kind == "ok" else tuple(what)

    def end(self):
        os.close(self.stay)
        os.close(self.said)
        assert os.waitpid(self.pid, 0)[1] == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def ask(work):
    """What came of it in a child."""
    with Child(work) as child:
        return child.answer()


def rounds(lock, journal, count, threads=1):
    """Go in and out so often, in so many threads, and write it down."""

    def work():
        name = f"{os.getpid()}.{threading.get_native_id()}"
        for _ in range(count):
            with lock:
                enter(journal, name)
                leave(journal, name)

    crowd = [threading.Thread(target=work) for _ in range(threads)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()


def rounds_of_a_pickled_one(given):
    """The same, for pools: what it is told comes as one."""
    rounds(*given)
    return os.getpid()


def keep(lock, how):
    """Acquire it, and end without releasing it."""
    lock.acquire()
    if how == "at once":
        os._exit(0)


def facts(lock):
    """What a lock says about itself."""
    return lock.held, lock.held_in_this_process, lock.locked()


def take_private(place):
    """Acquire and release a lock, as a thread and as a task: nothing of what this process was forked from is in the way."""
    import asyncio

    lock = sneck.Lock.at(place, timeout=PATIENCE)

    async def task():
        async with lock:
            return lock.held

    with lock:
        held = lock.held
    return held and asyncio.run(task())


def begin_and_return(lock, journal):
    """Leave a thread behind that is inside, and one that waits for it."""
    inside, late = threading.Event(), threading.Thread(target=rounds, args=(lock, journal, 1))

    def work():
        with lock:
            enter(journal, "first")
            inside.set()
            while not late.is_alive():
                time.sleep(0.001)
            time.sleep(0.1)
            leave(journal, "first")

    threading.Thread(target=work).start()
    inside.wait()
    late.start()
