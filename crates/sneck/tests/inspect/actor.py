"""One process that locks as it is told: it evaluates each line that it reads, and answers `@ done RESULT`.

It ends when its input does; so do its children, which never read: they only wait for the hang-up.
"""

import fcntl
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading

OFD_SETLK, OFD_SETLKW = 37, 38
SETLEASE = 1024


def opened(path):
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def descriptor(where):
    return where if isinstance(where, int) else opened(where)


def flock(where, mode="x"):
    fd = descriptor(where)
    fcntl.flock(fd, fcntl.LOCK_EX if mode == "x" else fcntl.LOCK_SH)
    return fd


def record(command, where, mode, start, length):
    fd = descriptor(where)
    kind = {"x": fcntl.F_WRLCK, "s": fcntl.F_RDLCK, "-": fcntl.F_UNLCK}[mode]
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))
    return fd


def posix(where, mode="x", start=0, length=0):
    return record(fcntl.F_SETLKW, where, mode, start, length)


def ofd(where, mode="x", start=0, length=0):
    return record(OFD_SETLKW, where, mode, start, length)


def lease(path, mode="x"):
    fd = opened(path) if mode == "x" else os.open(path, os.O_RDONLY)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(fd, SETLEASE, fcntl.F_WRLCK if mode == "x" else fcntl.F_RDLCK)
    return fd


def each(how, paths):
    return len([how(path) for path in paths])


def until_hangup():
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    os._exit(0)


def child(work=None):
    """A child that has all our descriptors, does this work if any, and stays."""
    pid = os.fork()
    if pid == 0:
        if work:
            # What it waits for may never come.
            signal.signal(signal.SIGIO, lambda *_: os._exit(0))
            fcntl.fcntl(0, 10, signal.SIGIO)
            work()
        until_hangup()
    return pid


def receive(path):
    """Wait at a socket of this name for one descriptor, and keep it."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    connection = listening.accept()[0]
    return socket.recv_fds(connection, 1, 1)[1]


def send(path, fd):
    """Hand a descriptor over to whoever receives there."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    socket.send_fds(connection, [b"x"], [fd])


def float_away(fd):
    """Send a descriptor that nobody receives, and close our own."""
    ends.extend(socket.socketpair())
    socket.send_fds(ends[0], [b"x"], [fd])
    os.close(fd)


ends = []


def threads(count):
    for _ in range(count):
        threading.Thread(target=until_hangup, daemon=True).start()


def say(*words):
    print("\n@", *words, flush=True)


def main():
    # Without --mount-proc that is the number that others see.
    own = os.readlink("/proc/self")
    for line in sys.stdin:
        line = line.rstrip("\n")
        say("pid", own) if line == "pid" else say("done", eval(line))


main()
