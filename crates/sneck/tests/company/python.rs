//! Libraries for Python, of every kind. Not for: programs without Python (`kernel.rs`, `files.rs`).

use super::*;

/// What every script begins with: `path`, whether to `stay` in, how to be refused as documented (9), and stand-ins for what a library would drag in.
const BEGIN: &str = "
import os, sys, time, types

path = sys.argv[1]

def stay():
    print('in', flush=True)
    sys.stdin.readline()

def stub(name, folder=None, **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    if folder:
        module.__path__ = [os.path.join(os.environ['SNECK_TEST_TOOLS'], folder)]
    sys.modules[name] = module

def once(acquire, *refusals):
    try:
        acquire()
    except refusals:
        sys.exit(9)

def wait(acquire, *refusals):
    while True:
        try:
            return acquire()
        except refusals:
            time.sleep(0.005)
";

fn python(script: &str, path: &Path) -> Command {
    let python = env::var_os("SNECK_TEST_PYTHON")
        .expect("SNECK_TEST_PYTHON is not set: run scripts/test, which installs the libraries");
    let mut command = program(python);
    command.arg("-c").arg(format!("{BEGIN}{script}")).arg(path);
    command
}

const TWISTED: Company = Company {
    scheme: "symlink",
    hold: |path| {
        let waits = "
while not lock.lock(): time.sleep(0.003)
stay()
lock.unlock()
";
        twisted(waits, path)
    },
    once: |path| {
        let tries = "
if not lock.lock(): sys.exit(9)
lock.unlock()
";
        twisted(tries, path)
    },
    refused: 9,
    named: true,
    leaves: Leaves::Stale,
    breaks: true,
    stays: &[],
};

fn twisted(script: &str, path: &Path) -> Command {
    let begin = "
from twisted.python.lockfile import FilesystemLock
lock = FilesystemLock(path)
";
    python(&format!("{begin}{script}"), path)
}

/// flock(2), blocking.
const LOCKET: Company = Company {
    scheme: "flock",
    hold: |path| {
        let waits = "
import locket
with locket.lock_file(path): stay()
";
        python(waits, path)
    },
    once: |path| {
        let tries = "
import locket
once(locket.lock_file(path, timeout=0).acquire, locket.LockError)
";
        python(tries, path)
    },
    leaves: Leaves::Nothing,
    stays: &["x.lock"],
    ..TWISTED
};

/// flock(2), polling.
const FILELOCK: Company = Company {
    hold: |path| {
        let waits = "
import filelock
with filelock.FileLock(path): stay()
";
        python(waits, path)
    },
    once: |path| {
        let tries = "
import filelock
once(filelock.FileLock(path, timeout=0).acquire, filelock.Timeout)
";
        python(tries, path)
    },
    ..LOCKET
};

#[test]
fn twisted_and_this_library_exclude_each_other() {
    exclude_each_other(&TWISTED, &[Waiting::Best, Waiting::Polling]);
}

#[test]
fn twisted_and_this_library_see_each_other_die() {
    see_each_other_die(&TWISTED, &[Waiting::Best, Waiting::Polling]);
}

#[test]
fn twisted_is_told_truly_whether_we_released_or_died() {
    let (setup, path) = setup("symlink", Waiting::Best);
    let script = "
assert lock.lock()
print(lock.clean, flush=True)
lock.unlock()
";
    let mut child = setup.child();
    child.acquire();
    child.release();
    Peer::start(twisted(script, &path)).must_say("True");
    child.acquire();
    child.kill();
    Peer::start(twisted(script, &path)).must_say("False");
}

#[test]
fn locket_and_this_library_exclude_each_other() {
    exclude_each_other(&LOCKET, &WAYS);
}

#[test]
fn locket_and_this_library_see_each_other_die() {
    see_each_other_die(&LOCKET, &WAYS);
}

#[test]
fn filelock_and_this_library_exclude_each_other() {
    exclude_each_other(&FILELOCK, &WAYS);
}

#[test]
fn filelock_and_this_library_see_each_other_die() {
    see_each_other_die(&FILELOCK, &WAYS);
}
