"""What `sneck.compat` promises on every Python: its modules load where the originals are not installed. Not for: what they do (`compat/`)."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import sneck.compat

MODULES = sorted(found.name for found in pkgutil.walk_packages(sneck.compat.__path__, "sneck.compat."))


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_a_module_loads_and_has_what_it_lists(module):
    # Without what may be installed here.
    code = f"""
import sys
for name in "twisted", "labm8", "locket", "peak", "caterpillar", "lockfile":
    sys.modules[name] = None
import importlib
module = importlib.import_module({module!r})
for name in getattr(module, "__all__", []):
    getattr(module, name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert importlib.import_module(module).__doc__


def test_the_six_are_there():
    names = {"twisted", "labm8", "locket", "peak", "caterpillar", "pylockfile"}
    assert {f"sneck.compat.{name}" for name in names} <= set(MODULES)
