"""`SQLiteLockFile`, refused: the original's database is a temporary file of each process, so it never excluded another process."""

from __future__ import annotations

from ._base import LockBase, Path


class SQLiteLockFile(LockBase):
    """Not offered: making one raises `NotImplementedError`, which says what to use instead."""

    def __init__(self, path: Path, threaded: bool = True, timeout: float | None = None) -> None:
        raise NotImplementedError(
            "SQLiteLockFile is not offered: its database is a temporary file of each process, so it never excluded another process; "
            "use LinkLockFile, or sneck.Lock(name, protocol='memory') if only threads of this process are meant"
        )
