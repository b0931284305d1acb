"""sneck beside its peers, in one run: an uncontended `with`, a hand-over with a timeout, tasks, import time, size.

    python python/benches/peers.py [with|hand-over|tasks|import|size …]

Each figure is a median of rounds in which the peers take turns, so that a slow moment of the machine meets all of them. Peers that are
not installed are an error: scripts/bench installs them. Not for: passing or failing on a figure, nor for comparing two machines.
"""

import importlib.metadata
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

# How each peer is imported, how a lock is made, how it is taken with a timeout. `path` is a name in both.
PEERS = {
    "os.open + flock + os.close": (
        "import os, fcntl",
        """
class Bare:
    def __enter__(self):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
    def __exit__(self, *_):
        os.close(self.fd)
lock = waiting = Bare()
""",
    ),
    "sneck": ("import sneck", "lock = sneck.Lock(path); waiting = sneck.Lock(path, timeout=60)"),
    "sneck.compat.locket": (
        "from sneck.compat import locket",
        "lock = locket.lock_file(path); waiting = locket.lock_file(path, timeout=60)",
    ),
    "filelock": ("import filelock", "lock = filelock.FileLock(path); waiting = filelock.FileLock(path, timeout=60)"),
    "portalocker": (
        "import portalocker",
        "lock = portalocker.Lock(path, timeout=0, fail_when_locked=True); waiting = portalocker.Lock(path, timeout=60)",
    ),
    # Its lock takes no timeout by `with`.
    "fasteners": (
        "import fasteners",
        """
class Waiting:
    def __enter__(self):
        self.lock = fasteners.InterProcessLock(path)
        assert self.lock.acquire(timeout=60)
    def __exit__(self, *_):
        self.lock.release()
lock = fasteners.InterProcessLock(path); waiting = Waiting()
""",
    ),
    "locket": ("import locket", "lock = locket.lock_file(path); waiting = locket.lock_file(path, timeout=60)"),
    "pylockfile (LinkLockFile)": (
        "import lockfile",
        """
class Waiting:
    def __enter__(self):
        self.lock = lockfile.LockFile(path)
        self.lock.acquire(timeout=60)
    def __exit__(self, *_):
        self.lock.release()
lock = lockfile.LockFile(path); waiting = Waiting()
""",
    ),
    "Twisted (FilesystemLock)": (
        "from twisted.python import lockfile",
        """
class Twisted:
    def __enter__(self):
        self.lock = lockfile.FilesystemLock(path)
        assert self.lock.lock()
    def __exit__(self, *_):
        self.lock.unlock()
lock = waiting = Twisted()
""",
    ),
}

# Waits for a line, takes the lock, says when it had it, waits for a line, releases.
TAKER = """
import sys, time
{imports}
path = sys.argv[1]
{make}
print("ready", flush=True)
for _ in sys.stdin:
    print("going", flush=True)
    with waiting:
        had = time.monotonic_ns()
    print(had, flush=True)
"""
# The same for a lock that gives a Deferred: its retries belong to a reactor.
DEFERRED = """
import sys, time
from twisted.internet import defer, reactor, task, threads
path = sys.argv[1]
@defer.inlineCallbacks
def turns(reactor):
    print("ready", flush=True)
    while (yield threads.deferToThread(sys.stdin.readline)):
        print("going", flush=True)
        lock = defer.DeferredFilesystemLock(path)
        yield lock.deferUntilLocked(timeout=60)
        had = time.monotonic_ns()
        lock.unlock()
        print(had, flush=True)
task.react(turns)
"""


def with_statement(folder, rounds=15, turns=1000):
    """Microseconds for `with lock: pass` that nobody else wants, in a process of its own a peer."""
    code = "import sys, time\n{imports}\npath = sys.argv[1]\n{make}\ndef turn():\n    with lock: pass\n"
    code += "for _ in range(50): turn()\n"
    code += "print('ready', flush=True)\nfor line in sys.stdin:\n    start = time.perf_counter()\n"
    code += "    for _ in range(int(line)): turn()\n    print(time.perf_counter() - start, flush=True)\n"
    parties = {
        name: start(code.format(imports=i, make=m), folder / f"{at}.lock")
        for at, (name, (i, m)) in enumerate(PEERS.items())
    }
    took = {name: [] for name in parties}
    for _ in range(rounds):
        for name, party in parties.items():
            # Enough of the slow ones, and not for ever.
            share = turns if "os.open" in name or "sneck" in name else turns // 10
            tell(party, share)
            took[name].append(float(hear(party)) / share * 1e6)
    end(parties.values())
    medians = {name: statistics.median(times) for name, times in took.items()}
    bare, ours = medians["os.open + flock + os.close"], medians["sneck"]
    table(
        "an uncontended `with`",
        ["us", "of the bare calls", "of sneck"],
        {n: [f"{m:.2f}", f"{m / bare:.2f}", f"{m / ours:.1f}"] for n, m in medians.items()},
    )


def hand_over(folder, rounds=25):
    """From the release by one process to the moment when another one, which waits with a timeout, has it."""
    rows = {}
    peers = dict(PEERS)
    del peers["Twisted (FilesystemLock)"]
    takers = {name: TAKER.format(imports=i, make=m) for name, (i, m) in peers.items()}
    takers["Twisted (DeferredFilesystemLock)"] = DEFERRED
    peers["Twisted (DeferredFilesystemLock)"] = PEERS["Twisted (FilesystemLock)"]
    for name, taker in takers.items():
        path = folder / f"hand-over-{len(rows)}.lock"
        names = {"path": str(path)}
        exec("\n".join(peers[name]), names)
        party = start(taker, path)
        took = []
        for _ in range(rounds if "Twisted" not in name else 5):
            with names["lock"]:
                tell(party, "")
                assert hear(party) == "going"
                # It waits by now; and those that look now and then are met at any point between two looks.
                time.sleep(0.05 + random.random() * (0.1 if "Twisted" not in name else 1))
                released = time.monotonic_ns()
            took.append((int(hear(party)) - released) / 1e3)
        end([party])
        rows[name] = statistics.median(took), max(took)
    ours = rows["sneck"][0]
    shown = {name: [f"{middle:.0f}", f"{most:.0f}", f"{middle / ours:.1f}"] for name, (middle, most) in rows.items()}
    table("a hand-over, with a timeout (the bare calls have none)", ["us, median", "us, most", "of sneck"], shown)


def tasks(folder, count=1000, rounds=5):
    """Microseconds a task, of a thousand that all want one lock of one event loop."""
    body = "import asyncio, time\n{imports}\nasync def main():\n    {make}\n    async def turn():\n        async with lock:\n            await asyncio.sleep(0)\n"
    body += f"    start = time.perf_counter()\n    await asyncio.gather(*(turn() for _ in range({count})))\n    print((time.perf_counter() - start) / {count} * 1e6)\nasyncio.run(main())\n"
    path = str(folder / "tasks.lock")
    makes = {
        "asyncio.Lock": ("", "lock = asyncio.Lock()"),
        "sneck": ("import sneck", f"lock = sneck.Lock({path!r})"),
        "sneck, memory": ("import sneck", "lock = sneck.Lock('tasks', protocol='memory')"),
    }
    rows = {}
    for _ in range(rounds):
        for name, (imports, make) in makes.items():
            rows.setdefault(name, []).append(float(run(body.format(imports=imports, make=make))))
    table(
        f"{count} tasks on one lock",
        ["us a task"],
        {name: [f"{statistics.median(times):.1f}"] for name, times in rows.items()},
    )


def import_time(_folder, rounds=11):
    """Milliseconds that `import` takes in a fresh process with warm files."""
    modules = [
        "sneck",
        "sneck.compat.locket",
        "filelock",
        "portalocker",
        "fasteners",
        "locket",
        "lockfile",
        "twisted.python.lockfile",
    ]
    took = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            took[module].append(
                float(run(f"import time; a = time.perf_counter(); import {module}; print(time.perf_counter() - a)"))
                * 1e3
            )
    table("import", ["ms"], {module: [f"{statistics.median(times):.1f}"] for module, times in took.items()})


def size(_folder):
    """Kilobytes of the files that an installation brings, and of sneck's wheel."""
    rows = {}
    for name in ["sneck", "filelock", "portalocker", "fasteners", "locket", "lockfile", "Twisted"]:
        files = importlib.metadata.files(name) or []
        rows[name] = [f"{sum(file.size or 0 for file in files) / 1024:.0f}"]
    for wheel in pathlib.Path(os.environ.get("SNECK_WHEELS", ".")).glob("sneck-*.whl"):
        rows[wheel.name] = [f"{wheel.stat().st_size / 1024:.0f}"]
    table("size", ["KiB"], rows)


def start(code, path):
    party = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert hear(party) == "ready"
    return party


def tell(party, line):
    party.stdin.write(f"{line}\n")
    party.stdin.flush()


def hear(party):
    return party.stdout.readline().strip()


def end(parties):
    for party in parties:
        party.stdin.close()
        party.wait(60)


def run(code):
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout


def table(title, heads, rows):
    width = max(map(len, rows))
    print(f"\n{title}\n{'':{width}}" + "".join(f"{head:>20}" for head in heads))
    for name, cells in rows.items():
        print(f"{name:{width}}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main():
    benches = {"with": with_statement, "hand-over": hand_over, "tasks": tasks, "import": import_time, "size": size}
    for name in sys.argv[1:] or benches:
        if name not in benches:
            sys.exit(f"no such bench: {name}; there are {', '.join(benches)}")
        with tempfile.TemporaryDirectory() as folder:
            benches[name](pathlib.Path(folder))


if __name__ == "__main__":
    main()
