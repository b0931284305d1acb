"""One lock for every lock file.

    import sneck

    with sneck.Lock("app.lock", timeout=5):
        ...  # at most one process is here

The wait sleeps in the kernel, in the order of arrival, without the GIL; Ctrl-C ends it at once. Who
holds a lock is named: by `LockTimeout.holder`, by `Lock.holder()`. A crash leaves nothing behind
that blocks the next one. For asyncio: `async with lock:`.

The same at a server, for several machines: `sneck.Lock("etcd://host/name", ttl=15)`, redis://, postgres://.
Such a lock can be lost (`Guard.lost`, `Guard.on_lost`); what must never be done twice checks
`Guard.token` where it is done: `sneck.fence`.

Modules that stand in for older libraries are in `sneck.compat`.
"""

from . import _decorator, _ends, _errors, _sneck, _tasks
from . import fence as fence
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
from ._sneck import Capabilities, Guard, Holder, Lock

__all__ = [
    "CannotCreate",
    "Capabilities",
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

_sneck.equip(_errors.from_native, _errors.again, _tasks.acquire, _tasks.leave, _tasks.until_lost, _decorator.decorate)
_ends.watch()
