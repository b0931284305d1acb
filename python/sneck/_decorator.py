"""A lock as a decorator: the function runs while it is held.

Not for: generators, which run after the call that made them has returned.
"""

import functools
import inspect


def decorate(lock, function):
    """The function, which acquires first and releases last; a coroutine function waits as a task does."""
    if not callable(function):
        raise TypeError("a lock decorates a function; to acquire it, use `with` or acquire()")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("a generator runs after its call has returned: use `with` inside it")
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def held(*arguments, **keywords):
            async with lock:
                return await function(*arguments, **keywords)

    else:

        @functools.wraps(function)
        def held(*arguments, **keywords):
            with lock:
                return function(*arguments, **keywords)

    return held
