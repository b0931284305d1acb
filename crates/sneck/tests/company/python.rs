//! Libraries for Python, of every kind. Not for: programs without Python (`kernel.rs`, `files.rs`).

use super::*;
use sneck::{ErrorKind, Mode};

/// What every script begins with: `path`, whether to `stay` in, how to be refused as documented (9), and stand-ins for what a library would drag in.
const BEGIN: &str = "
import os, sys, time, types

path = sys.argv[1]

def stay():
    witness = os.environ.get('WITNESS')
    if witness:
        os.mkdir(witness)
        time.sleep(0.001)
        os.rmdir(witness)
    else:
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

pub(super) fn python(script: &str, path: &Path) -> Command {
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
    ripe: Duration::ZERO,
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
pub(super) const LOCKET: Company = Company {
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

/// Record locks, polling.
const FASTENERS: Company = Company {
    scheme: "fcntl",
    hold: |path| fasteners("wait(lock.acquire, ()); stay(); lock.release()", path),
    once: |path| fasteners("sys.exit(0 if lock.acquire(blocking=False) else 9)", path),
    ..LOCKET
};

fn fasteners(script: &str, path: &Path) -> Command {
    let begin = "
import fasteners
lock = fasteners.InterProcessLock(path)
";
    python(&format!("{begin}{script}"), path)
}

/// It looks first and writes then: beside another contender it is no lock at all, so here it never has one.
const LABM8: Company = Company {
    scheme: "labm8",
    hold: |path| labm8("wait(lock.acquire, *BUSY); stay(); lock.release()", path),
    once: |path| labm8("once(lock.acquire, *BUSY); lock.release()", path),
    breaks: false,
    ..TWISTED
};

const LABM8_REPLACING: Company = Company {
    hold: |path| {
        let waits = "
wait(lambda: lock.acquire(replace_stale=True), *BUSY)
stay()
lock.release()
";
        labm8(waits, path)
    },
    breaks: true,
    ..LABM8
};

/// A claim that vanishes while it looks at it is an error of its own.
fn labm8(script: &str, path: &Path) -> Command {
    tool("labm8/labm8/lockfile.py");
    let begin = "
stub('labm8', 'labm8/labm8')
stub('labm8.types')
stub('humanize', naturalsize=None)
stub('send2trash', send2trash=None)
from labm8.lockfile import LockFile, UnableToAcquireLockError
BUSY = UnableToAcquireLockError, FileNotFoundError
lock = LockFile(path)
";
    python(&format!("{begin}{script}"), path)
}

/// It never breaks anything.
const CATERPILLAR: Company = Company {
    scheme: "pidfile",
    hold: |path| caterpillar("lock.acquire(); stay(); lock.release()", path),
    once: |path| {
        let tries = "once(lambda: lock.acquire(0), AlreadyLocked); lock.release()";
        caterpillar(tries, path)
    },
    breaks: false,
    ..TWISTED
};

fn caterpillar(script: &str, path: &Path) -> Command {
    tool("caterpillar/caterpillar/locking.py");
    let begin = "
stub('caterpillar', 'caterpillar/caterpillar')
from caterpillar.locking import PIDLockFile, AlreadyLocked
lock = PIDLockFile(path)
";
    python(&format!("{begin}{script}"), &bare(path))
}

/// Takes the path as it is, and without a timeout does not wait, unlike its brothers.
const PYLOCKFILE_PID: Company = Company {
    hold: |path| pylockfile("pidlockfile", "PIDLockFile", "", HOLD, path),
    once: |path| pylockfile("pidlockfile", "PIDLockFile", "", ONCE, path),
    ..CATERPILLAR
};

/// A second name of an empty file. The first one tells the pid, but not to those who know the lock's name only.
const PYLOCKFILE_LINK: Company = Company {
    scheme: "dotlock",
    hold: |path| pylockfile("linklockfile", "LinkLockFile", "", HOLD, &bare(path)),
    once: |path| pylockfile("linklockfile", "LinkLockFile", "", ONCE, &bare(path)),
    named: false,
    leaves: Leaves::Claim,
    ..CATERPILLAR
};

const PYLOCKFILE_MKDIR: Company = Company {
    scheme: "mkdir",
    hold: |path| {
        let how = ", threaded=False";
        pylockfile("mkdirlockfile", "MkdirLockFile", how, HOLD, &bare(path))
    },
    once: |path| {
        let how = ", threaded=False";
        pylockfile("mkdirlockfile", "MkdirLockFile", how, ONCE, &bare(path))
    },
    ..CATERPILLAR
};

/// As most people call it: `HOST.-THREADPID`, a hexadecimal number and a decimal one with nothing between them.
const PYLOCKFILE_MKDIR_THREADED: Company = Company {
    hold: |path| pylockfile("mkdirlockfile", "MkdirLockFile", "", HOLD, &bare(path)),
    once: |path| pylockfile("mkdirlockfile", "MkdirLockFile", "", ONCE, &bare(path)),
    named: false,
    leaves: Leaves::Claim,
    ..PYLOCKFILE_MKDIR
};

const HOLD: &str = "wait(lambda: lock.acquire(0), AlreadyLocked); stay(); lock.release()";
const ONCE: &str = "once(lambda: lock.acquire(0), AlreadyLocked); lock.release()";

fn pylockfile(module: &str, class: &str, how: &str, script: &str, path: &Path) -> Command {
    let script = format!(
        "
from lockfile import AlreadyLocked
from lockfile.{module} import {class}
lock = {class}(path{how})
{script}
"
    );
    python(&script, path)
}

/// `pid`, host and a number on a line each.
fn soft(script: &str, path: &Path) -> Command {
    let begin = "
import filelock
lock = filelock.SoftFileLock(path)
";
    python(&format!("{begin}{script}"), path)
}

const FEW: [Waiting; 2] = [Waiting::Best, Waiting::Polling];

#[test]
fn twisted_and_this_library_exclude_each_other() {
    exclude_each_other(&TWISTED, &FEW);
}

#[test]
fn twisted_and_this_library_see_each_other_die() {
    see_each_other_die(&TWISTED, &FEW);
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

#[test]
fn fasteners_and_this_library_exclude_each_other() {
    exclude_each_other(&FASTENERS, &WAYS);
}

#[test]
fn fasteners_and_this_library_see_each_other_die() {
    see_each_other_die(&FASTENERS, &FEW);
}

#[test]
fn labm8_and_this_library_exclude_each_other() {
    exclude_each_other(&LABM8, &WAYS);
}

#[test]
fn labm8_and_this_library_see_each_other_die() {
    see_each_other_die(&LABM8, &FEW);
}

#[test]
fn labm8_replacing_the_stale_and_this_library_exclude_each_other() {
    exclude_each_other(&LABM8_REPLACING, &FEW);
}

#[test]
fn labm8_replacing_the_stale_and_this_library_see_each_other_die() {
    see_each_other_die(&LABM8_REPLACING, &FEW);
}

#[test]
fn caterpillar_and_this_library_exclude_each_other() {
    exclude_each_other(&CATERPILLAR, &WAYS);
}

#[test]
fn caterpillar_and_this_library_see_each_other_die() {
    see_each_other_die(&CATERPILLAR, &FEW);
}

#[test]
fn pid_lock_file_of_pylockfile_and_this_library_exclude_each_other() {
    exclude_each_other(&PYLOCKFILE_PID, &FEW);
}

#[test]
fn pid_lock_file_of_pylockfile_and_this_library_see_each_other_die() {
    see_each_other_die(&PYLOCKFILE_PID, &FEW);
}

#[test]
fn link_lock_file_of_pylockfile_and_this_library_exclude_each_other() {
    exclude_each_other(&PYLOCKFILE_LINK, &FEW);
}

#[test]
fn link_lock_file_of_pylockfile_and_this_library_wait_for_a_person_when_the_other_dies() {
    see_each_other_die(&PYLOCKFILE_LINK, &FEW);
}

#[test]
fn mkdir_lock_file_of_pylockfile_and_this_library_exclude_each_other() {
    exclude_each_other(&PYLOCKFILE_MKDIR, &WAYS);
}

#[test]
fn mkdir_lock_file_of_pylockfile_and_this_library_see_each_other_die() {
    see_each_other_die(&PYLOCKFILE_MKDIR, &FEW);
}

#[test]
fn mkdir_lock_file_with_threads_of_pylockfile_and_this_library_exclude_each_other() {
    exclude_each_other(&PYLOCKFILE_MKDIR_THREADED, &FEW);
}

#[test]
fn mkdir_lock_file_with_threads_of_pylockfile_and_this_library_wait_for_a_person_when_the_other_dies()
 {
    see_each_other_die(&PYLOCKFILE_MKDIR_THREADED, &FEW);
}

#[test]
fn readers_share_with_fasteners() {
    let (setup, path) = setup("fcntl", Waiting::Best);
    let reads = "
import fasteners
lock = fasteners.InterProcessReaderWriterLock(path)
sys.exit(0 if lock.acquire_read_lock(blocking=False) else 9)
";
    let guard = setup.lock_with(|b| b.mode(Mode::Shared)).try_acquire();
    let guard = guard.expect("it is free");
    assert_eq!(code(python(reads, &path)), 0);
    assert_eq!(code((FASTENERS.once)(&path)), 9);
    drop(guard);
    let _guard = setup.lock().try_acquire().expect("it is free");
    assert_eq!(code(python(reads, &path)), 9);
}

/// Ours is on the whole file, however long it becomes.
#[test]
fn a_record_lock_on_any_byte_is_in_our_way_and_ours_in_its() {
    let (setup, path) = setup("fcntl", Waiting::Best);
    let script = "
import fcntl
file = open(path, 'a+')
once(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 40), BlockingIOError)
stay()
";
    let mut peer = Peer::start(python(script, &path));
    peer.must_say("in");
    let error = setup.lock().try_acquire().expect_err("they hold a byte");
    assert_eq!(error.holders()[0].pid, Some(peer.pid()), "{error}");
    peer.wait();
    let _guard = setup.lock().try_acquire().expect("they are gone");
    assert_eq!(code(python(script, &path)), 9);
}

#[test]
fn a_claim_of_soft_file_lock_is_respected_and_its_death_seen() {
    for waiting in FEW {
        let (setup, path) = setup("pidfile", waiting);
        let hold = || {
            let peer = Peer::start(soft("lock.acquire(); stay(); lock.release()", &path));
            peer.must_say("in");
            let error = setup.lock().try_acquire().expect_err("they hold it");
            assert_eq!(error.holders()[0].pid, Some(peer.pid()), "{error}");
            let lock = setup.lock();
            (peer, must_block(move || lock.acquire()))
        };
        let (mut peer, waiter) = hold();
        peer.wait();
        let guard = waiter.wait().expect("they have released");
        assert_eq!(
            code(soft(
                "once(lambda: lock.acquire(0), filelock.Timeout)",
                &path
            )),
            9
        );
        guard.release().expect("it is held");
        let (mut peer, waiter) = hold();
        peer.kill();
        let guard = waiter.wait().expect("it is dead");
        assert_eq!(guard.broken()[0].pid, Some(peer.pid()));
        guard.release().expect("it is held");
        assert!(names(setup.folder.path()).is_empty());
    }
}

/// What has no host on its second line is to it no claim but a mistake, which it mends after two seconds.
#[test]
fn soft_file_lock_robs_a_live_claim_of_ours_after_two_seconds_and_we_say_so() {
    let (setup, path) = setup("pidfile", Waiting::Best);
    let guard = setup.lock().try_acquire().expect("it is free");
    let mut peer = Peer::start(soft("lock.acquire(); stay(); lock.release()", &path));
    peer.must_wait();
    peer.must_say("in");
    let theirs = claim(&path);
    assert!(matches!(guard.standing(), Standing::Lost(_)));
    let error = guard.release().expect_err("it was taken away");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    assert_eq!(claim(&path), theirs);
    peer.wait();
}

#[test]
fn libraries_for_python_and_this_one_take_turns() {
    for company in [&LOCKET, &FILELOCK, &CATERPILLAR] {
        take_turns(company);
    }
}

#[test]
fn fasteners_and_this_library_take_turns() {
    take_turns(&FASTENERS);
}

#[test]
fn classes_of_pylockfile_and_this_library_take_turns() {
    for company in [
        &PYLOCKFILE_PID,
        &PYLOCKFILE_LINK,
        &PYLOCKFILE_MKDIR_THREADED,
    ] {
        take_turns(company);
    }
}
