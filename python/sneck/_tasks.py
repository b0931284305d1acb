"""Waiting in asyncio tasks: a future of the native half is polled whenever its wake-up arrives in the inbox of the event loop.

No thread waits. A task that is cancelled drops its future, which gives up its place in the line, or the
lock itself if it was granted meanwhile. Not for: the waiting itself.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import weakref
from typing import TYPE_CHECKING, TypeVar

from ._sneck import Inbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, Protocol

    from ._sneck import Guard, Lock

    _Given = TypeVar("_Given", covariant=True)

    class _Polled(Protocol[_Given]):
        def poll(self) -> _Given | None: ...
        def close(self) -> None: ...


_T = TypeVar("_T")


class _Post:
    """The inbox of one event loop, watched while somebody waits."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.pid = os.getpid()
        # Whether a thread has to listen.
        self.listens = False
        # What those who wait sleep on. It keeps none of them: a loop that was closed with tasks that wait is garbage, and they give up with it.
        self.asleep: dict[int, weakref.ref[asyncio.Future[None]]] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.add_reader(self.inbox.fileno(), self.deliver)
        except NotImplementedError:
            # A loop that waits only for what it began itself, as on Windows: a thread listens for it.
            self.listens = True
            arguments = (self.inbox, self.inbox.turn(), weakref.ref(loop), self.deliver)
            threading.Thread(target=_listen, args=arguments, name="sneck-listen", daemon=True).start()

    def deliver(self) -> None:
        for number in self.inbox.take():
            known = self.asleep.get(number)
            bell = None if known is None else known()
            if bell is not None and not bell.done():
                bell.set_result(None)

    def leave(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        # A forked child has copies of those who wait, and shares with its parent what the loop watches: that it leaves alone.
        if self.asleep.pop(number, None) is None or self.asleep or self.pid != os.getpid():
            return
        if self.listens:
            self.inbox.turn()
        elif not loop.is_closed():
            loop.remove_reader(self.inbox.fileno())


def _listen(inbox: Inbox, turn: int, loop: weakref.ref[asyncio.AbstractEventLoop], deliver: Callable[[], None]) -> None:
    """The life of a thread that listens for a loop: until nobody waits any more, or the loop is no more."""
    times = inbox.wait(turn, 0)
    while times is not None:
        known = loop()
        if known is None or known.is_closed():
            return
        with contextlib.suppress(RuntimeError):
            known.call_soon_threadsafe(deliver)
        del known
        times = inbox.wait(turn, times)


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
    return await _until(lambda inbox, number: lock._begin(timeout, inbox, number, _name()), lock._tell_wait)


async def until_lost(guard: Guard) -> str | None:
    """Why a lock was lost; what `Guard.until_lost_async` awaits."""
    (why,) = await _until(guard._begin_losing, _nobody)
    return why


def _nobody() -> None:
    """Is told of a wait that nobody else is told of."""


async def _until(begin: Callable[[Inbox, int], _Polled[_T]], about_to_wait: Callable[[], None]) -> _T:
    """What polls give at last; None stands for: not yet."""
    import asyncio

    loop = asyncio.get_running_loop()
    post = _post_of(loop)
    number = next(_numbers)
    waiting = begin(post.inbox, number)
    try:
        given = waiting.poll()
        if given is None:
            about_to_wait()
            # A wake-up that came meanwhile is not lost: it is delivered by the loop, which does not run before the first await.
            if not post.asleep:
                post.watch(loop)
        while given is None:
            bell = loop.create_future()
            post.asleep[number] = weakref.ref(bell)
            await bell
            given = waiting.poll()
        return given
    except BaseException:
        # Cancelled, closed, or a signal handler raised, perhaps between the grant and the return.
        waiting.close()
        raise
    finally:
        post.leave(number, loop)


async def leave(lock: Lock, exception: BaseException | None) -> None:
    """The end of `async with`."""
    lock._leave(_name(), exception)
