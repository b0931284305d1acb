"""Modules that stand in for older libraries: same names, arguments, results and exceptions, without their races.

| instead of | import |
|---|---|
| `twisted.python.lockfile`, `twisted.internet.defer.DeferredFilesystemLock` | `sneck.compat.twisted` |
| `labm8.lockfile` | `sneck.compat.labm8` |
| `locket` | `sneck.compat.locket` |
| `peak.running.lockfiles` | `sneck.compat.peak` |
| `caterpillar.locking` | `sneck.compat.caterpillar` |
| `lockfile` (pylockfile) | `sneck.compat.pylockfile` |

For a program that cannot be edited, `install` puts them in the place of the originals:

    import sneck.compat

    sneck.compat.install("locket", "twisted")  # before anything imports those

or, without a change of the program: `python -m sneck.compat --as locket,twisted prog.py args…`.
"""

from ._install import install

__all__ = ["install"]
