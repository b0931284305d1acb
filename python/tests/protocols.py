"""The protocols, for tests that are the same for each: their names, marks that go through them, and what they share.

Not for: other processes (`party.py`).
"""

import os

import pytest

import sneck

KERNEL = ["flock", "fcntl", "flock+fcntl"]
CLAIMS = ["pidfile", "shlock", "symlink", "labm8", "dotlock", "mkdir"]
FILES = KERNEL + CLAIMS

# Tests with one of these marks have `protocol`, and perhaps `place`: see conftest.py.
files = pytest.mark.parametrize("protocol", FILES)
claims = pytest.mark.parametrize("protocol", CLAIMS)
kernel = pytest.mark.parametrize("protocol", KERNEL)
everything = pytest.mark.parametrize("protocol", FILES + ["memory"])
with_modes = pytest.mark.parametrize("protocol", KERNEL + ["memory"])


def on(place, **options):
    """In a party: `lock`."""
    told = "".join(f", {name}={value!r}" for name, value in options.items())
    return f"import os, party, sneck, threading; lock = sneck.Lock.at({place!r}{told})"


def snapshot(folder):
    """All that stands in a folder and what it says. Not its times: some claims are touched while they are held."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(above, name)
            seen = os.lstat(path)
            said = b""
            if os.path.islink(path):
                said = os.fsencode(os.readlink(path))
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    said = file.read()
            found[path] = (seen.st_mode, seen.st_ino, seen.st_uid, said)
    return found


def is_free(place):
    sneck.Lock.at(place).acquire(timeout=0).release()
