"""Modules that stand in for older libraries: same names, arguments, results and exceptions, without their races.

| instead of | import |
|---|---|
| `twisted.python.lockfile`, `twisted.internet.defer.DeferredFilesystemLock` | `sneck.compat.twisted` |
| `labm8.lockfile` | `sneck.compat.labm8` |
| `locket` | `sneck.compat.locket` |
| `peak.running.lockfiles` | `sneck.compat.peak` |
| `caterpillar.locking` | `sneck.compat.caterpillar` |
| `lockfile` (pylockfile) | `sneck.compat.pylockfile` |
"""
