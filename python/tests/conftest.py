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
