"""Paths of every kind, with every name; what of them the system refuses; descriptors that are used up.

Not for: what stands at a path (`test_claims.py`).
"""

import errno
import functools
import os
import pathlib

import pytest

import sneck
from protocols import FILES, files, is_free, on, snapshot


class Where:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


@pytest.mark.parametrize(
    "name",
    ["plain", "with a blank", "ünïcødé ☂", "line\nbreak", "c\x1b[31m", "b\udcff\udc80", "-x", "flock:x", ".hidden"],
)
def test_a_path_may_be_of_any_kind_and_hold_any_name(tmp_path, party, name):
    path = str(tmp_path / name)
    forms = [path, os.fsencode(path), pathlib.Path(path), Where(path), Where(os.fsencode(path))]
    other = party(on(path))
    for protocol in ("flock", "pidfile", "symlink", "mkdir"):
        for make in (functools.partial(sneck.Lock, protocol=protocol), lambda form: at(protocol, form)):
            for form in forms:
                lock = make(form)
                assert lock.path == path and (os.listdir(tmp_path) == [] or protocol == "flock")
                with lock:
                    assert os.listdir(tmp_path) == [name]
                    assert protocol != "flock" or other.ask("lock.try_acquire()") is False
                    lock.place.encode()
                    assert lock.place.isprintable() and repr(lock).isprintable()
        if protocol == "flock":
            os.remove(path)
    assert os.listdir(tmp_path) == []


def at(protocol, form):
    form = os.fspath(form)
    scheme = f"{protocol}:"
    return sneck.Lock.at(scheme + form if isinstance(form, str) else scheme.encode() + form)


def test_entries_of_a_folder_are_paths(tmp_path):
    (tmp_path / "lock").touch()
    for folder in (str(tmp_path), os.fsencode(tmp_path)):
        with os.scandir(folder) as entries:
            assert [sneck.Lock(entry).path for entry in entries] == [str(tmp_path / "lock")]


def test_one_file_by_two_ways_is_one_lock(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    monkeypatch.chdir(tmp_path)
    for protocol in FILES:
        one, two = (sneck.Lock(f"{folder}/{protocol}", protocol=protocol) for folder in ("folder", "link/../folder"))
        with one, pytest.raises(sneck.Reentrant):
            two.acquire()
        with sneck.Lock(f"link/{protocol}", protocol=protocol), pytest.raises(sneck.Reentrant):
            one.acquire()


@pytest.mark.parametrize("wrong", [None, 3, 1.5, ["lock"], object(), Where(3), bytearray(b"lock")], ids=repr)
def test_what_is_no_path_is_a_TypeError(wrong):
    for make in (sneck.Lock, sneck.Lock.at):
        with pytest.raises(TypeError):
            make(wrong)


@files
def test_a_path_that_is_too_long_is_an_OSError(tmp_path, protocol):
    for path in (tmp_path / ("x" * 256), tmp_path / "/".join("x" * 3000) / "lock"):
        lock = sneck.Lock(path, protocol=protocol)
        for call in (lock.acquire, lock.try_acquire, lock.holder):
            with pytest.raises(sneck.LockOSError) as caught:
                call()
            error = caught.value
            assert isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
            assert error.path == error.filename == str(path) and str(tmp_path) in str(error)
        assert not lock.held
    assert not os.listdir(tmp_path)


@files
def test_a_path_with_a_zero_byte_is_a_ValueError(tmp_path, protocol):
    path = str(tmp_path / "lo\0ck")
    for make in (functools.partial(sneck.Lock, protocol=protocol), functools.partial(at, protocol)):
        for form in (path, os.fsencode(path), pathlib.Path(path)):
            with pytest.raises(sneck.InvalidLock, match="zero byte") as caught:
                make(form)
            assert isinstance(caught.value, ValueError)
    assert not os.listdir(tmp_path)


def test_what_no_path_can_say_is_a_ValueError(tmp_path):
    with pytest.raises(ValueError):
        sneck.Lock(f"{tmp_path}/\ud800")


FULL = """
import errno, resource, sys

def fill():
    global filled
    filled = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            filled.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE

def attempt(call):
    try:
        call()
    except sneck.LockOSError as error:
        return error.errno
    except sneck.LockTimeout:
        return "busy"
    lock.held and lock.release()
    return "done"

def attempts():
    return [attempt(call) for call in (lambda: lock.acquire(timeout=0), lambda: lock.acquire(timeout=0.02), lock.holder)]

def one_after_the_other():
    told = [attempts()]
    while told[-1] != ["done"] * 3:
        os.close(filled.pop())
        told.append(attempts())
        assert len(told) < 20
    return told
"""


@files
def test_without_descriptors_nothing_is_held_and_nothing_left(tmp_path, party, protocol, place):
    one = party(on(place) + FULL)
    # A kernel lock's file is there already.
    one.do("lock.acquire(timeout=0).release(); fill()")
    before = snapshot(tmp_path)
    told = one.ask("one_after_the_other()")
    assert told[0] == [errno.EMFILE] * 3, "there were descriptors"
    assert {answer for answers in told for answer in answers} == {errno.EMFILE, "done"}
    assert one.ask("lock.held, lock.held_in_this_process, lock.locked()") == (False, False, False)
    assert snapshot(tmp_path) == before
    is_free(place)


@files
def test_without_descriptors_a_wait_ends_in_good_order(tmp_path, party, protocol, place):
    one = party(on(place) + FULL)
    one.do("lock.acquire(timeout=0).release()")
    one.do("fill()")
    with sneck.Lock.at(place) as guard:
        before = snapshot(tmp_path)
        for _ in range(8):
            # To wait may take more of them than to try, and nobody gets what is held.
            assert set(one.ask("attempts()[:2]")) <= {errno.EMFILE, "busy"}
            one.do("os.close(filled.pop())")
        assert one.ask("attempts()[:2]") == ["busy"] * 2
        assert guard.held and snapshot(tmp_path) == before
    assert one.ask("lock.acquire().held") is True
