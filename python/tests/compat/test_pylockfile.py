"""`sneck.compat.pylockfile` is what lockfile 0.12.2 is, class by class, and the two exclude each other.

What both do is asked of both. Not for: the original's faults (`test_pylockfile_faults.py`), its own tests and
those who use it (`test_pylockfile_users.py`).
"""

import os
import pickle
import subprocess
import sys
import threading
import warnings

import pytest

try:
    import lockfile as original
    import lockfile.linklockfile
    import lockfile.mkdirlockfile
    import lockfile.pidlockfile
    import lockfile.symlinklockfile
except ImportError as missing:
    raise RuntimeError("lockfile is not installed: run scripts/test, which installs it") from missing

import sneck.compat.pylockfile as ours
from party import dead_pid, stays

THEIRS, OURS = "lockfile", "sneck.compat.pylockfile"
CLASSES = ["LinkLockFile", "MkdirLockFile", "SymlinkLockFile", "PIDLockFile"]
BY_THREAD = CLASSES[:3]
both = pytest.mark.parametrize("package", [original, ours], ids=["theirs", "ours"])
each = pytest.mark.parametrize("name", CLASSES)
by_thread = pytest.mark.parametrize("name", BY_THREAD)
mixed = pytest.mark.parametrize("one, other", [(THEIRS, OURS), (OURS, THEIRS)], ids=["theirs-ours", "ours-theirs"])


def class_of(package, name):
    return getattr(getattr(package, name.lower()), name)


def locker(party, package, name, path, arguments=""):
    """A party that has `lock`, of that class at that path, and `said(call)`: what came of it, as a word."""
    return party(
        f"""
import os, signal, threading, time
import {package} as lockfile
from {package}.{name.lower()} import {name}
from party import enter, leave
lock = {name}({str(path)!r}, {arguments})
def said(call, *arguments):
    try:
        return repr(call(*arguments))
    except Exception as error:
        return type(error).__name__
"""
    )


def in_thread(call):
    """What that call gives in another thread."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    thread.join()
    return answers[0]


@each
@pytest.mark.parametrize("options", [{}, {"threaded": False}, {"threaded": True, "timeout": 2}], ids=str)
def test_the_attributes_are_the_same(name, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in "lock", str(tmp_path / "sub" / "lock"), tmp_path / "lock":
        one, other = class_of(original, name)(path, **options), class_of(ours, name)(path, **options)
        for attribute in "path", "lock_file", "hostname", "pid", "tname", "unique_name", "timeout":
            assert getattr(one, attribute) == getattr(other, attribute), attribute
        assert repr(one) == repr(other)


def test_the_names_and_the_family_of_the_errors_are_the_same():
    for name in original.__all__ + ["LockFile", "FileLock"]:
        theirs, here = getattr(original, name), getattr(ours, name)
        if isinstance(theirs, type) and issubclass(theirs, Exception):
            assert [one.__name__ for one in theirs.__mro__] == [one.__name__ for one in here.__mro__]
        else:
            assert callable(here)
    assert ours.LockFile is ours.FileLock is ours.linklockfile.LinkLockFile
    assert all(issubclass(class_of(ours, name), ours.LockBase) for name in CLASSES)


@both
@each
def test_a_lock_from_its_beginning_to_its_end(package, name, tmp_path):
    lock = class_of(package, name)(str(tmp_path / "lock"))
    assert not lock.is_locked() and not lock.i_am_locking()
    assert lock.acquire() is None
    assert lock.is_locked() and lock.i_am_locking()
    assert lock.release() is None
    assert not lock.is_locked() and not lock.i_am_locking()
    with pytest.raises(package.NotLocked):
        lock.release()
    assert lock.break_lock() is None
    with lock as inside:
        assert inside is lock and lock.i_am_locking()
    assert os.listdir(tmp_path) == []


@both
@each
def test_the_lock_of_another_process(package, name, tmp_path, party):
    path = tmp_path / "lock"
    other = locker(party, package.__name__, name, path)
    other.do("lock.acquire()")
    lock = class_of(package, name)(str(path))
    assert lock.is_locked() and not lock.i_am_locking()
    for timeout in 0, -1:
        with pytest.raises(package.AlreadyLocked):
            lock.acquire(timeout)
    with pytest.raises(package.LockTimeout):
        lock.acquire(timeout=0.05)
    with pytest.raises(package.LockTimeout):
        class_of(package, name)(str(path), timeout=0.05).acquire()
    with pytest.raises(package.AlreadyLocked):
        class_of(package, name)(str(path), timeout=60).acquire(timeout=0)
    with pytest.raises(package.NotMyLock):
        lock.release()
    assert other.ask("lock.i_am_locking()")
    other.do("lock.release()")
    with lock:
        assert other.ask("lock.is_locked(), lock.i_am_locking()") == (True, False)


@both
@by_thread
def test_without_a_timeout_it_waits(package, name, tmp_path, party):
    other = locker(party, package.__name__, name, tmp_path / "lock")
    lock = class_of(package, name)(str(tmp_path / "lock"))
    with lock:
        other.begin("said(lock.acquire)")
        other.must_block()
    assert other.answer() == "None" and other.ask("lock.i_am_locking()")


@both
def test_a_pid_lock_waits_only_when_it_is_told_to(package, tmp_path, party):
    other = locker(party, package.__name__, "PIDLockFile", tmp_path / "lock")
    lock = package.pidlockfile.PIDLockFile(str(tmp_path / "lock"))
    with lock:
        assert other.ask("said(lock.acquire)") == "AlreadyLocked"
        # Its own too.
        with pytest.raises(package.AlreadyLocked):
            lock.acquire()
        other.begin("said(lock.acquire, 20)")
        other.must_block()
    assert other.answer() == "None"


@both
@by_thread
def test_objects_of_one_thread_and_path_are_one_holder_and_one_release_frees(package, name, tmp_path):
    path = str(tmp_path / "lock")
    first, second = class_of(package, name)(path), class_of(package, name)(path)
    first.acquire()
    assert second.i_am_locking()
    first.acquire()
    second.acquire(0)
    with second:
        pass
    assert not first.is_locked()
    with pytest.raises(package.NotLocked):
        first.release()


@both
@by_thread
def test_another_thread_is_another_holder_unless_told_otherwise(package, name, tmp_path):
    path, made = str(tmp_path / "lock"), class_of(package, name)
    with made(path):
        other = in_thread(lambda: made(path))
        assert not other.i_am_locking()
        with pytest.raises(package.AlreadyLocked):
            other.acquire(0)
        with pytest.raises(package.NotMyLock):
            other.release()
    with made(path, threaded=False):
        other = in_thread(lambda: made(path, threaded=False))
        other.acquire(0)
        assert other.i_am_locking()
        # Who uses it does not matter, but who made it.
        in_thread(other.release)
        assert not other.is_locked()
        other.acquire()


@both
@each
def test_any_object_of_the_process_releases_a_lock_without_threads(package, name, tmp_path):
    path, made = str(tmp_path / "lock"), class_of(package, name)
    in_thread(lambda: made(path, threaded=False).acquire())
    other = made(path, threaded=False)
    assert other.i_am_locking()
    other.release()
    assert not other.is_locked()


@both
@each
def test_break_lock_takes_it_from_the_living_who_are_told(package, name, tmp_path, party):
    path = tmp_path / "lock"
    other = locker(party, package.__name__, name, path)
    other.do("lock.acquire()")
    lock = class_of(package, name)(str(path))
    lock.break_lock()
    assert not lock.is_locked() and os.path.lexists(path) is False
    assert other.ask("lock.i_am_locking(), said(lock.release)") == (False, "NotLocked")
    other.do("lock.acquire()")
    lock.break_lock()
    with lock:
        if name != "LinkLockFile":  # the original removes ours: see the faults
            assert other.ask("said(lock.release)") == "NotMyLock"
        assert lock.i_am_locking()


@both
@each
def test_break_lock_in_the_own_process(package, name, tmp_path):
    path, made = str(tmp_path / "lock"), class_of(package, name)
    lock = made(path)
    lock.acquire()
    other = in_thread(lambda: made(path))
    other.break_lock()
    assert not lock.is_locked() and not lock.i_am_locking()
    other.acquire(0)
    assert other.i_am_locking() and (name == "PIDLockFile" or not lock.i_am_locking())
    other.release()
    with pytest.raises(package.NotLocked):
        lock.release()


@both
def test_a_decorated_function_runs_while_it_is_held(package, tmp_path):
    path = str(tmp_path / "lock")

    @package.locked(path, timeout=0)
    def work(one, *, other):
        "Works."
        assert package.LockFile(path).i_am_locking()
        return one + other

    assert work(4, other=3) == 7 and work.__name__ == "work" and work.__doc__ == "Works."
    assert not package.LockFile(path).is_locked()
    with pytest.raises(TypeError):
        work(4, other=None)
    holder = in_thread(lambda: package.LockFile(path))
    with holder:
        with pytest.raises(package.AlreadyLocked):
            work(4, other=3)


@both
@pytest.mark.parametrize("old, name", [("LinkFileLock", "LinkLockFile"), ("MkdirFileLock", "MkdirLockFile")])
def test_the_old_names_make_the_same_with_a_warning(package, old, name, tmp_path):
    with pytest.warns(DeprecationWarning, match=f"lockfile.{name.lower()}") as seen:
        lock = getattr(package, old)(str(tmp_path / "lock"))
    assert type(lock) is class_of(package, name) and lock.tname
    assert [warning.filename for warning in seen] == [__file__ if package is ours else original.__file__]
    with lock:
        pass


def test_sqlite_is_refused_with_the_reason(tmp_path):
    with pytest.raises(NotImplementedError, match="never excluded another process"):
        ours.sqlitelockfile.SQLiteLockFile(str(tmp_path / "lock"))
    with pytest.warns(DeprecationWarning), pytest.raises(NotImplementedError):
        ours.SQLiteFileLock(str(tmp_path / "lock"))
    # Which is true.
    code = "import sys, lockfile.sqlitelockfile as l; lock = l.SQLiteLockFile(sys.argv[1]); lock.acquire(0)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lock = original.SQLiteFileLock(str(tmp_path / "lock"))
    lock.acquire(0)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=True)
    lock.release()


CONTENTS = [b"", b"\n", b"12\n", b" 0012", b"12\nhost\n", b"twelve\n", b"12 13\n", b"-5\n", b"\x00\x00\x01\x02"]


@both
def test_the_functions_for_pid_files(package, tmp_path):
    path, functions = str(tmp_path / "pid"), package.pidlockfile
    assert functions.read_pid_from_pidfile(path) is None
    assert functions.read_pid_from_pidfile(str(tmp_path)) is None
    functions.remove_existing_pidfile(path)
    functions.write_pid_to_pidfile(path)
    assert open(path).read() == f"{os.getpid()}\n"
    assert functions.read_pid_from_pidfile(path) == functions.PIDLockFile(path).read_pid() == os.getpid()
    with pytest.raises(FileExistsError):
        functions.write_pid_to_pidfile(path)
    lock = functions.PIDLockFile(path)
    assert lock.i_am_locking()
    lock.release()
    assert not os.path.exists(path)
    functions.write_pid_to_pidfile(path)
    functions.remove_existing_pidfile(path)
    assert not os.path.exists(path) and not lock.i_am_locking()
    with pytest.raises(FileNotFoundError):
        functions.write_pid_to_pidfile(str(tmp_path / "missing" / "pid"))
    for content in CONTENTS:
        (tmp_path / "pid").write_bytes(content)
        assert functions.read_pid_from_pidfile(path) == original.pidlockfile.read_pid_from_pidfile(path), content


@both
@each
def test_what_makes_it_impossible_is_LockFailed(package, name, tmp_path):
    lock = class_of(package, name)(str(tmp_path / "missing" / "lock"))
    if package is original and name == "SymlinkLockFile":
        return  # it waits: see the faults
    with pytest.raises(package.LockFailed):
        lock.acquire(0)
    with pytest.raises(package.LockFailed):
        lock.acquire(10)


@pytest.mark.parametrize("package", [THEIRS, OURS], ids=["theirs", "ours"])
@each
def test_threads_exclude_each_other(package, name, tmp_path, party):
    path, journal = tmp_path / "lock", tmp_path / "journal"
    one = locker(party, package, name, path)
    one.do(f"""
def work(who):
    for _ in range(20):
        mine = {name}({str(path)!r})
        while said(mine.acquire, 0) != "None":
            time.sleep(0.001)
        enter({str(journal)!r}, who)
        leave({str(journal)!r}, who)
        mine.release()
threads = [threading.Thread(target=work, args=[f"t{{n}}"]) for n in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""")
    assert stays(journal) == 60


@mixed
@each
def test_while_one_holds_the_other_waits(one, other, name, tmp_path, party):
    first = locker(party, one, name, tmp_path / "lock")
    second = locker(party, other, name, tmp_path / "lock")
    first.do("lock.acquire()")
    assert second.ask("lock.is_locked(), lock.i_am_locking()") == (True, False)
    assert second.ask("said(lock.acquire, 0), said(lock.acquire, 0.05)") == ("AlreadyLocked", "LockTimeout")
    assert second.ask("said(lock.release)") == "NotMyLock"
    second.begin("said(lock.acquire, 20)")
    second.must_block()
    first.do("lock.release()")
    assert second.answer() == "None"
    assert first.ask("said(lock.acquire, 0), lock.is_locked()") == ("AlreadyLocked", True)
    second.do("lock.release()")
    assert first.ask("said(lock.acquire, 0)") == "None"


@mixed
@each
@pytest.mark.parametrize("threaded", [True, False])
def test_each_breaks_the_lock_of_the_other(one, other, name, threaded, tmp_path, party):
    first = locker(party, one, name, tmp_path / "lock", f"threaded={threaded}")
    second = locker(party, other, name, tmp_path / "lock", f"threaded={threaded}")
    first.do("lock.acquire()")
    second.do("lock.break_lock()")
    assert second.ask("lock.is_locked(), said(lock.acquire, 0), lock.i_am_locking()") == (False, "None", True)
    assert first.ask("lock.i_am_locking(), said(lock.acquire, 0)") == (False, "AlreadyLocked")


@each
@pytest.mark.parametrize("threaded", [True, False])
def test_originals_and_ours_take_turns_without_meeting(name, threaded, tmp_path, party):
    path, journal = tmp_path / "lock", tmp_path / "journal"
    parties = [locker(party, package, name, path, f"threaded={threaded}") for package in [THEIRS, OURS] * 2]
    for one in parties:
        one.do(f"""
def work():
    for _ in range(25):
        while said(lock.acquire, 0) != "None":
            time.sleep(0.001)
        enter({str(journal)!r})
        leave({str(journal)!r})
        lock.release()
""")
    for one in parties:
        one.begin("work()")
    for one in parties:
        one.answer()
    assert stays(journal) == 100
    assert set(os.listdir(tmp_path)) == {"journal"}


@each
def test_ours_wait_for_each_other_in_their_own_way(name, tmp_path, party):
    path, journal = tmp_path / "lock", tmp_path / "journal"
    parties = [locker(party, OURS, name, path, "timeout=60") for _ in range(3)]
    for one in parties:
        one.do(f"""
def work():
    for _ in range(50):
        with lock:
            enter({str(journal)!r})
            leave({str(journal)!r})
""")
    for one in parties:
        one.begin("work()")
    for one in parties:
        one.answer()
    assert stays(journal) == 150


@each
def test_who_is_in_the_way_is_told(name, tmp_path, party):
    other = locker(party, OURS, name, tmp_path / "lock")
    other.do("lock.acquire()")
    lock = class_of(ours, name)(str(tmp_path / "lock"))
    for timeout in 0, 0.05:
        with pytest.raises(ours.LockError) as caught:
            lock.acquire(timeout)
        assert caught.value.holder.pid == other.pid and str(other.pid) in str(caught.value)
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is type(caught.value) and str(again) == str(caught.value) and again.holder is None


@each
def test_a_pickled_lock_stands_for_the_same_and_not_in_another_process(name, tmp_path, party):
    lock = class_of(ours, name)(str(tmp_path / "lock"), timeout=0)
    with lock:
        again = pickle.dumps(lock)
        assert pickle.loads(again).i_am_locking()
        other = party(f"import pickle; lock = pickle.loads({again!r})")
        assert other.ask("lock.is_locked(), lock.i_am_locking()") == (True, False)


@each
def test_a_file_that_is_no_lock_is_left_alone(name, tmp_path):
    lock = class_of(ours, name)(str(tmp_path / "data"))
    path = lock.path if name == "PIDLockFile" else lock.lock_file
    with open(path, "w") as file:
        file.write("precious\n")
    assert lock.is_locked()
    for timeout in 0, 10:
        with pytest.raises(ours.LockFailed):
            lock.acquire(timeout)
    with pytest.raises(ours.UnlockError):
        lock.break_lock()
    with pytest.raises(ours.NotMyLock):
        lock.release()
    if name == "PIDLockFile":
        with pytest.raises(FileExistsError):
            ours.pidlockfile.write_pid_to_pidfile(path)
    assert open(path).read() == "precious\n"


def test_a_symbolic_link_that_is_no_lock_is_left_alone(tmp_path):
    lock = ours.symlinklockfile.SymlinkLockFile(str(tmp_path / "data"))
    (tmp_path / "host.123").touch()
    # Two whose target is no holder's name, and one that leads somewhere.
    for target in "elsewhere", "folder/host.123", "host.123":
        os.symlink(target, lock.lock_file)
        with pytest.raises(ours.LockFailed):
            lock.acquire(10)
        with pytest.raises(ours.UnlockError):
            lock.break_lock()
        assert os.readlink(lock.lock_file) == target
        os.unlink(lock.lock_file)


def test_the_lock_of_another_class_is_respected_and_not_broken(tmp_path, party):
    for one, other in zip(BY_THREAD, BY_THREAD[1:] + BY_THREAD[:1]):
        holder = locker(party, OURS, one, tmp_path / one)
        holder.do("lock.acquire()")
        lock = class_of(ours, other)(str(tmp_path / one))
        assert lock.is_locked()
        with pytest.raises(ours.AlreadyLocked):
            lock.acquire(0)
        with pytest.raises(ours.UnlockError, match=str(holder.pid)):
            lock.break_lock()
        assert holder.ask("lock.i_am_locking(), said(lock.release)") == (True, "None")


@by_thread
def test_waiting_for_oneself_as_somebody_else_is_an_error(name, tmp_path):
    made, path = class_of(ours, name), str(tmp_path / "lock")
    with made(path, threaded=True):
        with pytest.raises(ours.LockFailed, match="never end"):
            made(path, threaded=False).acquire()
        with pytest.raises(ours.LockTimeout):
            made(path, threaded=False).acquire(0.05)


@by_thread
def test_all_threads_that_count_as_one_have_it_when_one_has(name, tmp_path, party):
    one = locker(party, OURS, name, tmp_path / "lock", "threaded=False")
    one.do("""
had, stop = [], threading.Event()
def work(timeout):
    had.append((said(lock.acquire, timeout), lock.i_am_locking()))
    stop.wait()
threads = [threading.Thread(target=work, args=[t]) for t in [None, 60, None, 60]]
""")
    with class_of(ours, name)(str(tmp_path / "lock")):
        one.do("[thread.start() for thread in threads]")
        # One thread waits for them all; for the others time goes on.
        assert one.ask("said(lock.acquire, 0.05), said(lock.acquire, 0), had") == ("LockTimeout", "AlreadyLocked", [])
    one.do("deadline = time.monotonic() + 60\nwhile len(had) < 4 and time.monotonic() < deadline: time.sleep(0.01)")
    assert one.ask("had") == [("None", True)] * 4
    one.do("stop.set(); lock.release()")


@pytest.mark.parametrize("name", ["LinkLockFile", "PIDLockFile"])
def test_a_relative_path_means_the_same_after_chdir(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = class_of(ours, name)("lock")
    with lock:
        monkeypatch.chdir("/")
        assert lock.is_locked() and lock.i_am_locking() and len(os.listdir(tmp_path)) == 1
    assert not lock.is_locked() and os.listdir(tmp_path) == []


@each
def test_an_orderly_end_releases(name, tmp_path, party):
    one = locker(party, OURS, name, tmp_path / "lock")
    one.do("lock.acquire(); import atexit; atexit.register(lock.release)")
    assert one.end() == 0
    assert os.listdir(tmp_path) == []


def test_a_lock_class_of_ones_own_says_what_it_lacks():
    class Mine(ours.LockBase):
        def acquire(self, timeout=None):
            return None

    lock = Mine("x", False, 3)
    assert (lock.timeout, lock.tname) == (3, "")
    for call in lock.release, lock.is_locked, lock.i_am_locking, lock.break_lock:
        with pytest.raises(NotImplementedError):
            call()


def test_stale_can_be_forbidden_for_a_class(tmp_path):
    class Strict(ours.pidlockfile.PIDLockFile):
        stale = "never"

    (tmp_path / "pid").write_text(f"{dead_pid()}\n")
    with pytest.raises(ours.AlreadyLocked):
        Strict(tmp_path / "pid").acquire(0)
    ours.pidlockfile.PIDLockFile(tmp_path / "pid").acquire(0)


def test_a_signal_ends_the_wait_behind_another_thread(tmp_path, party):
    one = locker(party, OURS, "LinkLockFile", tmp_path / "lock", "threaded=False")
    with ours.LockFile(str(tmp_path / "lock")):
        one.do("""
thread = threading.Thread(target=lock.acquire)
thread.start()
def interrupted():
    try:
        lock.acquire()
    except KeyboardInterrupt:
        return "interrupted"
""")
        one.begin("interrupted()")
        one.must_block()
        one.process.send_signal(2)
        assert one.answer() == "interrupted"
    one.do("thread.join()")
    assert one.ask("lock.i_am_locking()")


@pytest.mark.parametrize("package", [THEIRS, OURS], ids=["theirs", "ours"])
def test_what_is_published_of_a_pid_lock_is_the_number(package, tmp_path, party):
    one = locker(party, package, "PIDLockFile", tmp_path / "pid")
    one.do("lock.acquire()")
    assert (tmp_path / "pid").read_bytes() == b"%d\n" % one.pid
