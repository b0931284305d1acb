"""What all tests get: parties that are ended with the test, and the folder of this file for imports."""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
# For tests, and for the parties that they start.
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))

from party import Party  # noqa: E402
from servers import KINDS  # noqa: E402


@pytest.fixture
def place(tmp_path, protocol):
    """Where the lock of a test is that goes through the protocols."""
    return f"{protocol}:{tmp_path}/lock"


@pytest.fixture
def party():
    """Starts processes that are told what to do; see `party.Party`."""
    started = []

    def start(setup="import sneck", **options):
        one = Party(setup, **options)
        started.append(one)
        return one

    yield start
    for one in started:
        one.__exit__()


@pytest.fixture(scope="session")
def servers():
    """Gives the server of a kind, the same for all tests: it is started when a test first wants it."""
    started = {}

    def one(kind):
        if kind not in started:
            started[kind] = KINDS[kind]()
        return started[kind]

    yield one
    for server in started.values():
        server.end()


@pytest.fixture
def own_redis():
    """A server that a test may stop."""
    server = KINDS["redis"]()
    yield server
    server.end()


@pytest.fixture
def at_server(servers, engine, request):
    """The place of a test's own lock at the server of the kind that it goes through."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return servers(engine).place(name)
