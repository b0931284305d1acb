"""The errors of pylockfile, by its names: one root, two branches.

Not for: deciding which one it is (`_base.py`).
"""

from __future__ import annotations

from ... import Holder


class Error(Exception):
    """What all errors of this package are. `__cause__` is the `sneck.LockError` behind it, if there is one."""

    @property
    def holder(self) -> Holder | None:
        """Who is in the way, as far as known, or None. More than the original tells."""
        # Not kept: an exception goes to other processes, a holder does not.
        return getattr(self.__cause__, "holder", None)


class LockError(Error):
    """It was not acquired."""


class LockTimeout(LockError):
    """Somebody held it during all of the timeout."""


class AlreadyLocked(LockError):
    """Somebody holds it, and there was no time to wait."""


class LockFailed(LockError):
    """It cannot be acquired at all: no folder, no permission, something that is no lock at its path, or waiting would never end."""


class UnlockError(Error):
    """It was not released, or not broken."""


class NotLocked(UnlockError):
    """Nobody holds it: never acquired, released already, or broken by somebody."""


class NotMyLock(UnlockError):
    """Somebody else holds it."""
