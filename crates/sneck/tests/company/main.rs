//! Live beside the programs that speak the same protocols, in both directions: while one side holds the other one waits or is refused with its
//! documented code, the death of a holder is seen or not as PROTOCOLS.md says, and afterwards everything is free and tidy.
//!
//! `scripts/test` installs the programs, and says in `SNECK_TEST_PYTHON` and `SNECK_TEST_TOOLS` where the rest of them is. None is ever left
//! out: what is missing fails its test.
//!
//! | file | whom it meets |
//! |---|---|
//! | `flock.rs` | programs that use flock(2) |
//! | `fcntl.rs` | programs that use record locks |
//! | `files.rs` | programs that make files, in C |
//! | `python.rs` | libraries for Python, of every kind |
//! | `stack.rs` | programs of both families of kernel locks, at a lock that is of both |
//! | `strangers.rs` | programs of one kind at the locks of another |

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

mod fcntl;
mod files;
mod flock;
mod python;
mod stack;
mod strangers;

use sneck::{Clean, Registry, Standing, Waiting};
use sneck_testkit::{Folder, PATIENCE, Setup, block, must_block, sys};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

const WAYS: [Waiting; 3] = [Waiting::Best, Waiting::Events, Waiting::Polling];

/// Another program, or one way to use it.
struct Company {
    /// The protocol they share with us.
    scheme: &'static str,
    /// Waits for the lock, says `in`, holds until its input ends, releases.
    hold: fn(&Path) -> Command,
    /// Tries once: ends with 0 if it had it, and has released it by then.
    once: fn(&Path) -> Command,
    /// What a try ends with while somebody else holds the lock.
    refused: i32,
    /// One can find out its pid: it writes it, or the kernel knows.
    named: bool,
    /// What its death leaves.
    leaves: Leaves,
    /// It breaks a claim of ours whose process is gone.
    breaks: bool,
    /// How old a claim must be for it to look whose it is.
    ripe: Duration,
    /// What stands in the folder while nobody holds the lock.
    stays: &'static [&'static str],
}

impl Company {
    /// What is ours while we hold. The content of a file that the kernel keeps locked belongs to nobody, and some write into it.
    fn ours(&self, path: &Path) -> String {
        match self.leaves {
            Leaves::Nothing => inode(path).to_string(),
            Leaves::Stale | Leaves::Claim => claim(path),
        }
    }
}

/// What a killed holder leaves behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// A free lock.
    Nothing,
    /// A claim that can be proved stale.
    Stale,
    /// A claim that names nobody, which only a person may judge.
    Claim,
}

/// A lock of its own. The name ends in `.lock` because some programs add that to what they are given: [`bare`].
fn setup(scheme: &str, waiting: Waiting) -> (Setup, PathBuf) {
    let place = |folder: &Path| format!("{scheme}:{}", folder.join("x.lock").display());
    let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
    let path = setup.folder.join("x.lock");
    (setup, path)
}

/// The name for programs that add `.lock` themselves.
fn bare(path: &Path) -> PathBuf {
    path.with_extension("")
}

/// A command that must be there.
fn program(name: impl AsRef<OsStr>) -> Command {
    let name = name.as_ref();
    let mut look = Command::new("sh");
    look.args(["-c", "command -v \"$1\" >/dev/null", "sh"]);
    let found = look.arg(name).status().is_ok_and(|s| s.success());
    assert!(
        found,
        "{name:?} is missing: run scripts/test, which installs it"
    );
    Command::new(name)
}

/// Where `WITNESS` names a folder, nobody else may be in: making it proves that.
const INSIDE: &str = r#"
if [ -n "$WITNESS" ]; then mkdir "$WITNESS" && rmdir "$WITNESS" || exit 99
else echo in; read -r line; fi
exit 0
"#;

/// `program ARGUMENTS… PATH COMMAND…`
fn wrapping(name: &str, arguments: &[&str], path: &Path, command: &[&str]) -> Command {
    let mut wrapper = program(name);
    wrapper.args(arguments).arg(path).args(command);
    wrapper
}

fn holding(name: &str, arguments: &[&str], path: &Path) -> Command {
    wrapping(name, arguments, path, &["sh", "-c", INSIDE])
}

/// What `scripts/test` has unpacked rather than installed.
fn tool(path: &str) -> PathBuf {
    let tools = env::var_os("SNECK_TEST_TOOLS")
        .expect("SNECK_TEST_TOOLS is not set: run scripts/test, which gets the programs to be met");
    let path = Path::new(&tools).join(path);
    assert!(path.exists(), "{path:?} is missing: run scripts/test");
    path
}

/// A shell script about this `$path`. It can try (`try`), say that it is in and stay there (`stay`) and try until it is in (`wait_for CODE`).
fn shell(script: &str, path: &Path) -> Command {
    const BEGIN: &str = r#"
path=$1
wait_for() {
    while try 2>/dev/null; code=$?; [ $code = "$1" ]; do sleep 0.01; done
    [ $code = 0 ] || exit $code
}
stay() {
    if [ -n "$WITNESS" ]; then mkdir "$WITNESS" && rmdir "$WITNESS" || exit 99
    else echo in; read -r line; fi
}
"#;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{BEGIN}{script}")).arg("sh");
    command.arg(path).stderr(Stdio::null());
    command
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

    fn pid(&self) -> u32 {
        self.process.id()
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

    /// It waits for the lock: it runs and says nothing.
    #[track_caller]
    fn must_wait(&mut self) {
        let heard = self.lines.recv_timeout(Duration::from_millis(150));
        assert!(heard.is_err(), "it must wait: {heard:?}");
        let ended = self.process.try_wait().expect("one's own child");
        assert!(ended.is_none(), "it must wait: {ended:?}");
    }

    /// Have it release, which it does when its input ends.
    fn go_on(&mut self) {
        self.input = None;
    }

    fn kill(&mut self) {
        self.process.kill().expect("one's own child");
        self.process.wait().expect("one's own child");
    }

    /// Have it release and end, without an error of its own.
    #[track_caller]
    fn wait(&mut self) {
        self.go_on();
        let mut status = None;
        block::until("it ends", || {
            status = self.process.try_wait().expect("one's own child");
            status.is_some()
        });
        assert!(status.is_some_and(|s| s.success()), "{status:?}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a program ends with.
#[track_caller]
fn code(mut command: Command) -> i32 {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let status = sys::run_within(&mut command, PATIENCE).expect("it ends");
    status
        .code()
        .unwrap_or_else(|| panic!("{command:?}: {status}"))
}

/// Everything about a claim that others must leave as it is. Its time is its holder's own business.
fn claim(path: &Path) -> String {
    let look = fs::symlink_metadata(path).expect("it is there");
    let content = if look.is_dir() {
        format!("{:?}", names(path))
    } else if look.is_symlink() {
        format!("{:?}", fs::read_link(path))
    } else {
        format!("{:?}", fs::read(path))
    };
    format!("{} {:o} {content}", look.ino(), look.mode())
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("it is there").ino()
}

/// What is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|e| {
        e.expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// While they hold, we wait, and know who it is if it can be known; while we hold, they are refused with their documented code.
#[track_caller]
fn exclude_each_other(company: &Company, ways: &[Waiting]) {
    for waiting in ways {
        let (setup, path) = setup(company.scheme, *waiting);
        let mut peer = Peer::start((company.hold)(&path));
        peer.must_say("in");
        let stands = claim(&path);
        let refusals = [
            setup.lock().try_acquire(),
            setup.lock().acquire_within(Duration::from_millis(30)),
        ];
        for refusal in refusals {
            let error = refusal.expect_err("they hold it");
            assert!(error.is_held(), "{error}");
            let pid = error.holders().first().and_then(|h| h.pid);
            assert_eq!(pid, company.named.then_some(peer.pid()), "{error}");
        }
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        assert_eq!(claim(&path), stands, "we touched what is theirs");
        peer.go_on();
        let guard = waiter.wait().expect("they have released");
        assert_ne!(guard.was_clean(), Clean::No, "nobody died");
        peer.wait();

        thread::sleep(company.ripe);
        let stands = company.ours(&path);
        assert_eq!(code((company.once)(&path)), company.refused, "we hold it");
        let mut peer = Peer::start((company.hold)(&path));
        peer.must_wait();
        assert_eq!(guard.standing(), Standing::Held);
        assert_eq!(company.ours(&path), stands, "they touched what is ours");
        guard.release().expect("it is held");
        peer.must_say("in");
        let error = setup.lock().try_acquire().expect_err("they hold it");
        assert!(error.is_held(), "{error}");
        peer.wait();

        let guard = setup.lock().try_acquire().expect("they are gone");
        guard.release().expect("it is held");
        assert_eq!(code((company.once)(&path)), 0, "nobody holds it");
        assert_eq!(names(setup.folder.path()), company.stays);
    }
}

/// Each sees the death of the other, or waits for a person where it cannot be seen.
#[track_caller]
fn see_each_other_die(company: &Company, ways: &[Waiting]) {
    for waiting in ways {
        let (setup, path) = setup(company.scheme, *waiting);
        let mut peer = Peer::start((company.hold)(&path));
        peer.must_say("in");
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        peer.kill();
        if company.leaves == Leaves::Claim {
            waiter.still();
            clear(&path);
        }
        let guard = waiter.wait().expect("nobody is in the way");
        if company.leaves == Leaves::Stale {
            assert_eq!(guard.was_clean(), Clean::No);
            assert_eq!(guard.broken()[0].pid, Some(peer.pid()));
        }
        guard.release().expect("it is held");

        let mut child = setup.child();
        child.acquire();
        thread::sleep(company.ripe);
        assert_eq!(code((company.once)(&path)), company.refused, "it is held");
        let mut peer = if company.breaks {
            let mut peer = Peer::start((company.hold)(&path));
            peer.must_wait();
            child.kill();
            peer
        } else {
            child.kill();
            assert_eq!(code((company.once)(&path)), company.refused, "it breaks");
            let guard = setup.lock().try_acquire();
            let guard = guard.expect("we know that it is dead");
            assert_eq!(guard.was_clean(), Clean::No);
            assert_eq!(guard.broken()[0].pid, Some(child.pid()));
            guard.release().expect("it is held");
            Peer::start((company.hold)(&path))
        };
        peer.must_say("in");
        let error = setup.lock().try_acquire().expect_err("they hold it");
        assert!(error.is_held(), "{error}");
        peer.wait();
        let guard = setup.lock().try_acquire().expect("they are gone");
        guard.release().expect("it is held");
        assert_eq!(names(setup.folder.path()), company.stays);
    }
}

/// Everybody wants it at the same time, and nobody is ever in together with another.
#[track_caller]
fn take_turns(company: &Company) {
    const PROCESSES: usize = 2;
    const ROUNDS: usize = 8;
    let (setup, path) = setup(company.scheme, Waiting::Best);
    let witness = Folder::new();
    let witness = witness.join("inside");
    let theirs = AtomicUsize::new(0);
    let ours = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                // In any case: we wait for it.
                let mut count = Finally(&theirs, ROUNDS);
                for _ in 0..ROUNDS {
                    let mut command = (company.hold)(&path);
                    command.env("WITNESS", &witness).stdout(Stdio::null());
                    assert_eq!(code(command), 0, "somebody else was in");
                    count.one();
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let lock = setup.lock();
                while theirs.load(Ordering::Relaxed) < PROCESSES * ROUNDS
                    || ours.load(Ordering::Relaxed) < ROUNDS
                {
                    let guard = lock.acquire_within(PATIENCE).expect("everybody has turns");
                    fs::create_dir(&witness).expect("nobody else is in");
                    thread::sleep(Duration::from_micros(300));
                    fs::remove_dir(&witness).expect("nobody else is in");
                    guard.release().expect("it is held");
                    ours.fetch_add(1, Ordering::Relaxed);
                    // They poll.
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
    });
    assert_eq!(names(setup.folder.path()), company.stays);
}

/// Counts up, and the rest when it is dropped.
struct Finally<'a>(&'a AtomicUsize, usize);

impl Finally<'_> {
    fn one(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1 -= 1;
    }
}

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(self.1, Ordering::Relaxed);
    }
}

/// What a person does to a claim that nobody holds any more, and to other names of it.
fn clear(path: &Path) {
    if path.is_dir() {
        return fs::remove_dir_all(path).expect("our own folder");
    }
    let claim = inode(path);
    let folder = path.parent().expect("our own folder");
    for name in names(folder) {
        let path = folder.join(name);
        if inode(&path) == claim {
            fs::remove_file(path).expect("our own folder");
        }
    }
}
