"""Runs tests of Twisted's own, as they come, with `sneck.compat.twisted` in the place of Twisted's lock. Not for: the tests of this package.

    python upstream_twisted.py [--deferred] TRIAL ARGUMENTS…

Without --deferred only the module `twisted.python.lockfile` is replaced, and Twisted's own DeferredFilesystemLock stands on it.
"""

import sys

from sneck.compat import twisted as ours


def stand_in(with_deferred):
    import twisted.python

    sys.modules["twisted.python.lockfile"] = twisted.python.lockfile = ours
    # The first thing that imports the module, and makes a base class of what it finds there.
    from twisted.internet import defer

    assert defer.lockfile is ours and issubclass(defer.DeferredFilesystemLock, ours.FilesystemLock)
    if with_deferred:
        defer.DeferredFilesystemLock = ours.DeferredFilesystemLock


if __name__ == "__main__":
    arguments = sys.argv[1:]
    stand_in("--deferred" in arguments)
    sys.argv[1:] = [one for one in arguments if one != "--deferred"]
    from twisted.scripts.trial import run

    run()
