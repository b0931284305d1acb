"""Real servers for tests: started in fresh folders on free ports of the loopback, one of each for all tests of a run, ended by number, gone with the tests however those end.

They are no mocks, and not fit for data. Not for: locks, of which nothing here knows more than how a place is written.
"""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from party import PATIENCE


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in made]


def program(name, package, *elsewhere):
    found = shutil.which(name) or next((path for pattern in elsewhere for path in sorted(glob.glob(pattern))), None)
    assert found, f"{name} is missing; Debian has it in the package {package} (scripts/test installs it)"
    return found


def _environment():
    """What is said there is about other servers."""
    foreign = ("ETCD", "PG", "REDISCLI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


class Server:
    """A server of a test's own. `place(name)` is a lock there, `port` where it listens."""

    def __init__(self):
        # Not below pytest's folder, into which another user cannot look.
        self.folder = tempfile.mkdtemp(prefix="sneck-server-", dir=self.base())
        self.process = None
        try:
            self.prepare()
            # Between our looking for a free port and the server's taking it, another may take it.
            for _ in range(5):
                self.port, self.other_port = _free_ports(2)
                if self.start():
                    return
            raise AssertionError(f"{type(self).__name__} does not start:\n{self.log()}")
        except BaseException:
            self.end()
            raise

    def base(self):
        return None

    def prepare(self):
        pass

    def start(self):
        """Whether it comes to answer."""
        # It goes with its parent, whatever happens to that.
        words = [program("setpriv", "util-linux"), *self.user(), "--pdeathsig", "KILL", *self.words()]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), cwd="/"
            )
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self.answers():
                    return True
            assert time.monotonic() < end, f"it does not answer:\n{self.log()}"
            time.sleep(0.01)
        return False

    def user(self):
        return []

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()

    def stand_still(self):
        """Its connections stay, and nothing comes of them."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    def words(self):
        name = program("redis-server", "redis-server")
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        return [name, *where, "--save", "", "--appendonly", "no", "--daemonize", "no"]

    def answers(self):
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"

    def place(self, name):
        return f"redis://127.0.0.1:{self.port}/{name}"


class Etcd(Server):
    def base(self):
        # It flushes each write, and these tests are not about disks.
        return "/dev/shm" if os.path.isdir("/dev/shm") else None

    def words(self):
        here, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.other_port}"
        clients = ["--listen-client-urls", here, "--advertise-client-urls", here]
        others = ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        one = ["--name", "m", "--data-dir", f"{self.folder}/data", "--initial-cluster", f"m={peers}"]
        return [program("etcd", "etcd-server"), *one, *clients, *others, "--logger", "zap"]

    def answers(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=PATIENCE) as health:
            return b"true" in health.read()

    def place(self, name):
        return f"etcd://127.0.0.1:{self.port}/{name}"


class Postgres(Server):
    BIN = "/usr/lib/postgresql/*/bin/"

    def prepare(self):
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        initdb = program("initdb", "postgresql", self.BIN + "initdb")
        options = ["-D", f"{self.folder}/data", "-A", "trust", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8"]
        words = [program("setpriv", "util-linux"), *self.user(), initdb, *options]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=_environment(), cwd="/")

    def user(self):
        # It refuses to be root.
        return ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []

    def words(self):
        name = program("postgres", "postgresql", self.BIN + "postgres")
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=off"]
        options = [word for setting in settings for word in ("-c", setting)]
        return [name, "-D", f"{self.folder}/data", "-p", str(self.port), *options]

    def answers(self):
        return "ready to accept connections" in self.log()

    def place(self, name):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres/{name}"

    def end(self):
        # Its memory is shared: a kill would leave it behind.
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)
        super().end()


KINDS = {"redis": Redis, "etcd": Etcd, "postgres": Postgres}
# Those that tests go through which are the same for each. What an engine does is the same on every Python: one of them goes through all.
ENGINES = os.environ.get("SNECK_TEST_ENGINES", " ".join(KINDS)).split()
