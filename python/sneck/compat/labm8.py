"""Instead of `labm8.lockfile` of 2017 (0.0.19 to 0.1.2): the same class and errors, by the protocol `labm8`, which labm8's own processes understand.

    from sneck.compat.labm8 import LockFile

As there, `acquire()` never waits, the process is the holder, whichever object or thread acquired, and acquisitions are not counted.
What it does otherwise than the original, on purpose:

- Of two who acquire at once one gets it, also where both replace a stale lock.
- Another user's process is alive.
- A file that is empty or cut off is an error of this module, and `force` repairs it; `pid` and `date` are None where it does not tell.
- `date` is a `datetime` (naive, local time), as was documented; the original gave its day. `lock.date.date()` is that.
- `write()` takes a `datetime`, as was documented, or seconds since 1970.
- A link at the path is not followed. The path means the same file after chdir.
- A file that names our number is not ours if an earlier process made it, or if another one keeps it locked.
- An orderly end of the process releases; a forked child that leaves a `with` of its parent's releases nothing and raises nothing.

Not for: new code (`sneck.Lock`), what labm8 became in 2020 (its files are understood, `block` and `AutoLockFile` are not here).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from datetime import datetime
from types import TracebackType
from typing import Union

import sneck
from sneck._system import READ

from ._whole_process import lock_at, one_thread

__all__ = ["Error", "LockFile", "UnableToAcquireLockError", "UnableToReleaseLockError"]

_Path = Union[str, "os.PathLike[str]"]

# What labm8 leaves of its line when the disk is full, and what its write() makes of a datetime: no protocol knows it for a claim of labm8.
_HALF_WRITTEN = re.compile(rb"\d+\s*\Z|\d+ \d{4}-\d\d-\d\d( |\Z)")
_LONGEST = 4096


class Error(Exception):
    """What this module raises, besides OSError."""


class _NotOurs(Error):
    _cannot = ""

    def __init__(self, lock: LockFile, cause: BaseException | None = None) -> None:
        super().__init__(lock)
        self.lock = lock
        # Now, not when it is shown: by then somebody else may hold it.
        pid, date = LockFile.read(lock._lock.path)
        seen = getattr(cause, "holder", None)
        if pid is None and seen is not None:
            pid, date = seen.pid, seen.since and _local(seen.since)
        if pid is None and cause is not None:
            what = str(cause)
        else:
            what = f"{'an unknown process' if pid is None else f'process {pid}'} holds it"
        self._text = f"{lock.path}: cannot {self._cannot}: {what}{f' since {date}' if date else ''}"

    def __str__(self) -> str:
        return self._text


class UnableToAcquireLockError(_NotOurs):
    """Somebody else holds it, or what stands there is no lock. lock: the `LockFile`. `str()` says who, since when and where, as seen when it was raised."""

    _cannot = "acquire"


class UnableToReleaseLockError(_NotOurs):
    """Somebody else holds it. lock: the `LockFile`. `str()` says who, since when and where, as seen when it was raised."""

    _cannot = "release"


class LockFile:
    """The lock whose file is `path`; a `~` in front is expanded.

    The process holds it, whichever object or thread acquired it, and any of them may release it. A forked child does not hold what its
    parent holds.

    path: as given, expanded. `str()` of the lock is the same.
    """

    def __init__(self, path: _Path) -> None:
        self.path = os.path.expanduser(os.fspath(path))
        self._lock = lock_at(self.path, "labm8", stale="never")

    @property
    def pid(self) -> int | None:
        """The number of the holder, alive or dead. None: nobody holds it, or the file does not tell."""
        return self.read(self._lock.path)[0]

    @property
    def date(self) -> datetime | None:
        """Since when it is held, in local time without a zone. None: nobody holds it, or the file does not tell."""
        return self.read(self._lock.path)[1]

    @property
    def islocked(self) -> bool:
        """Whether something stands at the path: a lock whose holder died counts."""
        return os.path.lexists(self._lock.path)

    @property
    def owned_by_self(self) -> bool:
        """Whether this process holds it."""
        return self._lock.is_ours()

    def acquire(self, replace_stale: bool = False, force: bool = False) -> LockFile:
        """Acquire it, or raise at once. If this process holds it already nothing happens. Gives this object.

        replace_stale: a lock whose process is proved dead is removed first.
        force: whatever lock stands there is removed first, damaged ones too; its holder is told when it releases. Goes before `replace_stale`.

        Raises `UnableToAcquireLockError` if somebody else holds it, or gets it at this very moment, or if what stands there is no lock of
        labm8 (which no force removes); OSError (`FileNotFoundError`, `PermissionError`) if the file cannot be made.
        """
        with one_thread():
            if self._lock.stands():
                return self
            try:
                if self._lock.remove_ours():
                    pass  # ours by its number alone: made anew, so that it is ours by more
                elif force:
                    self._force()
                elif replace_stale:
                    sneck.Lock(self._lock.path, protocol="labm8", stale="dead").break_stale()
                self._lock.acquire(0)
            except sneck.LockError as failure:
                if _is_of_the_system(failure):
                    raise
                raise UnableToAcquireLockError(self, failure) from failure
        return self

    def release(self, force: bool = False) -> None:
        """Release it: from any thread, once, however often it was acquired. Where nothing stands, nothing happens.

        force: release it for whoever holds it, and remove damaged ones.

        Raises `UnableToReleaseLockError` if it is not this process's.
        """
        with one_thread():
            if not self.islocked:
                self._lock.forget_if_lost()
                return
            try:
                if self._lock.stands():
                    self._lock.release()
                elif self._lock.remove_ours():
                    pass
                elif not (force and self._force()) and self.islocked:
                    raise UnableToReleaseLockError(self)
            except FileNotFoundError:
                pass  # gone is what was wanted
            except sneck.LockError as failure:
                if _is_of_the_system(failure):
                    raise
                raise UnableToReleaseLockError(self, failure) from failure

    def _force(self) -> bool:
        """Remove whatever lock stands there. False: there was none, or it went by itself."""
        try:
            removed = self._lock.force_release() is not None
        except sneck.ForeignFile:
            if not self._remove_half_written():
                raise
            return True
        return removed or self._remove_half_written()

    def _remove_half_written(self) -> bool:
        with self._lock.alone() as content:
            is_half = content is not None and _HALF_WRITTEN.match(content) is not None
            if is_half:
                os.remove(self._lock.path)
        return is_half

    def __repr__(self) -> str:
        return self.path

    def __reduce__(self) -> tuple[type[LockFile], tuple[str]]:
        # The same file elsewhere; not held there.
        return type(self), (self._lock.path,)

    def __enter__(self) -> LockFile:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._lock.is_copy():
            self.release()

    @staticmethod
    def read(path: _Path) -> tuple[int | None, datetime | None]:
        """Who holds the lock at this path, by number, and since when, in local time without a zone. None stands for what the file does not tell."""
        try:
            fields = _content(path).decode().split()
            return int(fields[0]), _date(fields[1:])
        except (IndexError, ValueError, OverflowError, OSError):
            pass
        # Cut off, or as labm8 of 2020 wrote it.
        try:
            holder = sneck.Lock(path, protocol="labm8").holder()
        except sneck.LockError:
            return None, None
        if holder is None or holder.protocol not in (None, "pidfile"):
            return None, None
        return holder.pid, _local(holder.since) if holder.since else None

    @staticmethod
    def write(path: _Path, pid: int, timestamp: datetime | float) -> None:
        """Write a lock file in the name of a process: whole, and **whatever lock stands there**. This acquires nothing.

        pid: whose. timestamp: since when, a `datetime` (local time if it has no zone) or seconds since 1970.

        Raises `Error` where something else than a file stands there, which is left alone; OSError if the file cannot be made.
        """
        seconds = timestamp.timestamp() if isinstance(timestamp, datetime) else float(timestamp)
        path = os.path.abspath(path)
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise Error(f"{path}: cannot write: no lock file stands there, but something else")
        folder, name = os.path.split(path)
        # So named it is swept by the next one who acquires, should we die here.
        hidden = os.path.join(folder, f".{name}.sneck-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with open(hidden, "x") as file:
                file.write(f"{int(pid)} {seconds!r}\n")
            os.replace(hidden, path)
        except BaseException:
            if os.path.lexists(hidden):
                os.remove(hidden)
            raise


def _is_of_the_system(failure: sneck.LockError) -> bool:
    """No folder, no right, a full disk; not that somebody keeps a claim from being removed, which has no errno."""
    return isinstance(failure, sneck.LockOSError) and getattr(failure, "errno", None) is not None


def _content(path: _Path) -> bytes:
    fd = os.open(path, READ)
    try:
        return os.read(fd, _LONGEST)
    finally:
        os.close(fd)


def _date(fields: list[str]) -> datetime:
    try:
        return datetime.fromtimestamp(float(fields[0]))
    except ValueError:
        # What labm8's write() made of a datetime.
        return _local(datetime.fromisoformat(" ".join(fields[:2])))


def _local(moment: datetime) -> datetime:
    return moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment
