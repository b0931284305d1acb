//! Live beside the programs that speak the same protocols: flock(1), setlock, POSIX record locks as Python takes them, and stock Twisted. In both directions, and the death of a holder is
//! seen by the other side.
//!
//! `scripts/test` installs them, and says in `SNECK_TEST_PYTHON` which Python has Twisted.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{Clean, Mode, Registry, Waiting};
use sneck_testkit::{PATIENCE, Setup, block, must_block, sys};
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

sneck_testkit::entry!(Registry::local);

const WAYS: [Waiting; 3] = [Waiting::Best, Waiting::Events, Waiting::Polling];

fn setup(scheme: &str, waiting: Waiting) -> Setup {
    let place = |folder: &Path| format!("{scheme}:{}", folder.join("lock").display());
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

/// A command that must be there.
fn program(name: &str) -> Command {
    let mut look = Command::new("sh");
    look.args(["-c", "command -v \"$1\" >/dev/null", "sh", name]);
    let found = look.status().is_ok_and(|s| s.success());
    assert!(
        found,
        "`{name}` is missing: run scripts/test, which installs it"
    );
    Command::new(name)
}

/// Another program that says what it does, a line each, and goes on when its input ends.
struct Peer {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Peer {
    fn start(mut command: Command) -> Peer {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command
            .spawn()
            .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
        let input = process.stdin.take();
        let output = process.stdout.take().expect("the output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Peer {
            process,
            input,
            lines,
        }
    }

    #[track_caller]
    fn hear(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("it says something")
    }

    #[track_caller]
    fn must_say(&self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    /// It waits for the lock: it says nothing.
    #[track_caller]
    fn must_wait(&self) {
        let heard = self
            .lines
            .recv_timeout(std::time::Duration::from_millis(150));
        assert!(heard.is_err(), "it must wait: {heard:?}");
    }

    /// Have it release, which it does when its input ends.
    fn go_on(&mut self) {
        self.input = None;
    }

    fn kill(&mut self) {
        self.process.kill().expect("one's own child");
        self.process.wait().expect("one's own child");
    }

    #[track_caller]
    fn wait(&mut self) {
        self.go_on();
        block::until("it ends", || {
            self.process.try_wait().expect("one's own child").is_some()
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Another program that can hold this lock in one process, and try it.
struct Company {
    scheme: &'static str,
    /// Waits for the lock, says `in`, holds until its input ends.
    hold: fn(&Path) -> Command,
    /// Tries once: ends with 0 if it had it.
    once: fn(&Path) -> Command,
}

const INSIDE: &str = "echo in; read -r line; exit 0";

const FLOCK: Company = Company {
    scheme: "flock",
    hold: |path| {
        let mut command = program("flock");
        command
            .arg("--no-fork")
            .arg(path)
            .args(["sh", "-c", INSIDE]);
        command
    },
    once: |path| {
        let mut command = program("flock");
        command.arg("-n").arg(path).arg("true");
        command
    },
};

const SETLOCK: Company = Company {
    scheme: "flock",
    hold: |path| {
        let mut command = program("setlock");
        command.arg(path).args(["sh", "-c", INSIDE]);
        command
    },
    once: |path| {
        let mut command = program("setlock");
        command
            .arg("-n")
            .arg(path)
            .arg("true")
            .stderr(Stdio::null());
        command
    },
};

const TWISTED: Company = Company {
    scheme: "symlink",
    hold: |path| {
        let waits = "
while not lock.lock(): time.sleep(0.003)
print('in', flush=True)
sys.stdin.readline()
lock.unlock()
";
        twisted(waits, path)
    },
    once: |path| {
        let tries = "
if not lock.lock(): sys.exit(1)
lock.unlock()
";
        twisted(tries, path)
    },
};

/// A POSIX record lock, which belongs to the process, on the whole file.
const POSIX: Company = Company {
    scheme: "fcntl",
    hold: |path| posix("fcntl.LOCK_EX", path),
    once: |path| posix("fcntl.LOCK_EX | fcntl.LOCK_NB", path),
};

/// The same on the first byte alone, as with-lock-ex does.
const POSIX_BYTE: Company = Company {
    scheme: "fcntl",
    hold: |path| posix("fcntl.LOCK_EX, 1", path),
    once: |path| posix("fcntl.LOCK_EX | fcntl.LOCK_NB, 1", path),
};

fn posix(how: &str, path: &Path) -> Command {
    let script = format!(
        "
import fcntl, sys
file = open(sys.argv[1], 'a+')
fcntl.lockf(file, {how})
print('in', flush=True)
sys.stdin.readline()
"
    );
    let mut command = Command::new(python());
    command.arg("-c").arg(script).arg(path);
    // A refused try says so at length.
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn python() -> String {
    env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

fn twisted(script: &str, path: &Path) -> Command {
    let python = python();
    let begin = "
import sys, time
from twisted.python.lockfile import FilesystemLock
lock = FilesystemLock(sys.argv[1])
";
    let mut probe = Command::new(&python);
    probe
        .args(["-c", "import twisted.python.lockfile"])
        .stderr(Stdio::null());
    let found = probe.status().is_ok_and(|s| s.success());
    assert!(
        found,
        "`{python}` has no Twisted: run scripts/test, which installs it"
    );
    let mut command = Command::new(python);
    command.arg("-c").arg(format!("{begin}{script}")).arg(path);
    command
}

/// One try of the other program: whether it had the lock.
fn tries(company: &Company, path: &Path) -> bool {
    let status = sys::run_within(&mut (company.once)(path), PATIENCE);
    status.expect("a try ends").success()
}

/// While they hold, we wait; and the other way round.
fn exclude_each_other(company: &Company, waiting: Waiting) {
    let setup = setup(company.scheme, waiting);
    let path = setup.folder.join("lock");
    let mut peer = Peer::start((company.hold)(&path));
    peer.must_say("in");
    let error = setup.lock().try_acquire().expect_err("they hold it");
    assert_eq!(error.holders()[0].pid, Some(peer.process.id()), "{error}");
    let wait = std::time::Duration::from_millis(30);
    let error = setup.lock().acquire_within(wait).expect_err("they hold it");
    assert_eq!(error.holders()[0].pid, Some(peer.process.id()), "{error}");
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire());
    peer.go_on();
    let guard = waiter.wait().expect("they have released");
    peer.wait();

    assert!(!tries(company, &path), "we hold it");
    let peer = Peer::start((company.hold)(&path));
    peer.must_wait();
    guard.release().expect("it is held");
    peer.must_say("in");
    assert!(setup.lock().try_acquire().is_err(), "they hold it");
    drop(peer);
    let guard = setup
        .lock()
        .acquire_within(PATIENCE)
        .expect("they are gone");
    guard.release().expect("it is held");
    assert!(tries(company, &path), "nobody holds it");
}

/// Each sees the death of the other.
fn see_each_other_die(company: &Company, waiting: Waiting) {
    let setup = setup(company.scheme, waiting);
    let path = setup.folder.join("lock");
    let mut peer = Peer::start((company.hold)(&path));
    peer.must_say("in");
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire());
    peer.kill();
    let guard = waiter.wait().expect("the holder is dead");
    if company.scheme == "symlink" {
        assert_eq!(guard.was_clean(), Clean::No);
        assert_eq!(guard.broken()[0].pid, Some(peer.process.id()));
    }
    guard.release().expect("it is held");

    let mut child = setup.child();
    child.acquire();
    assert!(!tries(company, &path), "the child holds it");
    let peer = Peer::start((company.hold)(&path));
    peer.must_wait();
    child.kill();
    peer.must_say("in");
    assert!(setup.lock().try_acquire().is_err(), "they hold it");
}

#[test]
fn flock_the_command_and_this_library_exclude_each_other() {
    for waiting in WAYS {
        exclude_each_other(&FLOCK, waiting);
    }
}

#[test]
fn flock_the_command_and_this_library_see_each_other_die() {
    for waiting in WAYS {
        see_each_other_die(&FLOCK, waiting);
    }
}

#[test]
fn setlock_and_this_library_exclude_each_other() {
    for waiting in WAYS {
        exclude_each_other(&SETLOCK, waiting);
    }
}

#[test]
fn setlock_and_this_library_see_each_other_die() {
    for waiting in WAYS {
        see_each_other_die(&SETLOCK, waiting);
    }
}

#[test]
fn twisted_and_this_library_exclude_each_other() {
    for waiting in [Waiting::Best, Waiting::Polling] {
        exclude_each_other(&TWISTED, waiting);
    }
}

#[test]
fn twisted_and_this_library_see_each_other_die() {
    for waiting in [Waiting::Best, Waiting::Polling] {
        see_each_other_die(&TWISTED, waiting);
    }
}

#[test]
fn posix_locks_of_other_processes_and_this_library_exclude_each_other() {
    for waiting in WAYS {
        exclude_each_other(&POSIX, waiting);
    }
    exclude_each_other(&POSIX_BYTE, Waiting::Best);
}

#[test]
fn posix_locks_of_other_processes_and_this_library_see_each_other_die() {
    for waiting in WAYS {
        see_each_other_die(&POSIX, waiting);
    }
}

#[test]
fn readers_share_with_posix_readers() {
    let setup = setup("fcntl", Waiting::Best);
    let path = setup.folder.join("lock");
    let guard = setup.lock_with(|b| b.mode(Mode::Shared)).try_acquire();
    let guard = guard.expect("it is free");
    let shared = || {
        let mut command = posix("fcntl.LOCK_SH | fcntl.LOCK_NB", &path);
        command.status().expect("it runs").success()
    };
    assert!(shared());
    assert!(!tries(&POSIX, &path));
    drop(guard);
    let _guard = setup.lock().try_acquire().expect("it is free");
    assert!(!shared());
}

#[test]
fn readers_share_with_flock_the_command() {
    let setup = setup("flock", Waiting::Best);
    let path = setup.folder.join("lock");
    let guard = setup.lock_with(|b| b.mode(Mode::Shared)).try_acquire();
    let guard = guard.expect("it is free");
    let shared = |path: &Path| {
        let mut command = program("flock");
        command.arg("-sn").arg(path).arg("true");
        command.status().expect("it runs").success()
    };
    assert!(shared(&path));
    assert!(!tries(&FLOCK, &path));
    drop(guard);
    let _guard = setup.lock().try_acquire().expect("it is free");
    assert!(!shared(&path));
}

#[test]
fn a_child_of_flock_the_command_that_outlives_it_is_named_as_the_holder() {
    let setup = setup("flock", Waiting::Best);
    // It forks; its child inherits the descriptor and keeps the lock when flock itself is killed.
    let mut command = program("flock");
    command.arg(setup.folder.join("lock"));
    command.args(["sh", "-c", "echo $$; read -r line; exit 0"]);
    let mut peer = Peer::start(command);
    let heir: u32 = peer.hear().parse().expect("a number");
    peer.process.kill().expect("one's own child");
    peer.process.wait().expect("one's own child");
    let error = setup.lock().try_acquire().expect_err("the child holds it");
    assert_eq!(error.holders()[0].pid, Some(heir), "{error}");
    peer.go_on();
    let guard = setup.lock().acquire_within(PATIENCE);
    guard
        .expect("the child has ended")
        .release()
        .expect("it is held");
}

#[test]
fn twisted_is_told_truly_whether_we_released_or_died() {
    let setup = setup("symlink", Waiting::Best);
    let path = setup.folder.join("lock");
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
