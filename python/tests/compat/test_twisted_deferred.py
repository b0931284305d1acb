"""Waiting in a Twisted program: our DeferredFilesystemLock by a clock of its own and in a real reactor; the faults of Twisted's are seen there.

Not for: the lock itself (test_twisted.py, test_twisted_faults.py).
"""

import os

import pytest
from twisted.internet import defer, task

import sneck.compat.twisted as ours
from party import stays
from twisted_sides import OURS, SIDES, at

SIDE = pytest.mark.parametrize(
    "side", [defer.DeferredFilesystemLock, ours.DeferredFilesystemLock], ids=["stock", "ours"]
)


class Waiting:
    """A lock of this side that waits by a clock, the lock in its way, and what came of each wait."""

    def __init__(self, side, path):
        self.path = str(path)
        self.clock = task.Clock()
        self.lock = side(self.path, scheduler=self.clock)
        # Held by a process that lives: this one.
        os.symlink(str(os.getpid()), self.path)
        self.came = []

    def wait(self, **options):
        deferred = self.lock.deferUntilLocked(**options)
        deferred.addCallbacks(self.came.append, lambda failure: self.came.append(failure.type))
        return deferred

    def is_idle(self):
        return self.lock._tryLockCall is None and self.lock._timeoutCall is None and not self.clock.getDelayedCalls()


@pytest.fixture
def waiting(tmp_path):
    return Waiting(ours.DeferredFilesystemLock, tmp_path / "lock")


def test_it_tries_at_once_and_then_at_each_interval(waiting):
    os.remove(waiting.path)
    waiting.wait()
    assert waiting.came == [None] and waiting.lock.locked and waiting.is_idle()
    waiting.lock.unlock()
    os.symlink(str(os.getpid()), waiting.path)
    waiting.lock._interval = 3
    waiting.wait()
    waiting.clock.advance(2.9)
    os.remove(waiting.path)
    assert len(waiting.came) == 1 and waiting.lock._tryLockCall.getTime() == 3
    waiting.clock.advance(0.1)
    assert waiting.came == [None, None] and waiting.lock.locked and waiting.is_idle()


def test_at_the_timeout_it_tries_once_more(waiting):
    waiting.wait(timeout=5.5)
    waiting.clock.pump([1] * 5)
    os.remove(waiting.path)
    waiting.clock.advance(0.5)
    assert waiting.came == [None] and waiting.is_idle()


def test_the_time_is_counted_from_the_call_and_the_error_says_it(waiting):
    deferred = waiting.lock.deferUntilLocked(timeout=2.5)
    waiting.clock.pump([1, 1])
    assert not deferred.called
    waiting.clock.advance(0.5)
    failures = []
    deferred.addErrback(failures.append)
    error = failures[0].value
    assert type(error) is defer.TimeoutError is ours.TimeoutError
    assert str(error) == f"Timed out acquiring lock: {waiting.path} after 2.500000s"


@SIDE
def test_with_no_time_at_all_it_tries_twice(tmp_path, side):
    waiting = Waiting(side, tmp_path / "lock")
    waiting.wait(timeout=0)
    assert waiting.came == []
    waiting.clock.advance(0)
    assert waiting.came == [defer.TimeoutError]


def test_who_waits_already_is_told_and_goes_on_waiting(waiting):
    waiting.wait()
    waiting.wait()
    assert (
        waiting.came == [defer.AlreadyTryingToLockError]
        and ours.AlreadyTryingToLockError is defer.AlreadyTryingToLockError
    )
    os.remove(waiting.path)
    waiting.clock.advance(1)
    assert waiting.came[1:] == [None]


@SIDE
def test_after_a_timeout_the_object_can_wait_again_and_Twisted_s_cannot(tmp_path, side):
    waiting = Waiting(side, tmp_path / "lock")
    for _ in range(2):
        waiting.wait(timeout=2)
        waiting.clock.pump([1] * 4)
    if side is ours.DeferredFilesystemLock:
        assert waiting.came == [defer.TimeoutError] * 2 and waiting.is_idle()
        waiting.wait(timeout=5)
        os.remove(waiting.path)
        waiting.clock.advance(1)
        assert waiting.came[2:] == [None]
    else:
        # No timer runs the second time; when the lock comes free it is taken, and nobody hears of it.
        os.remove(waiting.path)
        with pytest.raises(Exception, match="[Aa]lready"):
            waiting.clock.advance(1)
        assert waiting.came == [defer.TimeoutError] and waiting.lock.locked
    assert os.readlink(waiting.path) == str(os.getpid())


@SIDE
def test_what_the_first_try_raises_is_a_failure_and_Twisted_raises_it(tmp_path, side):
    waiting = Waiting(side, tmp_path / "lock")
    waiting.lock.name = str(tmp_path / "missing" / "lock")
    if side is ours.DeferredFilesystemLock:
        waiting.wait(timeout=3)
        assert waiting.came == [FileNotFoundError] and waiting.is_idle()
    else:
        with pytest.raises(FileNotFoundError):
            waiting.wait(timeout=3)


@SIDE
def test_what_a_retry_raises_is_a_failure_and_with_Twisted_it_is_lost(tmp_path, side):
    waiting = Waiting(side, tmp_path / "lock")
    waiting.wait(timeout=3)
    os.remove(waiting.path)
    os.mkdir(waiting.path)
    if side is ours.DeferredFilesystemLock:
        waiting.clock.advance(1)
        assert waiting.came == [OSError] and waiting.is_idle()
        os.rmdir(waiting.path)
        waiting.wait()
        assert waiting.came[1:] == [None]
    else:
        with pytest.raises(OSError):
            waiting.clock.advance(1)
        # Instead of the timeout, too, something is raised where nobody hears it; and the object says for ever that it waits.
        with pytest.raises(Exception, match="[Aa]lready"):
            waiting.clock.advance(2)
        os.rmdir(waiting.path)
        waiting.wait()
        assert waiting.came == [defer.AlreadyTryingToLockError]


def test_what_the_last_try_raises_goes_before_the_timeout(waiting):
    waiting.wait(timeout=0.5)
    os.remove(waiting.path)
    os.mkdir(waiting.path)
    waiting.clock.advance(0.5)
    assert waiting.came == [OSError] and waiting.is_idle()


@pytest.mark.parametrize("options", [{}, {"timeout": 5}], ids=["without a timeout", "with one"])
@pytest.mark.parametrize("waited", [0, 1, 4], ids=["at once", "after a retry", "after several"])
def test_cancelled_while_it_waits_it_takes_nothing_and_can_be_used_again(waiting, options, waited):
    deferred = waiting.wait(**options)
    waiting.clock.pump([1] * waited)
    deferred.cancel()
    assert waiting.came == [defer.CancelledError] and waiting.is_idle() and not waiting.lock.locked
    os.remove(waiting.path)
    waiting.clock.advance(10)
    assert not os.path.lexists(waiting.path)
    waiting.wait(**options)
    assert waiting.came[1:] == [None] and waiting.is_idle()


@SIDE
def test_cancelled_when_the_lock_has_just_come_free_it_takes_nothing_and_Twisted_s_succeeds(tmp_path, side):
    waiting = Waiting(side, tmp_path / "lock")
    deferred = waiting.wait()
    os.remove(waiting.path)
    deferred.cancel()
    if side is ours.DeferredFilesystemLock:
        assert waiting.came == [defer.CancelledError] and not os.path.lexists(waiting.path)
    else:
        assert waiting.came == [None] and os.path.lexists(waiting.path)


def test_cancelled_after_it_fired_it_changes_nothing(waiting):
    deferred = waiting.wait(timeout=2)
    waiting.clock.pump([1, 1])
    deferred.cancel()
    assert waiting.came == [defer.TimeoutError]
    os.remove(waiting.path)
    deferred = waiting.wait()
    deferred.cancel()
    assert waiting.came == [defer.TimeoutError, None] and waiting.lock.locked
    assert os.readlink(waiting.path) == str(os.getpid())


def test_one_that_failed_for_a_second_call_can_be_cancelled_and_the_first_goes_on(waiting):
    waiting.wait()
    waiting.wait().cancel()
    assert waiting.came == [defer.AlreadyTryingToLockError] and waiting.lock._tryLockCall.active()


def test_whoever_is_called_back_may_wait_again(waiting):
    def again(_):
        waiting.lock.unlock()
        return waiting.wait()

    waiting.lock.deferUntilLocked(timeout=5).addCallback(again)
    os.remove(waiting.path)
    waiting.clock.advance(1)
    assert waiting.came == [None] and waiting.lock.locked and waiting.is_idle()


def test_a_scheduler_that_refuses_is_a_failure_and_leaves_nothing_due(waiting):
    later = waiting.clock.callLater

    def refuse(delay, *arguments, **keywords):
        if delay == 1:
            raise ValueError(delay)
        return later(delay, *arguments, **keywords)

    waiting.clock.callLater = refuse
    waiting.wait(timeout=5)
    assert waiting.came == [ValueError] and waiting.is_idle()


# A real reactor, in processes of their own: it can be run once only.
STORY = """
from twisted.internet import defer, reactor, task
from DEFERRED import DeferredFilesystemLock

waiter = DeferredFilesystemLock(lock.name)
waiter._interval = 0.02
assert waiter._scheduler is reactor
beats = []
task.LoopingCall(lambda: beats.append(1)).start(0.01)

def run(deferred):
    came = []

    def done(result):
        came.append(getattr(result, "type", type(None)).__name__)
        reactor.stop()

    deferred.addBoth(done)
    reactor.run()
    return came[0]

def first_in_vain(**options):
    return waiter.deferUntilLocked(timeout=0.05).addErrback(lambda _: waiter.deferUntilLocked(**options))
"""
DEFERREDS = {"stock": "twisted.internet.defer", "ours": "sneck.compat.twisted"}


def waiter(party, path, side):
    return party(at(path, SIDES[side]) + STORY.replace("DEFERRED", DEFERREDS[side], 1))


@pytest.mark.parametrize("holder", SIDES)
def test_in_a_reactor_it_waits_for_another_process_and_the_reactor_runs_meanwhile(tmp_path, party, holder):
    path = tmp_path / "lock"
    other, one = party(at(path, SIDES[holder])), waiter(party, path, "ours")
    assert other.ask("lock.lock()") is True
    one.begin("(run(first_in_vain(timeout=600)), len(beats) > 1, waiter.clean)")
    one.must_block()
    other.do("lock.unlock()")
    assert one.answer() == ("NoneType", True, True)
    assert os.readlink(path) == str(one.pid) and other.ask("lock.lock()") is False


def test_in_a_reactor_Twisted_s_takes_the_lock_after_a_timeout_and_never_says_so(tmp_path, party):
    path = tmp_path / "lock"
    other, one = party(at(path, OURS)), waiter(party, path, "stock")
    assert other.ask("lock.lock()") is True
    one.begin("run(first_in_vain(timeout=600))")
    one.must_block()
    other.do("lock.unlock()")
    while not os.path.lexists(path):
        one.must_block(0.01)
    assert os.readlink(path) == str(one.pid)
    one.must_block()


def test_in_a_reactor_a_killed_holder_s_lock_comes_to_the_waiter(tmp_path, party):
    path = tmp_path / "lock"
    other, one = party(at(path, OURS)), waiter(party, path, "ours")
    assert other.ask("lock.lock()") is True
    one.begin("(run(waiter.deferUntilLocked()), waiter.clean)")
    one.must_block()
    other.kill()
    assert one.answer() == ("NoneType", False)


def test_in_a_reactor_a_cancelled_one_holds_nothing(tmp_path, party):
    path = tmp_path / "lock"
    other, one = party(at(path, OURS)), waiter(party, path, "ours")
    assert other.ask("lock.lock()") is True
    one.do("deferred = waiter.deferUntilLocked(timeout=600)")
    one.do("reactor.callLater(0.05, deferred.cancel)")
    assert one.ask("(run(deferred), waiter.locked)") == ("CancelledError", False)
    assert os.readlink(path) == str(other.pid)


JOURNALLED = """
def turns(count, journal):
    @defer.inlineCallbacks
    def all_of_them():
        for _ in range(count):
            yield waiter.deferUntilLocked()
            enter(journal)
            yield task.deferLater(reactor, 0.001)
            leave(journal)
            waiter.unlock()

    return run(task.deferLater(reactor, 0, all_of_them))
"""


def test_reactors_of_both_sides_take_turns_and_are_never_inside_at_once(tmp_path, party):
    path, journal = tmp_path / "lock", tmp_path / "journal"
    sides = ["stock", "ours", "ours"]
    reactors = [waiter(party, path, side) for side in sides]
    for one in reactors:
        one.do(JOURNALLED + "waiter._interval = 0.002")
        one.begin(f"turns(30, {str(journal)!r})")
    assert [one.answer() for one in reactors] == ["NoneType"] * 3
    assert stays(journal) == 90
