"""`sneck.compat.twisted`: names, results and errors as in Twisted, beside stock Twisted at one path.

Not for: Twisted's faults (test_twisted_faults.py), Deferreds (test_twisted_deferred.py), Twisted's own tests (test_twisted_upstream.py).
"""

import itertools
import os
import subprocess
import sys
import tempfile
import threading

import pytest

import sneck.compat.twisted as ours
from party import PATIENCE, Raised, stays
from twisted_sides import NOBODY, OURS, SIDES, STOCK, at


@pytest.fixture
def everybodys_folder():
    """One that other users can reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield folder


@pytest.mark.parametrize("holder", SIDES)
@pytest.mark.parametrize("other", SIDES)
def test_while_one_side_holds_the_other_is_refused(tmp_path, party, holder, other):
    path = tmp_path / "lock"
    one, two = party(at(path, SIDES[holder])), party(at(path, SIDES[other]))
    assert one.ask("(lock.lock(), lock.locked, lock.clean)") == (True, True, True)
    assert os.readlink(path) == str(one.pid)
    assert two.ask("(lock.lock(), lock.locked, lock.clean, side.isLocked(lock.name))") == (False, False, None, True)
    assert two.ask("raised(lock.unlock)") == "ValueError"
    one.do("lock.unlock()")
    assert not os.path.lexists(path) and one.ask("lock.locked") is False
    assert two.ask("(side.isLocked(lock.name), lock.lock(), lock.clean)") == (False, True, True)
    assert os.readlink(path) == str(two.pid)


TURNS = """
def turns(count, journal):
    for _ in range(count):
        while not lock.lock():
            time.sleep(0.0005)
        enter(journal)
        time.sleep(0.0005)
        leave(journal)
        lock.unlock()
"""


def test_both_sides_take_turns_and_are_never_inside_at_once(tmp_path, party):
    path, journal = tmp_path / "lock", tmp_path / "journal"
    all_of_them = [party(at(path, side) + TURNS) for side in (STOCK, OURS, STOCK, OURS)]
    for one in all_of_them:
        one.begin(f"turns(100, {str(journal)!r})")
    for one in all_of_them:
        one.answer()
    assert stays(journal) == 400


@pytest.mark.parametrize("holder", SIDES)
@pytest.mark.parametrize("other", SIDES)
def test_a_killed_holder_s_link_is_broken_and_the_lock_is_not_clean(tmp_path, party, holder, other):
    path = tmp_path / "lock"
    one = party(at(path, SIDES[holder]))
    assert one.ask("lock.lock()") is True
    one.kill()
    two = party(at(path, SIDES[other]))
    assert two.ask("(lock.lock(), lock.clean)") == (True, False)
    two.do("lock.unlock()")
    assert two.ask("(lock.lock(), lock.clean)") == (True, True)


@pytest.mark.parametrize("holder", SIDES)
def test_a_process_that_ends_without_unlocking_leaves_the_lock_unclean_too(tmp_path, party, holder):
    path = tmp_path / "lock"
    one = party(at(path, SIDES[holder]))
    assert one.ask("lock.lock()") is True
    assert one.end() == 0
    assert os.readlink(path) == str(one.pid)
    assert party(at(path, OURS)).ask("(lock.lock(), lock.clean)") == (True, False)


@pytest.mark.parametrize("holder", SIDES)
def test_so_does_a_child_of_multiprocessing(tmp_path, party, holder):
    path = tmp_path / "lock"
    one = party(at(path, SIDES[holder]) + "import multiprocessing")
    one.do("child = multiprocessing.get_context('fork').Process(target=lambda: lock.lock())")
    one.do("child.start(); child.join()")
    assert os.readlink(path) == str(one.ask("child.pid"))
    assert one.ask("(lock.locked, lock.lock(), lock.clean)") == (False, True, False)


def test_what_this_process_holds_it_does_not_get_again_and_any_object_may_unlock(tmp_path):
    path = str(tmp_path / "lock")
    one, two = ours.FilesystemLock(path), ours.FilesystemLock(os.fsencode(path))
    assert one.lock()
    assert not one.lock() and one.locked and one.clean is True
    assert not two.lock() and not two.locked
    answers = []
    thread = threading.Thread(target=lambda: answers.append((two.lock(), ours.isLocked(path), two.unlock())))
    thread.start()
    thread.join()
    assert answers == [(False, True, None)]
    assert not one.locked and not os.path.lexists(path)
    with pytest.raises(FileNotFoundError):
        one.unlock()


def test_locking_with_one_object_and_unlocking_with_another_leaves_nothing_open(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    spellings = [tmp_path, link, tmp_path / "." / "link" / ".." / tmp_path.name]
    numbers = itertools.count()

    def rounds():
        for _ in range(30):
            name = f"lock{next(numbers)}"
            assert ours.FilesystemLock(os.path.join(spellings[0], name)).lock()
            ours.FilesystemLock(os.fsencode(os.path.join(spellings[1], name))).unlock()
            spellings.append(spellings.pop(0))

    rounds()
    before = len(os.listdir("/proc/self/fd"))
    rounds()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("side", SIDES)
def test_a_link_that_was_removed_behind_our_back_is_lost(tmp_path, party, side):
    path = tmp_path / "lock"
    one = party(at(path, SIDES[side]))
    assert one.ask("lock.lock()") is True
    path.unlink()
    # Twisted's object goes on saying True.
    assert one.ask("lock.locked") is (side == "stock")
    assert one.ask("raised(lock.unlock)") == "FileNotFoundError"
    two = party(at(path, OURS))
    assert two.ask("lock.lock()") is True
    assert one.ask("raised(lock.unlock)") == "ValueError"
    assert os.readlink(path) == str(two.pid)


@pytest.mark.parametrize("side", SIDES)
def test_a_link_with_our_number_that_no_object_made_can_be_unlocked(tmp_path, party, side):
    path = tmp_path / "lock"
    one = party(at(path, SIDES[side]))
    path.symlink_to(str(one.pid))
    assert one.ask("(lock.lock(), side.isLocked(lock.name))") == (False, True)
    one.do("lock.unlock()")
    assert not os.path.lexists(path)


@pytest.mark.parametrize("side", SIDES)
def test_what_is_no_lock_raises_and_is_left_alone(tmp_path, party, side):
    one = party(at(tmp_path / "lock", SIDES[side]), cwd=tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("somewhere")

    def try_at(name):
        return one.ask(f"(raised(side.FilesystemLock({name!r}).lock), raised(lambda: side.isLocked({name!r})))")

    assert try_at("file") == try_at("folder") == ("OSError", "OSError")
    assert try_at("link") == ("ValueError", "ValueError")
    assert one.ask("raised(side.FilesystemLock('none/lock').lock)") == "FileNotFoundError"
    assert one.ask("raised(side.FilesystemLock('file/lock').lock)") == "NotADirectoryError"
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "folder").is_dir()
    assert os.readlink(tmp_path / "link") == "somewhere"


@pytest.mark.parametrize("target", ["0", "-5", str(2**40)])
def test_a_number_that_no_process_can_have_is_held_by_nobody_knows_whom(tmp_path, target):
    path = tmp_path / "lock"
    path.symlink_to(target)
    assert not ours.FilesystemLock(str(path)).lock()
    assert ours.isLocked(str(path))
    assert os.readlink(path) == target


def test_a_living_process_of_another_user_holds_where_Twisted_raises(tmp_path, everybodys_folder, party):
    path = os.path.join(everybodys_folder, "lock")
    os.symlink(str(os.getpid() if os.geteuid() == 0 else 1), path)
    stock, one = party(at(path, STOCK)), party(at(path, OURS))
    for each in (stock, one):
        each.do(f"warm_up({str(tmp_path)!r}); unprivileged()")
    assert stock.ask("(raised(lock.lock), raised(lambda: side.isLocked(lock.name)))") == (
        "PermissionError",
        "PermissionError",
    )
    assert one.ask("(lock.lock(), side.isLocked(lock.name))") == (False, True)


@pytest.mark.parametrize("side", SIDES)
def test_a_stale_link_that_may_not_be_removed_is_told(tmp_path, everybodys_folder, party, side):
    path = os.path.join(everybodys_folder, "lock")
    os.symlink(NOBODY, path)
    os.chmod(everybodys_folder, 0o555)
    one = party(at(path, SIDES[side]))
    one.do(f"warm_up({str(tmp_path)!r}); unprivileged()")
    with pytest.raises(Raised) as caught:
        one.do("lock.lock()")
    assert caught.value.kind == "PermissionError"
    assert os.path.lexists(path)


def test_isLocked_only_looks_where_Twisted_s_breaks_the_link(tmp_path, party):
    path = tmp_path / "lock"
    for side, stays_there in ((OURS, True), (STOCK, False)):
        if not os.path.lexists(path):
            path.symlink_to(NOBODY)
        assert party(at(path, side)).ask("side.isLocked(lock.name)") is False
        assert os.path.lexists(path) is stays_there


def test_a_relative_name_is_unlocked_where_it_was_locked_and_not_so_by_Twisted(tmp_path, party):
    for name in SIDES:
        (tmp_path / name).mkdir()
    stock, one = (party(at("lock", SIDES[name]), cwd=tmp_path / name) for name in ("stock", "ours"))
    for each in (stock, one):
        assert each.ask("(lock.lock(), os.chdir('/'), lock.name)") == (True, None, "lock")
    assert stock.ask("raised(lock.unlock)") == "FileNotFoundError"
    assert one.ask("(lock.locked, lock.unlock(), lock.locked)") == (True, None, False)
    assert os.path.lexists(tmp_path / "stock" / "lock") and not os.path.lexists(tmp_path / "ours" / "lock")


def test_stale_never_breaks_nothing(tmp_path):
    lock = ours.FilesystemLock(str(tmp_path / "lock"))
    lock.stale = "never"
    os.symlink(NOBODY, lock.name)
    assert not lock.lock() and os.path.lexists(lock.name)
    lock.stale = "dead"
    assert lock.lock() and lock.clean is False
    lock.unlock()


WITHOUT = """
import sys
sys.modules["twisted"] = None
import sneck.compat.twisted as side
lock = side.FilesystemLock(sys.argv[1])
assert lock.lock() and side.isLocked(sys.argv[1])
lock.unlock()
for call in (lambda: side.DeferredFilesystemLock(sys.argv[1]), lambda: side.TimeoutError):
    try:
        call()
    except ImportError as error:
        assert "pip install sneck[twisted]" in str(error)
    else:
        raise AssertionError("no ImportError")
assert not hasattr(side, "nonsense")
"""


def test_without_Twisted_the_lock_works_and_the_rest_says_what_to_install(tmp_path):
    subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path / "lock")], check=True, timeout=PATIENCE)
