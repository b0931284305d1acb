"""A re-enactment of PEAK's lock files, for the tests of `sneck.compat.peak` to meet: **not PEAK, and not for use**.

PEAK runs on Python 2 only. This takes the steps that PEAK's `SHLockFile`, `FLockFile` and `NullLockFile` are known to
take, in their order and with their faults, so that the faults can be seen and the two can exclude each other.
`between` is called between two steps with a word; a test puts something there that waits, and so another party
comes in between.
"""

import errno
import fcntl
import os
import threading
import time

SECONDS = [*range(1, 16)]


def between(step):
    """made: the temporary file is there; taken: the name was; judged: its process is dead."""


def pid_exists(pid):
    if pid < 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_lock(fn):
    with open(fn) as file:
        return pid_exists(int(file.read().strip()))


def make_tempfile(fn, pid):
    name = os.path.join(os.path.dirname(fn), f"shlock{pid}")
    while True:
        try:
            made = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            os.unlink(name)
            continue
        os.write(made, b"%d\n" % pid)
        os.close(made)
        return name


class _Common:
    """A lock for the threads around the other one, and a flag."""

    def __init__(self, fn=""):
        self.fn = os.path.abspath(fn)
        self.thread, self.flag = threading.Lock(), False

    def attempt(self):
        return self.thread.acquire(blocking=False) and self._with_thread(self.take)

    def obtain(self):
        self.thread.acquire()
        self._with_thread(self.wait)

    def _with_thread(self, step):
        got = False
        try:
            got = step()
        finally:
            if not got:
                self.thread.release()
        return got

    def release(self):
        self.give_back()
        self.flag = False
        self.thread.release()

    def locked(self):
        return self.flag


class SHLockFile(_Common):
    def take(self):
        temporary = make_tempfile(self.fn, os.getpid())
        between("made")
        while True:
            try:
                os.link(temporary, self.fn)
                os.unlink(temporary)
                self.flag = True
                return True
            except FileExistsError:
                between("taken")
                if check_lock(self.fn):
                    os.unlink(temporary)
                    self.flag = False
                    return False
                between("judged")
                os.unlink(self.fn)
            except OSError:
                os.unlink(temporary)
                raise

    def wait(self):
        for seconds in SECONDS:
            if self.take():
                return True
            time.sleep(seconds)
        while not self.take():
            time.sleep(SECONDS[-1])
        return True

    def give_back(self):
        os.unlink(self.fn)


class FLockFile(_Common):
    def take(self, how=fcntl.LOCK_NB):
        self.fd = os.open(self.fn, os.O_RDWR | os.O_CREAT, 0o600)
        # Python 2 has no other kind.
        os.set_inheritable(self.fd, True)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | how)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
            os.close(self.fd)
            del self.fd
            self.flag = False
            return False
        os.ftruncate(self.fd, 0)
        os.write(self.fd, b"%d\n" % os.getpid())
        self.flag = True
        return True

    def wait(self):
        return self.take(0)

    def give_back(self):
        os.ftruncate(self.fd, 0)
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)
        del self.fd


class NullLockFile(_Common):
    def take(self):
        return True

    wait = take

    def give_back(self):
        pass
