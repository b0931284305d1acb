"""What the package tells: its exceptions, each raised for real, shown, pickled; documentation; where it cannot be imported.

Not for: when which exception comes (the other files).
"""

import copy
import errno
import fcntl
import inspect
import os
import pathlib
import pickle
import pydoc
import signal
import socket
import subprocess
import sys

import pytest

import sneck
from party import PATIENCE
from protocols import on

README = pathlib.Path(__file__).parents[1] / "README.md"


def timed_out(folder, party):
    party(on(f"{folder}/lock")).do("lock.acquire()")
    sneck.Lock(folder / "lock").acquire(timeout=0.01)


def timed_out_at_a_claim(folder, party):
    party(on(f"labm8:{folder}/lock")).do("lock.acquire()")
    sneck.Lock(folder / "lock", protocol="labm8").acquire(timeout=0)


def reentrant(folder, party):
    lock = sneck.Lock(folder / "lock")
    with lock:
        lock.acquire()


def not_held(folder, party):
    sneck.Lock(folder / "lock").release()


def lost(folder, party):
    with sneck.Lock(folder / "lock", protocol="pidfile"):
        os.remove(folder / "lock")


def foreign(folder, party):
    sneck.Lock(folder).acquire()


def damaged(folder, party):
    (folder / "lock").touch()
    sneck.Lock(folder / "lock", protocol="pidfile").acquire(timeout=0)


def unsupported(folder, party):
    sneck.Lock(folder / "lock", protocol="pidfile", mode="shared").acquire()


def invalid(folder, party):
    sneck.Lock(f"{folder}/lock/")


def no_permission(folder, party):
    user = os.geteuid()
    folder.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        sneck.Lock(folder / "lock").acquire()
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def no_folder(folder, party):
    sneck.Lock(folder / "missing" / "lock").acquire()


def cannot_create(folder, party):
    sneck.Lock(folder / ("x" * 256)).acquire()


def cannot_look(folder, party):
    (folder / "lock").write_text("1\n")
    with open(folder / "lock", "r+") as file:
        # Reading the claim would drop this.
        fcntl.lockf(file, fcntl.LOCK_EX)
        sneck.Lock(folder / "lock", protocol="pidfile").holder()


def unreachable(folder, party):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        sneck.Lock.at(f"postgres://127.0.0.1:{nobody.getsockname()[1]}/name").acquire()


# exception: what raises it, its errno, and a word of what it says.
RAISED = {
    "LockTimeout": (timed_out, errno.ETIMEDOUT, "held by pid"),
    "LockTimeout ": (timed_out_at_a_claim, errno.ETIMEDOUT, "held by pid"),
    "Reentrant": (reentrant, None, "release it first"),
    "NotHeld": (not_held, None, "does not hold"),
    "LockLost": (lost, None, "find out who"),
    "ForeignFile": (foreign, None, "name another file"),
    "DamagedClaim": (damaged, None, "remove it by hand"),
    "Unsupported": (unsupported, None, "exclusively"),
    "InvalidLock": (invalid, None, "name a file"),
    "NoPermission": (no_permission, errno.EACCES, "owner and mode"),
    "NoFolder": (no_folder, errno.ENOENT, "make the folder"),
    "CannotCreate": (cannot_create, errno.ENAMETOOLONG, "cannot be made"),
    "LockOSError": (cannot_look, None, "cannot be seen"),
    "Unreachable": (unreachable, None, "cannot be reached"),
}


def caught(name, folder, party):
    folder = folder / "folder"
    folder.mkdir()
    with pytest.raises(sneck.LockError) as found:
        RAISED[name][0](folder, party)
    assert type(found.value).__name__ == name.strip()
    return found.value


@pytest.mark.parametrize("name", RAISED)
def test_each_exception_names_the_lock_and_says_what_to_do(tmp_path, party, name):
    error = caught(name, tmp_path, party)
    _, number, word = RAISED[name]
    assert isinstance(error, sneck.LockError) and getattr(error, "errno", None) == number
    assert word in str(error) and str(error).isprintable() and str(error) == error.args[0]
    # The last part of the path: the start of a long one is what is shown.
    assert error.place in str(error) and (error.path in error.place or name == "CannotCreate")
    assert error.advice is None or str(error).endswith(error.advice)
    assert error.holder == (error.holders[0] if error.holders else None)
    assert bool(error.holders) is (name.strip() == "LockTimeout")
    if isinstance(error, OSError):
        assert error.filename == error.path
    assert repr(error).startswith(f"{type(error).__name__}(")


@pytest.mark.parametrize("way", ["copy", "deepcopy"] + list(range(pickle.HIGHEST_PROTOCOL + 1)))
@pytest.mark.parametrize("name", RAISED)
def test_each_exception_arrives_with_its_facts(tmp_path, party, name, way):
    error = caught(name, tmp_path, party)
    error.__notes__ = ["seen"]
    again = getattr(copy, way)(error) if isinstance(way, str) else pickle.loads(pickle.dumps(error, way))
    assert type(again) is type(error) and again is not error
    facts = ["args", "path", "place", "holders", "holder", "advice", "errno", "filename", "__notes__"]
    assert [getattr(again, one, "none") for one in facts] == [getattr(error, one, "none") for one in facts]
    assert str(again) == str(error)


def told_in_the_readme():
    """Of each exception, what it is besides a `LockError`."""
    told = {}
    with open(README, encoding="utf-8") as lines:
        for line in lines:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            names = [name.strip("` ") for name in cells[0].split(",")]
            if len(cells) == 3 and all(hasattr(sneck, name) for name in names):
                also = [name.strip("` ") for name in cells[2].split(",") if name]
                told.update({name: also[at] if len(also) > 1 else "".join(also) for at, name in enumerate(names)})
    return told


def test_the_exceptions_are_what_the_readme_tells():
    told = told_in_the_readme()
    kinds = {name for name in sneck.__all__ if isinstance(getattr(sneck, name), type)}
    kinds = {name for name in kinds if issubclass(getattr(sneck, name), Exception)}
    assert set(told) == kinds - {"LockError"} == {name.strip() for name in RAISED}
    for name, also in told.items():
        kind = getattr(sneck, name)
        assert issubclass(kind, sneck.LockError)
        builtin = [base.__name__ for base in kind.__mro__ if base.__module__ == "builtins"]
        assert builtin[0] == (also or "Exception"), name
    assert issubclass(sneck.NoFolder, sneck.CannotCreate) and not issubclass(sneck.LockTimeout, sneck.LockOSError)


def test_an_exception_can_be_made_by_hand():
    for name in sneck.__all__:
        kind = getattr(sneck, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            error = kind("what happened")
            assert (str(error), error.path, error.place, error.holder, error.holders) == (
                "what happened",
                None,
                None,
                None,
                (),
            )
            assert str(pickle.loads(pickle.dumps(error))) == "what happened" and str(kind()) == ""


COMMAND = ["\x1b]0;owned\x07", "\x1b[2J", "a\nb\r", "\u202eright to left", "\x9b31m", "\u2028"]


@pytest.mark.parametrize("protocol", ["flock", "pidfile", "mkdir"])
def test_what_others_wrote_never_reaches_a_terminal_as_it_is(tmp_path, protocol):
    lock = sneck.Lock(tmp_path / "lo\x1b[31mck", protocol=protocol)
    code = f"import sneck; sneck.Lock({lock.path!r}, protocol={protocol!r}).acquire(); print(flush=True); input()"
    command = [sys.executable, "-c", code] + COMMAND
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline()
        with pytest.raises(sneck.LockTimeout) as found:
            lock.acquire(timeout=0)
        error = found.value
        # As it is: for programs.
        assert all(word in error.holder.command for word in COMMAND)
        for shown in (str(error), repr(error), str(error.holder), repr(error.holder), error.place, repr(lock)):
            assert shown.isprintable()
        holder.communicate(b"\n", timeout=PATIENCE)


def test_a_claim_that_means_harm_is_shown_harmless(tmp_path):
    lock = sneck.Lock(tmp_path / "lock", protocol="symlink")
    os.symlink("/\x1b]0;owned\x07\n", lock.path)
    for call in (lock.acquire, lock.holder, lock.break_stale):
        with pytest.raises(sneck.ForeignFile, match="owned") as found:
            call()
        assert str(found.value).isprintable()


def test_every_public_name_is_there_and_says_what_it_is():
    # A module below it is there once somebody has imported it.
    names = (name for name, what in vars(sneck).items() if not inspect.ismodule(what))
    assert sorted(sneck.__all__) == sorted(name for name in names if not name.startswith("_"))
    for name in sneck.__all__:
        item = getattr(sneck, name)
        assert item.__doc__ and inspect.isclass(item), name
        own = {member for kind in item.__mro__ if kind.__module__.startswith("sneck") for member in vars(kind)}
        for member in own:
            if not member.startswith("_"):
                assert getattr(getattr(item, member), "__doc__", None), f"{name}.{member}"


@pytest.mark.parametrize("name", [None] + sneck.__all__)
def test_help_works(name):
    text = pydoc.plain(pydoc.render_doc(sneck if name is None else getattr(sneck, name)))
    assert (name or "One lock for every lock file.") in text
    if name == "Lock":
        for word in ("force_release", "on_wait", "timeout=None", "stale='dead'"):
            assert word in text


def test_the_words_for_options_are_told_when_one_is_wrong(tmp_path):
    words = {"mode": "shared", "stale": "likely", "reentry": "idempotent", "record": "pid", "protocol": "symlink"}
    for option, known in words.items():
        with pytest.raises(ValueError, match=known) as found:
            sneck.Lock(tmp_path / "lock", **{option: "nonsense"})
        assert "nonsense" in str(found.value)
        with pytest.raises(TypeError):
            sneck.Lock(tmp_path / "lock", **{option: object()})
    for option, wrong in [("timeout", "1"), ("timeout", []), ("on_wait", 3), ("unknown", 1)]:
        with pytest.raises(TypeError, match=option):
            sneck.Lock(tmp_path / "lock", **{option: wrong})
    for option in ("timeout", "stale"):
        for wrong in (-1, -0.5, float("nan"), 1e300):
            with pytest.raises(ValueError, match=option) as found:
                sneck.Lock(tmp_path / "lock", **{option: wrong})
            assert len(str(found.value)) < 100
    assert sneck.Lock(tmp_path / "lock", timeout=float("inf")).timeout is None
    assert [sneck.Lock(tmp_path / "lock", timeout=wait).timeout for wait in (0, 1, 0.25, 1e9, True)] == [
        0,
        1,
        0.25,
        1e9,
        1,
    ]


def test_guards_and_holders_are_not_made_by_hand():
    for kind in (sneck.Guard, sneck.Holder):
        with pytest.raises(TypeError, match="cannot create"):
            kind()


SUB = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
within = '''
import sys
try:
    import sneck
except ImportError as error:
    print("refused:", error)
else:
    print("imported")
sys.stdout.flush()
'''
if "first" in sys.argv:
    import sneck
for _ in range(2):
    one = interpreters.create()
    interpreters.run_string(one, within)
    interpreters.destroy(one)
import sneck
with sneck.Lock(sys.argv[1]) as guard:
    print(guard.held)
"""


@pytest.mark.parametrize("when", ["first", "later"])
def test_a_sub_interpreter_is_refused_with_an_ImportError_and_the_main_one_works(tmp_path, when):
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SUB, str(tmp_path / "lock"), when],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, (signal.Signals(-ended.returncode) if ended.returncode < 0 else "", ended.stderr)
    lines = ended.stdout.splitlines()
    assert len(lines) == 3 and lines[2] == "True" and all(line.startswith("refused:") for line in lines[:2]), (
        ended.stdout
    )
    assert "sub" in lines[0]
