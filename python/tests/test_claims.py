"""Claims of others, for each protocol: removed if their holder is dead, by age or by force, and what a robbed holder is told; damaged and foreign ones are left alone.

Not for: waiting and holding (`test_protocols.py`).
"""

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

import sneck
from party import PATIENCE, Raised, dead_pid
from protocols import CLAIMS, KERNEL, claims, files, is_free, kernel, on, snapshot


@pytest.fixture
def dead(party, place):
    """Somebody who was killed while holding: the number."""
    one = party(on(place))
    one.do("guard = lock.acquire()")
    one.kill()
    return one.pid


def refused(one, code):
    """The name of the exception that it gets."""
    with pytest.raises(Raised) as caught:
        one.do(code)
    return caught.value.kind


@claims
def test_break_stale_removes_what_a_dead_one_left_and_gives_its_holder(tmp_path, protocol, place, dead):
    lock, left = sneck.Lock.at(place), snapshot(tmp_path)
    # That it is dead is seen without touching it.
    assert lock.holder().pid == dead and not lock.locked() and snapshot(tmp_path) == left
    holder = lock.break_stale()
    assert isinstance(holder, sneck.Holder) and holder.pid == dead
    assert not os.listdir(tmp_path) and not lock.held
    assert lock.break_stale() is None and lock.holder() is None


@kernel
def test_what_a_dead_one_held_of_the_kernel_is_free(tmp_path, protocol, place, dead):
    for stale in ("never", "dead", "likely", 3600, timedelta(hours=1)):
        lock = sneck.Lock.at(place, stale=stale)
        assert lock.break_stale() is None and lock.force_release() is None and not lock.locked()
        with lock as guard:
            assert (guard.clean, guard.broken) == (None, [])


@claims
def test_break_stale_leaves_the_living_alone(tmp_path, party, protocol, place):
    one = party(on(place))
    one.do("guard = lock.acquire()")
    before = snapshot(tmp_path)
    for stale in ("never", "dead", "likely", 3600, timedelta(hours=1)):
        assert sneck.Lock.at(place, stale=stale).break_stale() is None
    assert snapshot(tmp_path) == before
    assert one.ask("guard.held, guard.ensure_held(), guard.release()") == (True, None, None)


@kernel
def test_nobody_can_take_a_kernel_lock_from_its_holder(tmp_path, party, protocol, place):
    one, lock = party(on(place)), sneck.Lock.at(place)
    one.do("guard = lock.acquire()")
    before = snapshot(tmp_path)
    forced = sneck.Lock.at(place, stale="force", timeout=PATIENCE)
    for call in (lock.break_stale, lock.force_release, forced.break_stale, forced.acquire):
        with pytest.raises(sneck.Unsupported, match=protocol.partition("+")[0]) as caught:
            call()
        assert "end that process" in caught.value.advice and caught.value.path == lock.path
        assert call == forced.acquire or caught.value.holder.pid == one.pid
    assert snapshot(tmp_path) == before
    assert one.ask("guard.held, guard.ensure_held(), guard.release()") == (True, None, None)


@pytest.mark.parametrize("by", ["os.remove", "os.replace"])
@kernel
def test_whoever_loses_the_file_of_a_kernel_lock_is_told(tmp_path, party, protocol, place, by):
    one = party(on(place) + "\nimport contextlib; stack = contextlib.ExitStack(); guard = stack.enter_context(lock)")
    path = str(tmp_path / "lock")
    if by == "os.remove":
        os.remove(path)
    else:
        (tmp_path / "other").touch()
        os.replace(tmp_path / "other", path)
    assert one.ask("guard.held") is False
    assert refused(one, "guard.ensure_held()") == "LockLost"
    with sneck.Lock.at(place) as guard:
        assert refused(one, "stack.close()") == "LockLost"
        assert guard.held and one.ask("lock.try_acquire()") is False
    is_free(place)


WAYS = {
    "release": "guard.release()",
    "release of the lock": "lock.release()",
    "with": "stack.close()",
    "with that raises": "stack.__exit__(KeyError, KeyError('own'), None)",
}


@pytest.mark.parametrize("way", WAYS)
@claims
def test_whoever_is_robbed_is_told_and_touches_nothing(tmp_path, party, protocol, place, way):
    one, lock = party(on(place)), sneck.Lock.at(place)
    one.do("import contextlib; stack = contextlib.ExitStack(); guard = stack.enter_context(lock)")
    assert lock.force_release().pid == one.pid
    assert not os.listdir(tmp_path) and not lock.held
    assert one.ask("guard.held") is False
    assert refused(one, "guard.ensure_held()") == "LockLost"
    with lock as guard:
        ours = snapshot(tmp_path)
        assert guard.clean is True, "nobody died"
        assert refused(one, WAYS[way]) == "LockLost"
        assert snapshot(tmp_path) == ours and guard.held
        assert one.ask("lock.held, lock.held_in_this_process, lock.try_acquire()") == (False, False, False)
        assert refused(one, "guard.release()") == refused(one, "guard.ensure_held()") == "NotHeld"
    assert one.ask("lock.acquire(timeout=0).held") is True


@pytest.mark.parametrize("stale", ["force", 0.001, timedelta(milliseconds=1)], ids=str)
@claims
def test_a_lock_may_be_told_to_rob_the_living(party, protocol, place, stale):
    one = party(on(place))
    one.do("guard = lock.acquire()")
    time.sleep(0.05)
    with sneck.Lock.at(place, stale=stale, timeout=PATIENCE) as guard:
        assert [holder.pid for holder in guard.broken] == [one.pid] and guard.clean is False
        assert one.ask("guard.held") is False
        assert refused(one, "guard.release()") == "LockLost"
        assert guard.held


@pytest.mark.parametrize("stale", ["never", "dead", "likely", 3600, timedelta(hours=1)], ids=str)
@claims
def test_the_living_are_waited_for_under_any_other_policy(party, protocol, place, stale):
    one = party(on(place))
    one.do("guard = lock.acquire()")
    with pytest.raises(sneck.LockTimeout) as caught:
        sneck.Lock.at(place, stale=stale).acquire(timeout=0.05)
    assert caught.value.holder.pid == one.pid and one.ask("guard.held") is True


@claims
def test_a_dead_ones_claim_stays_if_nothing_may_be_removed(tmp_path, protocol, place, dead):
    lock, left = sneck.Lock.at(place, stale="never"), snapshot(tmp_path)
    assert not lock.try_acquire() and lock.break_stale() is None
    for timeout in (0, 0.05):
        with pytest.raises(sneck.LockTimeout, match="stale") as caught:
            lock.acquire(timeout)
        assert caught.value.holder.pid == dead and "policy" in caught.value.advice
    assert snapshot(tmp_path) == left
    # By hand it can be.
    assert lock.force_release().pid == dead
    is_free(place)


@pytest.mark.parametrize("stale", ["dead", "likely", "force", 3600, timedelta(hours=1), None], ids=str)
@claims
def test_a_dead_ones_claim_is_removed_on_the_way_under_any_other_policy(protocol, place, dead, stale):
    with sneck.Lock.at(place, stale=stale, timeout=0) as guard:
        assert [holder.pid for holder in guard.broken] == [dead] and guard.clean is False


def test_likely_removes_what_only_speaks_against_the_holder(tmp_path):
    # In a pid namespace of its own one knows what number comes next.
    code = (
        "import os, sneck, subprocess, sys, time\n"
        f"folder, protocols = {str(tmp_path)!r}, ['pidfile', 'shlock', 'symlink', 'labm8', 'dotlock', 'mkdir']\n"
        "coming = 20\n"
        "for one in protocols:\n"
        "    path = os.path.join(folder, one)\n"
        "    if one == 'symlink': os.symlink(str(coming), path)\n"
        "    elif one == 'mkdir':\n"
        "        os.mkdir(path)\n"
        "        with open(f'{path}/{os.uname().nodename}.{coming}', 'w'): pass\n"
        "    else:\n"
        "        with open(path, 'w') as file: file.write(f'{coming} {time.time()}\\n' if one == 'labm8' else f'{coming}\\n')\n"
        "time.sleep(2.5)\n"
        "while True:\n"
        "    bearer = subprocess.Popen(['sleep', '600'])\n"
        "    if bearer.pid >= coming: break\n"
        "    bearer.kill(); bearer.wait()\n"
        "assert bearer.pid == coming\n"
        "for one in protocols:\n"
        "    told = []\n"
        "    for stale in ('never', 'dead', 'likely'):\n"
        "        removed = sneck.Lock(os.path.join(folder, one), protocol=one, stale=stale).break_stale()\n"
        "        told.append(removed and removed.pid)\n"
        "    print(one, told)\n"
        "bearer.kill()\n"
    )
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        sys.executable,
    ]
    ended = subprocess.run(command + ["-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [f"{one} [None, None, 20]" for one in CLAIMS]


# protocol: what makes no sense there.
DAMAGED = {
    "pidfile": [b"", b"0\n", b"99999999999999999999\n"],
    "shlock": [b"", b"-5\n"],
    "labm8": [b"", b"99999999999999999999 1.5\n"],
    "dotlock": [b"-5\n", b"99999999999999999999\n"],
    "symlink": ["0", "99999999999999999999"],
}


def put(path, what):
    """bytes: a file; a text: a link; a callable makes it."""
    if callable(what):
        what(path)
    elif isinstance(what, str):
        os.symlink(what, path)
    else:
        with open(path, "wb") as file:
            file.write(what)


@pytest.mark.parametrize("protocol, what", [(one, what) for one, all_ in DAMAGED.items() for what in all_], ids=str)
def test_a_damaged_claim_is_waited_for_and_then_an_error_and_left_alone(tmp_path, protocol, what, place):
    lock = sneck.Lock.at(place)
    put(lock.path, what)
    before = snapshot(tmp_path)
    assert lock.locked() and lock.break_stale() is None
    for call in (lambda: lock.acquire(0), lambda: lock.acquire(0.05), lock.try_acquire, lock.holder):
        with pytest.raises(sneck.DamagedClaim, match="damaged") as caught:
            call()
        error = caught.value
        assert (error.path, error.place, error.holder) == (lock.path, place, None)
        assert "by force" in error.advice and error.advice in str(error) and lock.path in str(error)
    assert snapshot(tmp_path) == before and not lock.held
    # Whoever knows that nobody uses it may.
    assert lock.force_release().pid is None
    is_free(place)


def folder_with_things(path):
    os.mkdir(path)
    for name in ("a", "b"):
        put(os.path.join(path, name), name.encode())


FOREIGN = {
    "a file": b"somebody's work\n",
    "a folder": folder_with_things,
    "a link": "/nonexistent/elsewhere",
    "a FIFO": os.mkfifo,
}


@pytest.mark.parametrize("what", FOREIGN)
@files
def test_what_is_no_lock_is_refused_and_left_alone(tmp_path, protocol, place, what):
    lock = sneck.Lock.at(place, timeout=PATIENCE)
    put(lock.path, FOREIGN[what])
    before = snapshot(tmp_path)
    if what == "a file" and protocol in KERNEL:
        # Any file can be locked; what it says is nobody's business.
        is_free(place)
        assert snapshot(tmp_path) == before
        return
    told_to_rob = [
        sneck.Lock.at(place, stale=stale, timeout=0).acquire for stale in ("force", 0.0) if protocol in CLAIMS
    ]
    calls = [lock.acquire, lambda: lock.acquire(0), lock.try_acquire, lock.holder, lock.locked]
    for call in calls + [lock.break_stale, lock.force_release] + told_to_rob:
        with pytest.raises(sneck.ForeignFile) as caught:
            call()
        error = caught.value
        assert error.path == lock.path and error.place.endswith(lock.path) and error.holder is None
        assert "nothing was changed" in error.advice and error.advice in str(error) and lock.path in str(error)
    assert snapshot(tmp_path) == before and not lock.held


@pytest.mark.parametrize("other", CLAIMS)
@claims
def test_a_claim_of_another_protocol_is_waited_for_and_never_removed(tmp_path, party, protocol, other):
    kin = {"pidfile", "shlock", "dotlock"}
    if protocol == other or {protocol, other} <= kin:
        other = protocol
    path = str(tmp_path / "lock")
    one = party(on(f"{other}:{path}"))
    one.do("guard = lock.acquire()")
    before = snapshot(tmp_path)
    lock = sneck.Lock(path, protocol=protocol)
    with pytest.raises(sneck.LockTimeout) as caught:
        lock.acquire(timeout=0.05)
    holder = caught.value.holder
    assert holder.pid == one.pid == lock.holder().pid and lock.locked()
    assert snapshot(tmp_path) == before
    if protocol == other:
        assert holder.protocol is None
        return
    # Those with a number alone look like each other.
    assert {holder.protocol, other} <= kin or holder.protocol == other
    assert holder.protocol in caught.value.advice
    assert lock.break_stale() is lock.force_release() is None
    assert snapshot(tmp_path) == before
    one.do("guard.release()")
    with lock:
        assert snapshot(tmp_path) != before


@claims
def test_what_an_older_program_left_is_judged_by_its_number(tmp_path, protocol, place):
    number = dead_pid()

    def folder(path):
        os.mkdir(path)
        put(os.path.join(path, f"{os.uname().nodename}.{number}"), b"")

    contents = {"symlink": str(number), "labm8": b"%d 1.5\n" % number, "mkdir": folder}
    lock = sneck.Lock.at(place, timeout=PATIENCE)
    put(lock.path, contents.get(protocol, b"%d\n" % number))
    with lock as guard:
        assert [holder.pid for holder in guard.broken] == [number] and guard.clean is False
