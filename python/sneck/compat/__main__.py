"""Runs a program with our modules in the place of the originals: `python -m sneck.compat --as locket,twisted prog.py args…`.

The program runs as by `python prog.py args…` or `python -m module args…`: `sys.argv`, `sys.path[0]`, `__main__`, its exit code and
what it prints when it fails are the same. Not for: what `install` does (`_install.py`).
"""

from __future__ import annotations

import argparse
import importlib.machinery
import os
import pkgutil
import runpy
import sys
from types import ModuleType, TracebackType
from typing import Any

from sneck.compat import install
from sneck.compat._install import NAMES


def _read_arguments() -> tuple[argparse.ArgumentParser, list[str], bool, list[str]]:
    """The parser, in whose place, whether a module is to be run, and the program with its arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m sneck.compat",
        usage="%(prog)s --as NAME[,NAME…] PROGRAM.py [ARGUMENT…]\n       %(prog)s --as NAME[,NAME…] -m MODULE [ARGUMENT…]",
        description="Run a Python program with sneck's modules in the place of older lock libraries.",
        epilog=f"Names: {', '.join(NAMES)}. The program is a file, or a folder or zip file with a __main__.py, or a module as for `python -m`.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--as", dest="names", metavar="NAME[,NAME…]", action="append", required=True, help="in whose place"
    )
    # Ours end where the program begins: all that follows is its own, whatever it looks like.
    end = 1
    while end < len(sys.argv) and sys.argv[end].startswith("-") and not sys.argv[end].startswith("-m"):
        end += 2 if sys.argv[end] == "--as" else 1
    told = parser.parse_args(sys.argv[1:end])
    program = sys.argv[end:]
    is_module = bool(program) and program[0].startswith("-m")
    if is_module:
        program = program[1:] if program[0] == "-m" else [program[0][2:], *program[1:]]
    if not program:
        parser.error("name a program, or -m and a module")
    return parser, [name for names in told.names for name in names.split(",")], is_module, program


def _run_module(arguments: list[str]) -> None:
    sys.argv = list(arguments)
    # What the interpreter itself calls for -m, in the fresh __main__.
    runpy._run_module_as_main(arguments[0], True)  # type: ignore[attr-defined]


def _run_file(arguments: list[str], main: ModuleType) -> None:
    path = os.path.abspath(arguments[0])
    sys.argv = list(arguments)
    in_path = not (sys.flags.isolated or getattr(sys.flags, "safe_path", False))
    if pkgutil.get_importer(path) is not None:
        # A folder or a zip file: what the interpreter itself does.
        if in_path:
            del sys.path[0]
        sys.path.insert(0, path)
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    if in_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    main.__file__ = path
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    vars(main)["__cached__"] = None
    exec(compile(source, path, "exec", dont_inherit=True), vars(main))


def _show_as_its_own(error: BaseException) -> None:
    """When the interpreter shows this error, as it does at the end, our frames are not among those it shows."""
    shown = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        sys.excepthook = shown
        at = trace
        while at is not None:
            if at.tb_frame.f_globals is globals():
                trace = at.tb_next
            at = at.tb_next
        sys.last_traceback = trace
        # Python's own one shows what the error carries.
        shown(kind, error.with_traceback(trace), trace)

    sys.excepthook = excepthook


def main() -> None:
    """Read the arguments, install, run."""
    parser, names, is_module, program = _read_arguments()
    try:
        install(*names)
    except ValueError as error:
        parser.error(str(error))
    fresh = ModuleType("__main__")
    vars(fresh)["__builtins__"] = __builtins__
    if sys.version_info < (3, 14):
        vars(fresh)["__annotations__"] = {}
    sys.modules["__main__"] = fresh
    try:
        if is_module:
            _run_module(program)
        else:
            _run_file(program, fresh)
    except SystemExit:
        raise
    except BaseException as error:
        _show_as_its_own(error)
        raise


if __name__ == "__main__":
    main()
