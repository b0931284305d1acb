"""The faults of Twisted's FilesystemLock: each is seen there, and not in `sneck.compat.twisted`.

Not for: those of DeferredFilesystemLock (test_twisted_deferred.py). Three cannot be shown, or not be mended:

- A holder in another pid namespace, or on another host of a shared file system, is judged by a number that means nothing here. The record is that
  bare number, so nobody can tell; ours is as wrong as Twisted's. (On a network file system ours judges no numbers; there is none here to show it.)
- On Windows a crash in the middle of unlocking makes every later `lock()` loop for ever. Ours has no Windows part.
- The link outlives a loss of power, and its number then means another process. That is the reuse of a number, which is shown here.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from party import PATIENCE, dead_pid, stays
from twisted_sides import NOBODY, OURS, SIDES, STOCK, at

# After the real call it lets somebody else go first.
LATE = """
def late(name, looked, go):
    real = getattr(side, name)

    def call(*arguments):
        try:
            return real(*arguments)
        finally:
            open(looked, "w").close()
            while not os.path.exists(go):
                time.sleep(0.001)

    setattr(side, name, call)
"""


# Ours does not call `kill` unless it was replaced, as it is here; then it goes by what it says.
@pytest.mark.parametrize(
    "late, first, second, both",
    [
        ("kill", "stock", "stock", True),
        ("kill", "ours", "ours", False),
        ("readlink", "ours", "ours", False),
        ("readlink", "ours", "stock", False),
    ],
)
def test_who_comes_late_to_a_dead_link_does_not_remove_the_one_that_took_its_place(
    tmp_path, party, late, first, second, both
):
    path, looked, go = tmp_path / "lock", tmp_path / "looked", tmp_path / "go"
    path.symlink_to(NOBODY)
    slow, quick = party(at(path, SIDES[first]) + LATE), party(at(path, SIDES[second]))
    slow.do(f"late({late!r}, {str(looked)!r}, {str(go)!r})")
    slow.begin("lock.lock()")
    while not looked.exists():
        slow.must_block(0.001)
    assert quick.ask("(lock.lock(), lock.clean)") == (True, False)
    go.touch()
    assert slow.answer() is both
    assert os.readlink(path) == str(slow.pid if both else quick.pid)


FALL = """
def fall(path, go, journal):
    global lock
    lock = side.FilesystemLock(path)
    while not os.path.exists(go):
        pass
    if not lock.lock():
        return None
    enter(journal)
    return lock.clean

def away(journal):
    if lock.locked:
        leave(journal)
        lock.unlock()
"""
ROUNDS = 100


def test_of_four_that_fall_on_one_dead_link_one_gets_it(tmp_path, party):
    journal = str(tmp_path / "journal")
    four = [party(at("", OURS) + FALL) for _ in range(4)]
    unclean = 0
    for number in range(ROUNDS):
        path, go = tmp_path / f"lock{number}", tmp_path / f"go{number}"
        path.symlink_to(NOBODY)
        for one in four:
            one.begin(f"fall({str(path)!r}, {str(go)!r}, {journal!r})")
        go.touch()
        got = [clean for clean in [one.answer() for one in four] if clean is not None]
        assert len(got) == 1, f"{len(got)} hold at once"
        unclean += got == [False]
        for one in four:
            one.do(f"away({journal!r})")
        assert not os.path.lexists(path)
    assert stays(journal) == ROUNDS
    # Nobody but they removed it. The one that did is not always the one that then gets it.
    assert unclean > 0


@pytest.fixture
def reborn(tmp_path, party):
    """A folder, and processes whose numbers were those of links in it before they began."""
    for _ in range(20):
        last = dead_pid()
        folder = tmp_path / str(last)
        folder.mkdir()
        for number in range(last + 1, last + 5000):
            (folder / str(number)).symlink_to(str(number))
        # Two seconds are the least that counts as clearly younger.
        time.sleep(2.5)
        stock, ours, bystander = party(at("", STOCK)), party(at("", OURS)), party()
        if all((folder / str(one.pid)).is_symlink() for one in (stock, ours, bystander)):
            return folder, stock, ours, bystander
    raise AssertionError("other processes took all the numbers, twenty times")


def test_a_link_with_a_number_that_came_round_again(reborn):
    folder, stock, ours, bystander = reborn
    own = "(side.isLocked({0!r}), side.FilesystemLock({0!r}).lock())"
    # A service that is always process 1 of its container is locked out by itself.
    assert stock.ask(own.format(str(folder / str(stock.pid)))) == (True, False)
    assert ours.ask(own.format(str(folder / str(ours.pid)))) == (False, True)
    # That another process is younger than the link is evidence and no proof: acted on if asked for.
    path = str(folder / str(bystander.pid))
    assert stock.ask(own.format(path)) == (True, False)
    assert ours.ask(own.format(path)) == (True, False)
    ours.do(f"lock = side.FilesystemLock({path!r}); lock.stale = 'likely'")
    assert ours.ask("(lock.lock(), lock.clean)") == (True, False)
    assert os.readlink(path) == str(ours.pid)


def test_a_process_that_ended_and_is_not_reaped_does_not_hold(tmp_path, party):
    path = tmp_path / "lock"
    holder, stock, ours = party(at(path, STOCK)), party(at(path, STOCK)), party(at(path, OURS))
    assert holder.ask("lock.lock()") is True
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert stock.ask("(side.isLocked(lock.name), lock.lock())") == (True, False)
    assert ours.ask("(side.isLocked(lock.name), lock.lock(), lock.clean)") == (False, True, False)


IN_A_CHILD = """
def in_a_child(ask):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(ask()).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    return eval(os.read(read, 4096))
"""


@pytest.mark.parametrize("side", SIDES)
def test_a_forked_child_holds_nothing_and_knows_it(tmp_path, party, side):
    one = party(at(tmp_path / "lock", SIDES[side]) + IN_A_CHILD)
    assert one.ask("lock.lock()") is True
    seen = one.ask("in_a_child(lambda: (lock.locked, lock.lock(), raised(lock.unlock), side.isLocked(lock.name)))")
    # Twisted's object says that the child holds, whatever it then answers.
    assert seen == (side == "stock", False, "ValueError", True)
    assert one.ask("(lock.locked, lock.unlock(), lock.locked)") == (True, None, False)


FORKS = """
import os, sys
from sneck.compat.twisted import FilesystemLock
lock = FilesystemLock(sys.argv[1])
assert lock.lock()
child = os.fork()
if child == 0:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert lock.locked and os.readlink(sys.argv[1]) == str(os.getpid())
lock.unlock()
assert not os.path.lexists(sys.argv[1])
"""


def test_a_child_s_orderly_end_leaves_the_parent_s_lock_alone(tmp_path):
    subprocess.run([sys.executable, "-c", FORKS, str(tmp_path / "lock")], check=True, timeout=PATIENCE)
