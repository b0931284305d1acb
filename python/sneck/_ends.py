"""The orderly end of a process: what it holds is released, so that its claims are not taken for those of a crash.

Not for: a crash, os._exit or SIGKILL, which release nothing (the next one finds the claims stale); a forked child's copies,
which hold nothing.
"""

from __future__ import annotations

import _thread
import atexit
import sys
from collections.abc import Callable
from typing import Any

from . import _sneck
from ._system import after_fork

# What comes before: `sneck.compat` leaves claims where the original would.
first: list[Callable[[], None]] = []


def watch() -> None:
    """From now on."""
    atexit.register(leave)
    after_fork(_sneck.forked)
    after_fork(_watch_multiprocessing)
    _watch_multiprocessing()


def leave() -> None:
    for call in first:
        call()
    # Those that are left by now are daemon threads, or, in a child of multiprocessing, any: they are in the middle of their work.
    _sneck.release_all(_thread._count() > 0)


def _watch_multiprocessing() -> None:
    """A child that multiprocessing has forked ends without atexit; it runs finalizers of its own."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    # When it begins it forgets all finalizers, and then calls this.
    util.register_after_fork(leave, _finalize)
    process: Any = sys.modules.get("multiprocessing.process")
    if process.parent_process() is not None:
        _finalize(leave)


def _finalize(leave: Any) -> None:
    # Last: what others do at the end may need what is held.
    sys.modules["multiprocessing.util"].Finalize(None, leave, exitpriority=-1000)
