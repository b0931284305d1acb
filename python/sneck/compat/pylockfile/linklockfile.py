"""`LinkLockFile`: the lock file of mailboxes (`dotlock:` of the command), made by one link(2).

Written down as `pid\\n` in `path.lock`, where the original links an empty file: each waits for the other. Ours tells who holds
it, and a crash leaves a claim that the next one of ours breaks. One that the *original* left behind names nobody, so it
stands until somebody calls `break_lock`.
"""

from ._base import NativeLockFile


class LinkLockFile(NativeLockFile):
    """A lock file made by link(2), at `path.lock`. Works on NFS. Also respected by dotlockfile, procmail's lockfile and mutt."""

    protocol = "dotlock"
