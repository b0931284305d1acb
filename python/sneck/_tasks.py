"""Waiting in asyncio tasks: a future of the native half is polled whenever its wake-up arrives in the inbox of the event loop.

No thread waits. A task that is cancelled drops its future, which gives up its place in the line, or the
lock itself if it was granted meanwhile. Not for: the waiting itself.
"""

from __future__ import annotations

import itertools
import os
import weakref
from typing import TYPE_CHECKING

from ._sneck import Inbox

if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from ._sneck import Guard, Lock


class _Post:
    """The inbox of one event loop, watched while somebody waits."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.pid = os.getpid()
        # What those who wait sleep on. It keeps none of them: a loop that was closed with tasks that wait is garbage, and they give up with it.
        self.asleep: dict[int, weakref.ref[asyncio.Future[None]]] = {}

    def deliver(self) -> None:
        for number in self.inbox.take():
            known = self.asleep.get(number)
            bell = None if known is None else known()
            if bell is not None and not bell.done():
                bell.set_result(None)

    def leave(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        if self.asleep.pop(number, None) is None or self.asleep or loop.is_closed():
            return
        # A forked child has copies of those who wait, and shares with its parent what the loop watches: that it leaves alone.
        if self.pid == os.getpid():
            loop.remove_reader(self.inbox.fileno())


_posts: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Post] = weakref.WeakKeyDictionary()
_names: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
_numbers = itertools.count(1)


def _post_of(loop: asyncio.AbstractEventLoop) -> _Post:
    post = _posts.get(loop)
    if post is None or post.pid != os.getpid():
        post = _posts[loop] = _Post()
    return post


def _name() -> int:
    """The number of the current task, which no other task ever has. 0: it is none of asyncio's."""
    # Not before: it is most of what importing this package would take.
    import asyncio

    task = asyncio.current_task()
    if task is None:
        return 0
    number = _names.get(task)
    if number is None:
        number = _names[task] = next(_numbers)
    return number


async def acquire(lock: Lock, timeout: float | None) -> Guard:
    """The guard of a lock; what `Lock.acquire_async` and `async with` await."""
    import asyncio

    loop = asyncio.get_running_loop()
    post = _post_of(loop)
    number = next(_numbers)
    waiting = lock._begin(timeout, post.inbox, number, _name())
    try:
        guard = waiting.poll()
        if guard is None:
            lock._tell_wait()
            # A wake-up that came meanwhile is not lost: it is delivered by the loop, which does not run before the first await.
            if not post.asleep:
                loop.add_reader(post.inbox.fileno(), post.deliver)
        while guard is None:
            bell = loop.create_future()
            post.asleep[number] = weakref.ref(bell)
            await bell
            guard = waiting.poll()
        return guard
    except BaseException:
        # Cancelled, closed, or a signal handler raised, perhaps between the grant and the return.
        waiting.close()
        raise
    finally:
        post.leave(number, loop)


async def leave(lock: Lock) -> None:
    """The end of `async with`."""
    lock._leave(_name())
