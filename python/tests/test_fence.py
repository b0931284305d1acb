"""Tokens checked at the resource: `sneck.fence`, among threads and processes, and the example that the README shows.

Not for: the lock that gives them (`test_servers.py`).
"""

import asyncio
import inspect
import os
import pathlib
import pydoc
import re
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import sneck
from party import PATIENCE, Raised
from servers import ENGINES
from sneck import fence

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "fenced_file.py"


def test_a_register_lets_nobody_in_after_a_higher_one():
    register = fence.Register(5)
    assert register.highest == 5 and fence.Register().highest == 0
    with pytest.raises(sneck.LockLost, match="4 is stale.*5"):
        register.admit(4)
    register.admit(5)
    admitted = []
    mutex = threading.Lock()

    def come(start):
        for token in range(start, 2000, 4):
            with mutex:
                try:
                    register.admit(token)
                    admitted.append(token)
                except sneck.LockLost:
                    pass

    crowd = [threading.Thread(target=come, args=(6 + number,)) for number in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert admitted == sorted(admitted) and admitted[-1] == register.highest == 1999
    assert repr(register) == "<sneck.fence.Register 1999>"


def test_a_file_is_replaced_by_whoever_has_the_highest_token(tmp_path):
    path = tmp_path / "state"
    fence.replace(path, b"seven", 7)
    fence.replace(str(path), bytearray(b"seven again"), 7)
    fence.replace(os.fsencode(path), memoryview(b"nine"), token=9)
    with pytest.raises(sneck.LockLost, match="7 is stale.*9") as caught:
        fence.replace(path, b"late", 7)
    assert caught.value.path == str(path) and "begin again" in caught.value.advice
    assert path.read_bytes() == b"nine"
    assert sorted(os.listdir(tmp_path)) == ["state", "state.fence", "state.token"]
    (tmp_path / "state.token").write_text("nine")
    with pytest.raises(sneck.DamagedClaim):
        fence.replace(path, b"ten", 10)
    assert path.read_bytes() == b"nine"


def test_a_file_keeps_its_permissions_and_links_stay_as_they_are(tmp_path):
    path, other = tmp_path / "state", tmp_path / "other"
    path.write_bytes(b"")
    path.chmod(0o640)
    fence.replace(path, b"one", 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and path.read_bytes() == b"one"
    other.write_bytes(b"other")
    link = tmp_path / "link"
    link.symlink_to(other)
    # What somebody planted where the new content is written first.
    (tmp_path / ".link.sneck-draft").symlink_to(other)
    fence.replace(link, b"own", 1)
    assert not link.is_symlink() and link.read_bytes() == b"own" and other.read_bytes() == b"other"


def test_what_is_no_token_no_content_or_no_file_is_refused(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(TypeError, match="gives no token"), sneck.Lock(tmp_path / "lock") as guard:
        fence.replace(path, b"", guard.token)
    with pytest.raises(TypeError, match="gives no token"):
        fence.Register().admit(None)
    for data in ["text", None, 7]:
        with pytest.raises(TypeError):
            fence.replace(path, data, 1)
    with pytest.raises(OverflowError):
        fence.replace(path, b"", -1)
    with pytest.raises(sneck.ForeignFile):
        fence.replace(tmp_path, b"", 1)
    with pytest.raises(sneck.CannotCreate):
        fence.replace(tmp_path / "missing" / "state", b"", 1)
    assert os.listdir(tmp_path) == ["lock"]


def test_of_many_processes_the_highest_token_is_what_stays(tmp_path, party):
    path = tmp_path / "state"
    crowd = [party("import sneck; from sneck import fence") for _ in range(3)]
    for number, one in enumerate(crowd):
        one.do(
            "def come():\n"
            "    refused = 0\n"
            f"    for token in range(1 + {number}, 91, 3):\n"
            "        try:\n"
            f"            fence.replace({str(path)!r}, b'%05d' % token * 1000, token)\n"
            "        except sneck.LockLost:\n"
            "            refused += 1\n"
            "    return refused"
        )
        one.begin("come()")
    while not path.exists():
        time.sleep(0.001)
    for _ in range(100):
        seen = path.read_bytes()
        assert seen == seen[:5] * 1000
    for one in crowd:
        one.answer()
    assert path.read_bytes() == b"00090" * 1000


def test_whoever_waits_for_another_writer_can_give_up(tmp_path, party):
    path = tmp_path / "state"
    with sneck.Lock(f"{path}.fence"):
        one = party("from sneck import fence")
        with pytest.raises(Raised, match="LockTimeout"):
            one.do(f"fence.replace({str(path)!r}, b'', 1, timeout=0)")
        one.begin(f"fence.replace({str(path)!r}, b'', 1)")
        one.must_block()
        one.process.send_signal(signal.SIGINT)
        with pytest.raises(Raised, match="KeyboardInterrupt"):
            one.answer()
    assert not path.exists()
    one.do(f"fence.replace({str(path)!r}, b'x', 1)")


def test_the_module_says_what_it_is():
    text = pydoc.plain(pydoc.render_doc(fence))
    assert "Checking fencing tokens" in text
    assert sneck.fence is fence and fence.Register.__doc__ and fence.replace.__doc__
    assert sneck.LockLost.__doc__ and "stale" in sneck.LockLost.__doc__


@pytest.mark.parametrize("what", [sneck, fence, sneck.Guard], ids=["sneck", "fence", "Guard"])
def test_what_the_documentation_shows_runs(what, tmp_path, servers, monkeypatch, capsys):
    shown = inspect.getdoc(what).replace("etcd://localhost", servers("etcd").place("")[:-1])
    blocks = re.findall(r"(?m)(?:^    .*\n(?:\n(?=    ))*)+", shown + "\n")
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(textwrap.dedent(block), {})
    assert capsys.readouterr().out == ""


def test_what_the_readme_shows_runs(tmp_path, servers, monkeypatch, capsys):
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    section = readme.read_text(encoding="utf-8").split("## Servers")[1].split("\n## ")[0]
    blocks = [block.split("```")[0] for block in section.split("```python\n")[1:]]
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(block.replace("etcd://localhost", servers("etcd").place("")[:-1]), names)
    assert (tmp_path / "report.txt").read_bytes() == b"step 2" and capsys.readouterr().out == ""
    done = []

    async def job(token):
        done.append(token)

    asyncio.run(names["task"](job))
    assert done and done[0] > 0 and not names["lock"].held

    async def endless(token):
        robber = threading.Thread(target=sneck.Lock(names["lock"].place).force_release)
        robber.start()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            done.append("cancelled")
            robber.join()

    names["lock"] = sneck.Lock(names["lock"].place, ttl=1.5, lock_delay=0.5)
    with pytest.raises(sneck.LockLost):
        asyncio.run(names["task"](endless))
    assert done[1:] == ["cancelled"]


def example(place, path, seconds, **options):
    command = [sys.executable, "-u", str(EXAMPLE), place, str(path), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_example_does_its_steps(tmp_path, at_server, engine):
    with example(at_server, tmp_path / "report", 0.01) as program:
        said, told = program.communicate(timeout=PATIENCE)
    assert (program.returncode, told) == (0, "")
    assert re.fullmatch(r"holds it with the token \d+\nstep 1\nstep 2\nstep 3\n", said)
    assert (tmp_path / "report").read_bytes() == b"step 3"
    assert sneck.Lock(at_server).try_acquire()


def test_the_example_that_was_stopped_for_too_long_writes_nothing_after_the_next_one(tmp_path, servers):
    place, path = servers("redis").place("stopped"), tmp_path / "report"
    with example(place + "?ttl=1500ms&lock-delay=500ms", path, 1) as program:
        try:
            assert program.stdout.readline().startswith("holds it with the token")
            assert program.stdout.readline() == "step 1\n"
            program.send_signal(signal.SIGSTOP)
            with sneck.Lock(place, timeout=PATIENCE) as guard:
                fence.replace(path, b"the next one", guard.token)
                program.send_signal(signal.SIGCONT)
                _, told = program.communicate(timeout=PATIENCE)
            assert program.returncode == 76 and told.startswith("lost: ")
            assert path.read_bytes() == b"the next one"
        finally:
            program.kill()
