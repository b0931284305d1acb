"""Waiting in asyncio tasks: a future of the native half is polled whenever its wake-up arrives in the inbox of the event loop.

No thread waits. A task that is cancelled drops its future, which gives up its place in the line, or the
lock itself if it was granted meanwhile. Not for: the waiting itself.
"""

import itertools
import weakref

from ._sneck import Inbox


class _Post:
    """The inbox of one event loop, watched while somebody waits."""

    def __init__(self):
        self.inbox = Inbox()
        self.asleep = {}

    def deliver(self):
        for number in self.inbox.take():
            bell = self.asleep.get(number)
            if bell is not None and not bell.done():
                bell.set_result(None)


_posts = weakref.WeakKeyDictionary()
_numbers = itertools.count()


async def acquire(lock, timeout):
    """The guard of a lock; what `Lock.acquire_async` and `async with` await."""
    # Not before: it is most of what importing this package would take.
    import asyncio

    loop = asyncio.get_running_loop()
    post = _posts.get(loop)
    if post is None:
        post = _posts[loop] = _Post()
    number = next(_numbers)
    waiting = lock._begin(timeout, post.inbox, number)
    guard = waiting.poll()
    if guard is not None:
        return guard
    try:
        lock._tell_wait()
        # A wake-up that came meanwhile is not lost: it is delivered by the loop, which does not run before the first await.
        if not post.asleep:
            loop.add_reader(post.inbox.fileno(), post.deliver)
        while guard is None:
            bell = post.asleep[number] = loop.create_future()
            await bell
            guard = waiting.poll()
        return guard
    except BaseException:
        # A signal handler may raise between the poll and the return.
        if guard is not None:
            guard.release()
        raise
    finally:
        waiting.close()
        post.asleep.pop(number, None)
        if not post.asleep and not loop.is_closed():
            loop.remove_reader(post.inbox.fileno())


async def leave(lock, exception):
    """The end of `async with`."""
    lock.__exit__(*exception)
