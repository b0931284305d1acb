"""`sneck.compat.install`: our modules in the place of the originals, installed or not, in a process of its own each time.

Not for: what the modules do; `python -m sneck.compat` (`test_install_program.py`).
"""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import sneck
from party import PATIENCE

# What install is told, the original, a name in it, and which of ours it is.
PLACES = [
    ("twisted", "twisted.python.lockfile", "FilesystemLock", "sneck.compat.twisted"),
    ("labm8", "labm8.lockfile", "LockFile", "sneck.compat.labm8"),
    ("locket", "locket", "lock_file", "sneck.compat.locket"),
    ("peak", "peak.running.lockfiles", "SHLockFile", "sneck.compat.peak"),
    ("caterpillar", "caterpillar.locking", "PIDLockFile", "sneck.compat.caterpillar"),
    ("pylockfile", "lockfile", "LinkFileLock", "sneck.compat.pylockfile"),
    ("lockfile", "lockfile", "LinkFileLock", "sneck.compat.pylockfile"),
    ("lockfile", "lockfile.pidlockfile", "PIDLockFile", "sneck.compat.pylockfile.pidlockfile"),
    ("lockfile", "lockfile.mkdirlockfile", "MkdirLockFile", "sneck.compat.pylockfile.mkdirlockfile"),
]
IDS = [f"{name}-{original}" for name, original, _, _ in PLACES]

for name in "twisted", "locket", "lockfile":
    if not __import__("importlib.util", fromlist=["util"]).find_spec(name):
        raise RuntimeError(f"{name} is not installed: run scripts/test, which installs it")


@pytest.fixture
def run(tmp_path):
    """Runs a program; `alone`: where nothing but Python and sneck is installed."""
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "sneck").symlink_to(pathlib.Path(sneck.__file__).parent)

    def start(code, alone=False, check=True, path=()):
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(code))
        env = dict(os.environ)
        if alone:
            env["PYTHONPATH"] = str(tmp_path / "alone")
        env["PYTHONPATH"] = os.pathsep.join([*map(str, path), env.get("PYTHONPATH", "")])
        command = [sys.executable, *(["-S"] if alone else []), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=env, cwd=tmp_path)
        assert not check or done.returncode == 0, done.stderr
        return done

    return start


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside"])
@pytest.mark.parametrize("name, original, member, ours", PLACES, ids=IDS)
def test_every_way_to_import_gives_ours(name, original, member, ours, alone, run):
    package, _, last = original.rpartition(".")
    ways = [
        f"import {original}; found = {original}",
        f"from {original} import {member}; import sys; found = sys.modules[{original!r}]; assert found.{member} is {member}",
        f"import importlib; found = importlib.import_module({original!r})",
        f"import importlib.util; assert importlib.util.find_spec({original!r}); import {original}; found = {original}",
        f"from {original} import *; import {original} as found",
    ]
    if package:
        ways.append(f"from {package} import {last} as found")
    for way in ways:
        run(
            f"""
            import sneck.compat
            sneck.compat.install({name!r})
            {way}
            import sys, {ours}
            assert found is {ours} and found.{member}
            import {original}
            assert {original} is found is sys.modules[{original!r}]
            # Nothing of the original came along.
            file = found.__file__
            assert "compat" in file, file
            """,
            alone,
        )


def test_alone_the_originals_are_really_not_there(run):
    for _, original, _, _ in PLACES:
        assert "ModuleNotFoundError" in run(f"import {original}", alone=True, check=False).stderr


def test_in_a_real_twisted_its_own_modules_use_ours(run):
    run("""
        import sneck.compat
        sneck.compat.install("twisted")
        from twisted.internet import defer, unix
        from twisted.python import lockfile
        import sneck.compat.twisted as ours
        assert lockfile is defer.lockfile is unix.lockfile is ours
        assert defer.DeferredFilesystemLock is ours.DeferredFilesystemLock
        # Otherwise it is the module that it was.
        import inspect, sys
        assert "class Deferred" in inspect.getsource(defer) and defer.__file__.endswith("twisted/internet/defer.py")
        assert type(defer.__loader__) is type(defer.__spec__.loader) is type(unix.__loader__)
        from twisted.internet import reactor
        lock = defer.DeferredFilesystemLock("lock")
        lock.deferUntilLocked().addCallback(lambda _: reactor.callLater(0, reactor.stop))
        reactor.run()
        assert lock.locked
        lock.unlock()
        """)


@pytest.mark.parametrize("first", ["twisted.internet.defer", "twisted.python.lockfile", "sneck.compat.twisted"])
def test_twisted_whatever_is_imported_first(first, run):
    run(f"""
        import sneck.compat
        sneck.compat.install("twisted")
        import {first}
        import twisted.internet.defer, twisted.python.lockfile, sneck.compat.twisted as ours
        assert twisted.python.lockfile is ours
        assert twisted.internet.defer.DeferredFilesystemLock is ours.DeferredFilesystemLock
        assert twisted.internet.defer.DeferredFilesystemLock("x")
        """)


def test_twisted_own_tests_pass_with_ours_installed(tmp_path):
    command = [sys.executable, "-m", "sneck.compat", "--as", "twisted", "-m", "twisted.trial"]
    tests = ["twisted.test.test_lockfile", "twisted.test.test_defer.DeferredFilesystemLockTests"]
    done = subprocess.run([*command, *tests], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 31 tests" in done.stdout and "PASSED (skips=4, successes=27)" in done.stdout


def test_a_package_that_is_not_there_holds_ours_and_nothing_else(run):
    run(
        """
        import sneck.compat
        sneck.compat.install("labm8", "peak", "caterpillar")
        import labm8, peak.running
        assert "sneck.compat.install" in labm8.__doc__ and not hasattr(labm8, "lockfile")
        for name in "labm8.fs", "peak.util", "peak.running.daemons", "caterpillar.swarming":
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name == name
            else:
                raise AssertionError(name)
        from labm8 import lockfile
        assert labm8.lockfile is lockfile
        """,
        alone=True,
    )


def test_a_package_that_is_there_stays_and_gets_ours(run, tmp_path):
    for name in "labm8", "peak", "caterpillar":
        folder = tmp_path / "real" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("real = True")
        (folder / "fs.py").write_text("here = __name__")
    (tmp_path / "real" / "labm8" / "lockfile.py").write_text("raise AssertionError('the original')")
    run(
        """
        import labm8
        import sneck.compat
        sneck.compat.install("labm8", "peak", "caterpillar")
        import labm8.lockfile, labm8.fs, caterpillar.locking, peak.running.lockfiles, peak.fs
        assert labm8.real and caterpillar.real and peak.real
        assert labm8.lockfile.__name__ == "sneck.compat.labm8" and labm8.fs.here == "labm8.fs"
        assert "sneck.compat.install" in peak.running.__doc__ and "sneck" not in (peak.__doc__ or "")
        """,
        alone=True,
        path=[tmp_path / "real"],
    )


@pytest.mark.parametrize(
    "earlier, name, said",
    [
        ("locket", "locket", "locket"),
        ("lockfile", "lockfile", "lockfile"),
        ("lockfile.pidlockfile", "pylockfile", "lockfile.pidlockfile"),
        ("twisted.python.lockfile", "twisted", "twisted.python.lockfile"),
        ("twisted.internet.defer", "twisted", "twisted.internet.defer.DeferredFilesystemLock"),
    ],
)
def test_too_late_is_an_error_that_says_so_and_changes_nothing(earlier, name, said, run):
    run(f"""
        import sys
        import {earlier}
        import sneck.compat
        finders = list(sys.meta_path)
        try:
            sneck.compat.install("labm8", {name!r})
        except RuntimeError as error:
            assert {said!r} in str(error) and "too late" in str(error), error
        else:
            raise AssertionError("not late")
        assert sys.meta_path == finders
        import {earlier} as again
        assert not again.__name__.startswith("sneck")
        """)


def test_the_rest_of_a_package_may_be_there_before(run):
    run("""
        import twisted.python.failure, multiprocessing.spawn
        import sneck.compat
        sneck.compat.install("twisted")
        from twisted.python import lockfile
        assert lockfile.__name__ == "sneck.compat.twisted"
        """)


def test_installing_again_or_after_ours_was_imported_is_nothing(run):
    run("""
        import sys
        import sneck.compat
        import sneck.compat.locket, sneck.compat.pylockfile.pidlockfile, sneck.compat.twisted
        sneck.compat.install("locket", "lockfile", "twisted")
        import locket, lockfile.pidlockfile, twisted.internet.defer
        finders = list(sys.meta_path)
        sneck.compat.install("locket", "pylockfile", "twisted", "locket")
        assert sys.meta_path == finders and locket is sneck.compat.locket
        """)


def test_names_that_are_not_known_are_refused(run):
    run("""
        import sneck.compat
        for wrong in ["filelock"], ["locket", "filelock"], [], [""], ["Twisted"]:
            try:
                sneck.compat.install(*wrong)
            except ValueError as error:
                assert "locket" in str(error) and "pylockfile" in str(error)
            else:
                raise AssertionError(wrong)
        """)


def test_a_program_that_was_not_written_for_it_excludes_the_original(run, tmp_path, party):
    other = party(f"import locket; lock = locket.lock_file({str(tmp_path / 'l')!r}, timeout=0)")
    other.do("assert 'sneck' not in locket.__name__; lock.acquire()")
    program = """
        import sneck.compat
        sneck.compat.install("locket")
        import locket
        lock = locket.lock_file("l", timeout=0)
        try:
            lock.acquire()
            print("got it")
        except locket.LockError as error:
            print(type(error).__module__)
        """
    assert run(program).stdout == "sneck.compat.locket\n"
    other.do("lock.release()")
    assert run(program).stdout == "got it\n"


CHILDREN = """
import multiprocessing
import concurrent.futures
import sys

{first}

def name_of():
    import locket, lockfile.pidlockfile
    return locket.__name__, lockfile.pidlockfile.__name__

if __name__ == "__main__":
    {then}
    context = multiprocessing.get_context({how!r})
    with context.Pool(1) as pool:
        print(*pool.apply(name_of))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(*pool.submit(name_of).result())
"""


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside"])
@pytest.mark.parametrize("how", ["spawn", "forkserver", "fork"])
def test_processes_that_multiprocessing_starts_get_the_same(how, alone, run):
    # Also those of a main module that does not install when it is imported again.
    install = "import sneck.compat; sneck.compat.install('locket', 'lockfile')"
    said = "sneck.compat.locket sneck.compat.pylockfile.pidlockfile\n" * 2
    assert run(CHILDREN.format(first="", then=install, how=how), alone).stdout == said
    assert run(CHILDREN.format(first=install, then="pass", how=how), alone).stdout == said


def test_other_programs_do_not_get_it(run):
    done = run("""
        import subprocess, sys
        import sneck.compat
        sneck.compat.install("locket")
        subprocess.run([sys.executable, "-c", "import locket; print(locket.__name__)"], check=True)
        """)
    assert done.stdout == "locket\n"


def test_threads_that_import_at_once_get_the_same(run):
    run("""
        import sys, threading
        sys.setswitchinterval(1e-6)
        import sneck.compat
        sneck.compat.install("locket", "lockfile", "twisted", "labm8", "peak", "caterpillar")
        found, start = [], threading.Barrier(8)
        def work():
            start.wait()
            import lockfile.pidlockfile, locket, labm8.lockfile, peak.running.lockfiles, caterpillar.locking
            import twisted.python.lockfile
            found.append((lockfile.pidlockfile, locket, labm8.lockfile, peak.running.lockfiles, twisted.python.lockfile))
        threads = [threading.Thread(target=work) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(found) == 8 and all(one == found[0] for one in found)
        assert all(module.__name__.startswith("sneck.compat.") for module in found[0])
        """)
