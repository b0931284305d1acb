"""Runs lockfile's own tests, as they come in its source, on whatever `import lockfile` gives. Not for: the tests of this package.

    python upstream_lockfile.py FOLDER [CLASS…]                                   the original
    python -m sneck.compat --as lockfile upstream_lockfile.py FOLDER [CLASS…]     ours

No test runner of today collects them: their classes have an `__init__`, and `setup` and `teardown` by old names. Prints one line for each test: its class, its
name, and what it raised or `passed`; first of all, whose module they run on.
"""

import sys
import warnings

folder, wanted = sys.argv[1], sys.argv[2:]
sys.path.insert(0, folder)
warnings.simplefilter("ignore")

import test_lockfile  # noqa: E402

print(test_lockfile.lockfile.__name__)
for name in wanted or [name for name in vars(test_lockfile) if name.startswith("Test")]:
    made = getattr(test_lockfile, name)
    for test in [test for test in dir(made) if test.startswith("test_")]:
        case = made()
        case.setup()
        try:
            getattr(case, test)()
            print(name, test, "passed")
        except Exception as error:
            print(name, test, repr(error))
        finally:
            case.teardown()
