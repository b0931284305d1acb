"""The originals that PyPI has as source only: loaded from the folder that SNECK_TEST_TOOLS names, without what their packages would drag in; and
how one of them is held up in the middle of a step.

`begin(library, whose)` is what a party begins with: then `m` is the module, the original or ours.
"""

import importlib
import os
import pathlib
import sys
import types

HERE = str(pathlib.Path(__file__).parent)


def source(name):
    """The unpacked source of that package."""
    assert "SNECK_TEST_TOOLS" in os.environ, (
        "SNECK_TEST_TOOLS is not set: run scripts/test, which fetches the originals"
    )
    folder = pathlib.Path(os.environ["SNECK_TEST_TOOLS"], name)
    assert folder.is_dir(), f"{folder} is missing: run scripts/test, which fetches the originals"
    return folder


def begin(library, whose):
    ours = {"labm8": "sneck.compat.labm8", "caterpillar": "sneck.compat.caterpillar"}[library]
    original = f"import sys; sys.path.insert(0, {HERE!r}); import originals; m = originals.{library}()"
    return f"import os, time; import {ours} as m" if whose == "ours" else f"import os, time; {original}"


def labm8():
    _stand_in("labm8", folder="labm8/labm8")
    _stand_in("labm8.types")
    _stand_in("humanize", naturalsize=None)
    _stand_in("send2trash", send2trash=None)
    return importlib.import_module("labm8.lockfile")


def caterpillar():
    _stand_in("caterpillar", folder="caterpillar/caterpillar")
    return importlib.import_module("caterpillar.locking")


def _stand_in(name, folder=None, **names):
    module = types.ModuleType(name)
    vars(module).update(names)
    if folder:
        module.__path__ = [str(source(folder))]
    sys.modules[name] = module


def held_up(call, gate):
    """The call, but before it does anything it waits until `let_go(gate)`. The gate is a FIFO."""

    def waits(*arguments):
        with open(gate):
            pass
        return call(*arguments)

    return waits


def let_go(gate):
    with open(gate, "w"):
        pass


def container(folder):
    """For `party(python=...)`: each party so started is process 1 of a pid namespace of its own."""
    assert os.geteuid() == 0, "pid namespaces need root"
    script = folder / "container"
    script.write_text(f'#!/bin/sh\nexec unshare --fork --pid --mount-proc --kill-child "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return str(script)


# A process that is at least two seconds younger than a claim did not make it.
CLEARLY_YOUNGER = 2.6
