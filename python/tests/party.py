"""Other processes, for tests: a party is told in Python what to do, and says what came of it.

Not for: what is tested; nothing here knows a lock. `journal` is what parties write to show when they were inside.
"""

import ast
import base64
import os
import select
import signal
import subprocess
import sys
import time

# A machine that is busy may be slow; one that hangs is told apart by this.
PATIENCE = 60

_LOOP = """
import base64, sys
_out = sys.stdout
sys.stdout = sys.stderr
_names = {"__name__": "__main__"}
for _line in sys.stdin:
    _code, _evaluate = base64.b64decode(_line[1:]).decode(), _line[0] == "e"
    try:
        _value = eval(_code, _names) if _evaluate else exec(_code, _names)
        _answer = ("ok", _value)
    except BaseException as _error:
        _answer = ("raised", type(_error).__name__, str(_error))
    _out.write(base64.b64encode(repr(_answer).encode()).decode() + "\\n")
    _out.flush()
"""


class Raised(Exception):
    """What was asked of a party raised there: `kind` is the exception's name."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Party:
    """A process that does what it is told.

    `do(code)` runs statements, `ask(code)` gives the value of an expression (made of literals), `begin(code)` asks and does not wait: then
    `must_block()` sees that it does not answer, and `answer()` waits until it does.
    """

    def __init__(self, setup="", python=sys.executable, cwd=None, env=None):
        self.process = subprocess.Popen(
            [python, "-c", _LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd, env=env, text=True, bufsize=1
        )
        if setup:
            self.do(setup)

    @property
    def pid(self):
        return self.process.pid

    def _send(self, kind, code):
        self.process.stdin.write(kind + base64.b64encode(code.encode()).decode() + "\n")
        self.process.stdin.flush()

    def do(self, code):
        self._send("x", code)
        return self.answer()

    def ask(self, code):
        self._send("e", code)
        return self.answer()

    def begin(self, code):
        self._send("e", code)

    def answer(self, patience=PATIENCE):
        if not select.select([self.process.stdout], [], [], patience)[0]:
            raise AssertionError("a party does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"a party ended: {self.process.wait(PATIENCE)}")
        answer = ast.literal_eval(base64.b64decode(line).decode())
        if answer[0] == "raised":
            raise Raised(*answer[1:])
        return answer[1]

    def must_block(self, seconds=0.3):
        """No answer comes for a while."""
        assert not select.select([self.process.stdout], [], [], seconds)[0], "it does not wait"

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def end(self):
        """Let it come to its orderly end."""
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


def dead_pid():
    """The number of a process that has ended and is reaped."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(PATIENCE)
    return process.pid


def enter(journal, who=None):
    _note(journal, who, "enter")


def leave(journal, who=None):
    _note(journal, who, "leave")


def _note(journal, who, what):
    line = f"{who or os.getpid()} {what} {time.monotonic_ns()}\n".encode()
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def stays(journal):
    """How many stays a journal tells of, after seeing that no two of them overlap."""
    since, found = {}, []
    with open(journal) as lines:
        for line in lines:
            who, what, when = line.split()
            if what == "enter":
                since[who] = int(when)
            else:
                found.append((since.pop(who), int(when), who))
    found.sort()
    for (_, end, one), (start, _, other) in zip(found, found[1:]):
        assert end <= start, f"{one} and {other} were inside at once"
    return len(found)
