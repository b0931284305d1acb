"""One lock for every lock file.

    import sneck

    with sneck.Lock("app.lock", timeout=5):
        ...  # at most one process is here

The wait sleeps in the kernel, in the order of arrival, without the GIL; Ctrl-C ends it at once. Who
holds a lock is named: by `LockTimeout.holder`, by `Lock.holder()`. A crash leaves nothing behind
that blocks the next one. For asyncio: `async with lock:`.

Modules that stand in for older libraries are in `sneck.compat`.
"""

import atexit as _atexit

from ._errors import (
    CannotCreate,
    DamagedClaim,
    ForeignFile,
    InvalidLock,
    LockError,
    LockLost,
    LockOSError,
    LockTimeout,
    NoFolder,
    NoPermission,
    NotHeld,
    Reentrant,
    Unreachable,
    Unsupported,
)
from ._sneck import Guard, Holder, Lock, release_all as _release_all

__all__ = [
    "CannotCreate",
    "DamagedClaim",
    "ForeignFile",
    "Guard",
    "Holder",
    "InvalidLock",
    "Lock",
    "LockError",
    "LockLost",
    "LockOSError",
    "LockTimeout",
    "NoFolder",
    "NoPermission",
    "NotHeld",
    "Reentrant",
    "Unreachable",
    "Unsupported",
]

# Claims that are files would outlive an orderly end, and be taken for those of a crash.
_atexit.register(_release_all)
