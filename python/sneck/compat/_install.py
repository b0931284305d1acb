"""Puts our modules in the place of the originals, for programs that cannot be edited: `sneck.compat.install`.

Importing one of the names in `_MODULES` gives ours from then on, whether the original is there or not. This is done where Python looks for
modules (`sys.meta_path`): first of all finders stands one that knows these names, last of all one that makes packages
for them to be in, which is asked only if there are no real ones. So `import X`, `from X import y`, `import X.y` and
`importlib.import_module` all work as ever, and nothing is imported before the program asks for it.

Not for: running a program so (`__main__.py`); what the modules do.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_LOCKFILE = ("linklockfile", "mkdirlockfile", "pidlockfile", "sqlitelockfile", "symlinklockfile")

# What `install` is told, which modules that means, and which of ours is in the place of each.
_MODULES: dict[str, dict[str, str]] = {
    "caterpillar": {"caterpillar.locking": "sneck.compat.caterpillar"},
    "labm8": {"labm8.lockfile": "sneck.compat.labm8"},
    "locket": {"locket": "sneck.compat.locket"},
    "peak": {"peak.running.lockfiles": "sneck.compat.peak"},
    "pylockfile": {
        "lockfile": "sneck.compat.pylockfile",
        **{f"lockfile.{name}": f"sneck.compat.pylockfile.{name}" for name in _LOCKFILE},
    },
    "twisted": {"twisted.python.lockfile": "sneck.compat.twisted"},
}

# Modules that stay what they are, but for these names.
_MEMBERS: dict[str, dict[str, dict[str, str]]] = {
    "twisted": {"twisted.internet.defer": {"DeferredFilesystemLock": "sneck.compat.twisted"}},
}

_ALSO = {"lockfile": "pylockfile"}

NAMES = (*sorted(_MODULES), *_ALSO)

# As far as they are installed.
_instead: dict[str, str] = {}
_amended: dict[str, Callable[[ModuleType], None]] = {}
_packages: set[str] = set()
_installed: list[str] = []


def install(*names: str) -> None:
    """From now on, importing the originals of these names gives the modules of `sneck.compat`.

    names: "caterpillar" (`caterpillar.locking`), "labm8" (`labm8.lockfile`), "locket", "peak" (`peak.running.lockfiles`), "pylockfile"
    or "lockfile" (the package `lockfile`), "twisted" (`twisted.python.lockfile`, and `DeferredFilesystemLock` of `twisted.internet.defer`).
    The originals need not be installed. Processes that multiprocessing starts get the same; other programs do not.

    Call it before anything imports the originals: a program that has one of them already goes on using it, so then this
    raises `RuntimeError` and changes nothing. Raises `ValueError` for a name that is not known. Calling it again is nothing.
    """
    if not names:
        raise ValueError(f"install: name at least one of {', '.join(NAMES)}")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"install: {', '.join(map(repr, unknown))}: not known; known are {', '.join(NAMES)}")
    wanted = list(dict.fromkeys(_ALSO.get(name, name) for name in names))
    for name in wanted:
        _refuse_if_late(name)
    for name in wanted:
        _install(name)


def _refuse_if_late(name: str) -> None:
    late = [original for original, ours in _MODULES[name].items() if _is_imported(original, ours)]
    for module, members in _MEMBERS.get(name, {}).items():
        if module in sys.modules and module not in _amended:
            late.extend(f"{module}.{member}" for member in members)
    if late:
        raise RuntimeError(
            f"install({name!r}) comes too late: {', '.join(late)} was imported already, and whoever did would go on using it; "
            "install first, at the top of the program or by `python -m sneck.compat`"
        )


def _is_imported(original: str, ours: str) -> bool:
    there = sys.modules.get(original)
    return there is not None and there is not sys.modules.get(ours)


def _install(name: str) -> None:
    if name in _installed:
        return
    if not _installed:
        sys.meta_path.insert(0, _First())
        sys.meta_path.append(_Last())
        _amend("multiprocessing.spawn", _tell_children)
    _installed.append(name)
    _instead.update(_MODULES[name])
    for original in _MODULES[name]:
        parts = original.split(".")
        _packages.update(".".join(parts[:end]) for end in range(1, len(parts)))
    for module, members in _MEMBERS.get(name, {}).items():
        _amend(module, lambda made, members=members: _put(made, members))  # type: ignore[misc]


def _amend(module: str, change: Callable[[ModuleType], None]) -> None:
    """Change that module, now or when it has been imported."""
    _amended[module] = change
    if module in sys.modules:
        change(sys.modules[module])


def _put(module: ModuleType, members: dict[str, str]) -> None:
    for name, ours in members.items():
        setattr(module, name, getattr(importlib.import_module(ours), name))


class _First(importlib.abc.MetaPathFinder):
    """Asked for every module before anybody else is."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if name in _instead:
            ours = _instead[name]
            package = name == "lockfile"
            return importlib.machinery.ModuleSpec(name, _Ours(ours), origin=ours, is_package=package)
        if name in _amended:
            return self._amended(name, path, target)
        return None

    def _amended(self, name: str, path: Sequence[str] | None, target: Any) -> Any:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Amending(spec.loader, _amended[name])
                return spec
        return None


class _Last(importlib.abc.MetaPathFinder):
    """Asked when nobody else knows the package that one of ours is to be in."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if name in _packages:
            return importlib.machinery.ModuleSpec(name, _Empty(), origin="sneck.compat.install", is_package=True)
        return None


class _Ours(importlib.abc.Loader):
    """Loads one of our modules under another name: it is the same module."""

    def __init__(self, ours: str) -> None:
        self.ours = ours
        self.own: Any = None

    def create_module(self, spec: Any) -> ModuleType:
        # Not put into sys.modules by `exec_module`: a thread that imports at the same moment could get what stood there before.
        module = importlib.import_module(self.ours)
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It is made already, and keeps its own name.
        module.__spec__ = self.own


class _Empty(importlib.abc.Loader):
    """Makes a package with nothing in it but ours."""

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "A package that is not installed: sneck.compat.install made it, for its own module to be in."


class _Amending:
    """Loads a module as its own loader does, and changes it then."""

    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Whoever looks at the module later sees its own loader.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._change(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Told:
    """Unpickling it in a process that multiprocessing has started is installing there."""

    def __reduce__(self) -> Any:
        return install, tuple(_installed)


def _tell_children(spawn: Any) -> None:
    """What every child is sent first, before it imports anything of the program, is a dictionary: one key more does not disturb it."""
    facts = spawn.get_preparation_data

    def get_preparation_data(name: str) -> Any:
        return {**facts(name), "sneck.compat": _Told()}

    spawn.get_preparation_data = get_preparation_data
