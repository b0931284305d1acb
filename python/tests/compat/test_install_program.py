"""`python -m sneck.compat --as NAMES PROGRAM`: it does what `python PROGRAM` does, letter by letter, and the originals are replaced.

Not for: how they are replaced (`test_install.py`).
"""

import os
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest

from party import PATIENCE

PLAIN = [sys.executable]
WITH = [sys.executable, "-m", "sneck.compat", "--as", "locket,lockfile"]


def run(command, folder, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=folder, **options)


def write(path, code):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


def both_ways(arguments, folder, **options):
    """What came of it; the same both ways."""
    plain = run([*PLAIN, *arguments], folder, **options)
    other = run([*WITH, *arguments], folder, **options)
    assert (other.returncode, other.stdout, other.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    return other


PROGRAMS = {
    "what it knows of itself": (
        """
        "A program."
        import sys
        print(sys.argv, sys.path, __name__, __file__, __doc__, __spec__ and __spec__.name, __package__, sorted(globals()))
        print(type(__loader__).__name__, __loader__.name, __loader__.path, sys.modules["__main__"].__dict__ is globals())
        print(__builtins__, type(__builtins__))
        """,
        0,
    ),
    "what it reads": ("import sys; print(sys.stdin.read().upper())", 0),
    "its own source": ("def f(): pass\nimport inspect\nprint(inspect.getsource(f), inspect.getsourcefile(f))", 0),
    "an error": ("def f():\n    1 / 0\n\nf()\n", 1),
    "an error behind another": ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError(1) from e\n", 1),
    "an error far below": ("import json\njson.loads('{')\n", 1),
    "a module that is not there": ("import no_such_module\n", 1),
    "no Python": ("print(1)\nx = = 2\n", 1),
    "exit": ("import sys\nsys.exit(7)\n", 7),
    "exit with a word": ("import sys\nsys.exit('no more')\n", 1),
    "exit with nothing": ("raise SystemExit\n", 0),
    "an exit from the inside": ("import os\nprint(1, flush=True)\nos._exit(9)\n", 9),
    "Ctrl-C": ("raise KeyboardInterrupt\n", -signal.SIGINT),
    "a signal to itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", -signal.SIGINT),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", -signal.SIGTERM),
    "its own word for errors": (
        """
        import sys, traceback
        def said(kind, error, trace):
            print("said", kind, error, [frame.name for frame in traceback.extract_tb(trace)])
        sys.excepthook = said
        1 / 0
        """,
        1,
    ),
    "threads and ends": (
        """
        import atexit, sys, threading, time
        atexit.register(print, "the end", sys.modules["__main__"].__dict__.get("word"))
        def work():
            time.sleep(0.1)
            print("a thread still sees", word, sys.modules["__main__"].word)
        threading.Thread(target=work).start()
        word = "this"
        raise KeyError(word)
        """,
        1,
    ),
    "pickles": (
        "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, A.__module__)\n",
        0,
    ),
    "future": ("from __future__ import annotations\ndef f(x: nonsense): pass\nprint(f.__annotations__)\n", 0),
    "no future": ("def f(x: int): pass\nprint(f.__annotations__)\n", 0),
    "options of its own": ("import sys\nprint(sys.argv[1:])\n", 0),
    "warnings": ("import warnings\nwarnings.warn('old', DeprecationWarning)\n", 0),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_runs_as_by_python_itself(what, tmp_path):
    code, status = PROGRAMS[what]
    write(tmp_path / "in" / "prog.py", code)
    for folder, name in (
        (tmp_path, "in/prog.py"),
        (tmp_path / "in", "prog.py"),
        (tmp_path, str(tmp_path / "in/prog.py")),
    ):
        arguments = [name, "a b", "--as", "-m", "x", "--", "-h", ""]
        assert both_ways(arguments, folder, input="some text").returncode == status


def test_when_its_own_word_for_errors_fails_both_errors_are_told(tmp_path):
    write(tmp_path / "prog.py", "import sys\nsys.excepthook = lambda *_: 1 / 0\nraise KeyError(1)\n")
    done = run([*WITH, "prog.py"], tmp_path)
    assert done.returncode == 1
    for said in "Error in sys.excepthook", "ZeroDivisionError", "Original exception was", "KeyError: 1":
        assert said in done.stderr


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_module_runs_as_by_python_itself(what, tmp_path):
    code, status = PROGRAMS[what]
    write(tmp_path / "package" / "module.py", code)
    write(tmp_path / "package" / "__init__.py", "print('the package', __name__)")
    write(tmp_path / "package" / "__main__.py", code)
    for name in "package.module", "package":
        done = both_ways(["-m", name, "a b", "--as", "-m", "x", "--", "-h", ""], tmp_path, input="some text")
        assert done.returncode == status and done.stdout.startswith("the package")


def test_what_is_not_there_is_said_as_by_python_itself(tmp_path):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "package" / "__init__.py", "")
    for arguments in (
        ["none.py"],
        ["-m", "none"],
        ["-m", "package.none"],
        ["-m", "package"],
        ["folder"],
        ["none/none.py"],
    ):
        assert both_ways(arguments, tmp_path).returncode in (1, 2), arguments


def test_a_folder_and_a_zip_file_run_as_by_python_itself(tmp_path):
    code = (
        "import sys, beside\nprint(sys.argv, sys.path[0], __file__, __spec__ and __spec__.name, beside.here)\n1 / 0\n"
    )
    write(tmp_path / "app" / "__main__.py", code)
    write(tmp_path / "app" / "beside.py", "here = __file__")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as file:
        for name in "__main__.py", "beside.py":
            file.write(tmp_path / "app" / name, name)
    for name in "app", "app.zip":
        assert both_ways([name, "x"], tmp_path).returncode == 1


def test_a_link_to_a_program_finds_what_is_beside_the_program(tmp_path):
    write(tmp_path / "real" / "prog.py", "import beside, sys\nprint(sys.argv, sys.path[0], __file__)\n")
    write(tmp_path / "real" / "beside.py", "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "prog").symlink_to("../real/prog.py")
    assert both_ways(["bin/prog"], tmp_path).returncode == 0


@pytest.mark.parametrize("options", [["-I"], ["-P"], ["-O"], ["-Werror"], ["-s", "-B"]], ids=" ".join)
def test_pythons_own_options_stay_in_force(options, tmp_path):
    if options == ["-P"] and sys.version_info < (3, 11):
        return
    write(tmp_path / "prog.py", "import sys\nprint(sys.path, sys.flags, __debug__, sys.warnoptions)\n")
    if run([sys.executable, *options, "-c", "import sneck"], tmp_path).returncode:
        return  # sneck is not installed for such a Python, only found by PYTHONPATH
    plain = run([sys.executable, *options, "prog.py"], tmp_path)
    other = run([sys.executable, *options, *WITH[1:], "prog.py"], tmp_path)
    assert (other.returncode, other.stdout, other.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_the_originals_are_replaced(tmp_path):
    write(tmp_path / "prog.py", "import locket, lockfile\nprint(locket.__name__, lockfile.__name__)")
    for arguments in ["prog.py"], ["-m", "prog"]:
        assert run([*WITH, *arguments], tmp_path).stdout == "sneck.compat.locket sneck.compat.pylockfile\n"
        assert run([*PLAIN, *arguments], tmp_path).stdout == "locket lockfile\n"
    twice = [*WITH[:-2], "--as", "locket", "--as", "lockfile", "prog.py"]
    assert run(twice, tmp_path).stdout == "sneck.compat.locket sneck.compat.pylockfile\n"
    one = [*WITH[:-2], "--as=locket", "prog.py"]
    assert run(one, tmp_path).stdout == "sneck.compat.locket lockfile\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--as", "filelock", "prog.py"], "'filelock': not known; known are caterpillar, labm8, locket"),
        (["--as", "locket,,lockfile", "prog.py"], "'': not known"),
        (["prog.py"], "the following arguments are required: --as"),
        (["--as", "locket"], "name a program"),
        (["--as", "locket", "-m"], "name a program"),
        (["--a", "locket", "prog.py"], "required: --as"),
        ([], "required: --as"),
    ],
)
def test_what_is_called_wrongly_is_told_and_runs_nothing(arguments, said, tmp_path):
    write(tmp_path / "prog.py", "print('ran')")
    done = run([sys.executable, "-m", "sneck.compat", *arguments], tmp_path)
    assert done.returncode == 2 and said in done.stderr and "usage: python -m sneck.compat --as" in done.stderr
    assert done.stdout == ""


def test_help_names_the_names(tmp_path):
    done = run([sys.executable, "-m", "sneck.compat", "--help"], tmp_path)
    assert done.returncode == 0
    for name in "twisted", "labm8", "locket", "peak", "caterpillar", "pylockfile", "lockfile", "-m MODULE":
        assert name in done.stdout


@pytest.mark.parametrize("how", ["spawn", "forkserver", "fork"])
def test_processes_of_the_program_get_the_same(how, tmp_path):
    write(
        tmp_path / "prog.py",
        f"""
        import multiprocessing
        import locket

        def work():
            return locket.__name__, __name__

        if __name__ == "__main__":
            with multiprocessing.get_context({how!r}).Pool(1) as pool:
                print(*pool.apply(work))
        """,
    )
    inside = "__main__" if how == "fork" else "__mp_main__"
    for arguments in ["prog.py"], ["-m", "prog"]:
        done = run([*WITH, *arguments], tmp_path)
        assert done.stdout == f"sneck.compat.locket {inside}\n", done.stderr


def test_two_runs_of_a_program_exclude_each_other_and_one_without_it(tmp_path, party):
    write(
        tmp_path / "prog.py",
        """
        import sys, lockfile
        lock = lockfile.LockFile(sys.argv[1], timeout=0)
        try:
            with lock:
                print("inside", flush=True)
                sys.stdin.read()
        except lockfile.AlreadyLocked:
            print("refused")
        """,
    )
    for first, second in (WITH, WITH), (WITH, PLAIN), (PLAIN, WITH):
        command = [*first, "prog.py", "l"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True
        ) as inside:
            assert inside.stdout.readline() == "inside\n"
            assert run([*second, "prog.py", "l"], tmp_path, input="").stdout == "refused\n"
            inside.stdin.close()
            assert inside.wait(PATIENCE) == 0
        assert run([*second, "prog.py", "l"], tmp_path, input="").stdout == "inside\n"
    assert os.listdir(tmp_path) == ["prog.py"]
