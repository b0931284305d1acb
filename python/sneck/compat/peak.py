"""What `peak.running.lockfiles` gives (PEAK, Python 2), for today's Python: `from sneck.compat import peak`.

| class | written down as | also spoken by |
|---|---|---|
| `SHLockFile`, on POSIX also `LockFile` | a file with the pid: protocol `shlock` | PEAK, shlock(1) of INN, UUCP |
| `FLockFile` | flock(2), the file says the pid while it is held: protocol `flock` | PEAK, flock(1) |
| `WinFLockFile`, on Windows only, there also `LockFile` | a lock on the first byte | PEAK |
| `NullLockFile` | nothing: protocol `memory` | threads of this process |

All of them have attempt(), obtain(), release() and locked(), as there. Each object is a lock of its own: two
objects of one file exclude each other, in one process too. Any thread may release.

What is better: two breakers of one dead claim never both hold; a release touches nothing but its own holding, in a
forked child too; other users' claims are waited for instead of raised; obtain() sleeps until the lock is free
instead of looking again after up to 15 seconds; no temporary files; `NullLockFile.locked()` tells the truth.

What differs, on purpose:

- obtain() on a file by the very thread that holds it through this or another object raises `sneck.Reentrant`
  at once; PEAK waits for ever there. (A `NullLockFile` waits: it stands for a thread lock, which threads hand over.)
- release() of what this object does not hold raises `sneck.NotHeld`, a RuntimeError, and harms nothing; if the
  file was removed or replaced while it was held, `sneck.LockLost`. The object can be used again after either.
- A file that says something else than a number is never overwritten or removed: `sneck.DamagedClaim` or
  `sneck.ForeignFile` says so. So is a symbolic link at the path.
- Files are made with mode 0644 or 0666 less umask instead of 0600, so that others can see who holds.

Not for: new code, which is better served by `sneck.Lock`; the rest of PEAK (its naming service finds these by URL:
`lock_from_url` does so here).
"""

from __future__ import annotations

import os
import tempfile
import urllib.parse
from typing import Any

import sneck
from sneck._system import process_exists

__all__ = ["LockFile", "NullLockFile"]


class LockFileBase:
    """What all of them have in common. `fn` is where the lock is, absolute."""

    fn: str
    _lock: sneck.Lock

    def attempt(self) -> bool:
        """Try once. True: it is ours, until release(). False: somebody holds it, perhaps this very object.

        Raises `sneck.LockError` if it cannot be known: `sneck.DamagedClaim`, `sneck.ForeignFile`, or one that is an
        OSError (a missing folder, a permission).
        """
        return self._lock.try_acquire()

    def obtain(self) -> None:
        """Wait until it is ours. Asleep, in the order of arrival where the protocol has one; Ctrl-C ends it.

        Raises as attempt(), and `sneck.Reentrant` where this thread would wait for itself.
        """
        self._lock.acquire(None)

    def release(self) -> None:
        """Release it, from any thread.

        Raises `sneck.NotHeld` if this object does not hold it, as in a forked child; `sneck.LockLost` if the file was
        removed or replaced while it was held. Neither touches what stands there.
        """
        self._lock.release()

    def locked(self) -> bool:
        """Whether this object holds it, in any thread of this process. Nobody else is looked for: see `check_lock`."""
        return self._lock.held


class SHLockFile(LockFileBase):
    """A file with the number of its holder, as shlock(1) makes it. What a crash leaves behind, the next one removes.

    Another host, or another pid namespace, has other numbers: not for shared folders.
    """

    def __init__(self, fn: str | os.PathLike[str]) -> None:
        self.fn = os.path.abspath(fn)
        self._lock = sneck.Lock(self.fn, protocol="shlock")


class FLockFile(LockFileBase):
    """flock(2) on a file that stays: it says the holder's number while it is held, and nothing after a release."""

    def __init__(self, fn: str | os.PathLike[str]) -> None:
        self.fn = os.path.abspath(fn)
        self._lock = sneck.Lock(self.fn, protocol="flock", record="pid")


class NullLockFile(LockFileBase):
    """A lock for the threads of this process, where a lock on a file is not needed. Each object is one of its own."""

    def __init__(self) -> None:
        self._lock = sneck.Lock("", protocol="memory", reentry="wait")


LockFile: type[LockFileBase]

if os.name == "nt":

    class WinFLockFile(LockFileBase):
        """A lock on the first byte of a file that stays."""

        def __init__(self, fn: str | os.PathLike[str]) -> None:
            self.fn = os.path.abspath(fn)
            self._lock = sneck.Lock(self.fn, protocol="flock")

    LockFile = WinFLockFile
    __all__ += ["WinFLockFile"]
else:
    LockFile = SHLockFile
    __all__ += ["SHLockFile", "FLockFile"]


def pid_exists(pid: int) -> bool:
    """Whether there is a process with this number. One of another user counts (PEAK raised), and so does 0."""
    if pid < 0:
        return False
    return process_exists(pid)


def check_lock(fn: str | os.PathLike[str]) -> bool:
    """Whether the claim at `fn` counts: somebody holds it, and is not proved dead.

    What names nobody, cannot be read or makes no sense counts, as PEAK meant it to; nothing at all does not.
    Raises `sneck.ForeignFile` if something else stands there.
    """
    return sneck.Lock(fn, protocol="shlock").locked()


def make_tempfile(fn: str | os.PathLike[str], pid: int) -> str:
    """Make a file of mode 0600 beside `fn` that says `pid`, to be linked to its name; gives its path.

    The name is a new one at each call, so that two threads never have the same. The classes here do not need it.
    """
    folder = os.path.dirname(os.path.abspath(fn))
    made, path = tempfile.mkstemp(prefix=f"shlock{pid:d}.", dir=folder)
    try:
        with open(made, "w") as file:
            file.write(f"{pid:d}\n")
    except BaseException:
        os.unlink(path)
        raise
    return path


def lock_from_url(url: str) -> LockFileBase:
    """The lock that PEAK's naming service found by this URL.

    `lockfile:`, `shlockfile:`, `flockfile:` and (on Windows) `winflockfile:` take a path: `lockfile:/run/app.lock`, the
    same as `lockfile:///run/app.lock` or with `//localhost`; `%20` is a blank, what follows a `?` is ignored, a relative
    path is made absolute now. `nulllockfile:` takes any word, and gives a lock of its own at each call.

    Raises `sneck.InvalidLock`, a ValueError, for anything else; ImportError for `winflockfile:` elsewhere than on Windows.
    """
    scheme, colon, body = url.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in ("lockfile", "shlockfile", "flockfile", "winflockfile", "nulllockfile"):
        known = "lockfile:, shlockfile:, flockfile:, winflockfile: or nulllockfile:"
        raise sneck.InvalidLock(f"{url}: no URL of a lock file; it begins with {known}")
    if not body:
        raise sneck.InvalidLock(f"{url}: nothing stands behind the colon")
    if scheme == "nulllockfile":
        return NullLockFile()
    made: Any = {"lockfile": LockFile, "shlockfile": SHLockFile, "flockfile": FLockFile}.get(scheme)
    if made is None:
        made = globals().get("WinFLockFile")
        if made is None:
            raise ImportError("winflockfile: locks are for Windows only")
    return made(_path(url, body))


def _path(url: str, body: str) -> str:
    body = body.partition("?")[0]
    if body.startswith("//"):
        host, slash, rest = body[2:].partition("/")
        if host not in ("", "localhost"):
            raise sneck.InvalidLock(f"{url}: a lock file is on this host, not on {host}")
        body = slash + rest
    path = urllib.parse.unquote(body)
    if not path:
        raise sneck.InvalidLock(f"{url}: names no file")
    return path
