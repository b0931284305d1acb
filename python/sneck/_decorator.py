"""A lock as a decorator: the function runs while it is held.

Not for: generators, which run after the call that made them has returned.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

if TYPE_CHECKING:
    from ._sneck import Lock

_F = TypeVar("_F", bound=Callable[..., Any])


def decorate(lock: Lock, function: _F) -> _F:
    """The function, which acquires first and releases last; a coroutine function waits as a task does."""
    if isinstance(function, type) or not callable(function):
        raise TypeError("a lock decorates a function; to acquire it, use `with` or acquire()")
    if isinstance(function, (staticmethod, classmethod)):
        raise TypeError(f"a lock decorates a function: it belongs below @{type(function).__name__}")
    if _is(function, inspect.isgeneratorfunction) or _is(function, inspect.isasyncgenfunction):
        raise TypeError("a generator runs after its call has returned: use `with` inside it")
    if _is(function, inspect.iscoroutinefunction):

        @functools.wraps(function)
        async def task(*arguments: Any, **keywords: Any) -> Any:
            async with lock:
                return await function(*arguments, **keywords)

        return cast(_F, task)

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        with lock:
            result = function(*arguments, **keywords)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("this gives a coroutine, which would run after the release: decorate an `async def`")
            return result

    return cast(_F, call)


def _is(function: object, kind: Callable[[object], bool]) -> bool:
    # An object that can be called is what its class calls.
    return kind(function) or kind(getattr(type(function), "__call__", None))
