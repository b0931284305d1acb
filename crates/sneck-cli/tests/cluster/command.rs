//! Who takes turns by the command: `sneck run` with a command that changes what the judge keeps, again and again. That command asks nobody whether the lock is held: sneck has to end it in time.
//!
//! Not for: holders by the library (`party.rs`), what is done to them (`faults.rs`).

use rustix::process::{Pid, Signal, kill_process};
use sneck_testkit::Folder;
use sneck_testkit::block::until;
use sneck_testkit::dice::Dice;
use sneck_testkit::judge::visitor::{Session, Visitor};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const JUDGE: &str = "SNECK_CLUSTER_JUDGE";
const NAME: &str = "SNECK_CLUSTER_NAME";
const SEED: &str = "SNECK_CLUSTER_SEED";
const NUMBER: &str = "SNECK_CLUSTER_NUMBER";

/// From TERM to KILL. Less than the lock delay: all of it has to be over before the next one gets in.
const KILL_AFTER: &str = "300ms";

/// The test by which these commands enter. They ignore TERM half of the time.
const ENTRY: &str = "command::is_where_commands_enter";

#[test]
fn is_where_commands_enter() {
    let word = |name: &str| env::var(name).ok();
    let (Some(judge), Some(name), Some(token)) = (word(JUDGE), word(NAME), word("SNECK_TOKEN"))
    else {
        return;
    };
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let mut dice = Dice::new(number(word(SEED)).unwrap_or_default());
    let port = judge.parse().expect("a port");
    let token = token.parse().expect("a token is a number");
    if let Some(path) = word(NUMBER) {
        fs::write(&path, std::process::id().to_string()).expect("our own folder");
    }
    let (mut judge, _) = Visitor::come(port, &name).expect("the judge is there");
    let (writes, think) = (1 + dice.below(3), dice.micros(20_000));
    let _ = judge.stay(token, writes, think, || true);
    std::process::exit(0);
}

#[derive(Debug)]
struct Shared {
    name: String,
    place: String,
    judge: u16,
    number: PathBuf,
    /// The sneck that runs now. Reaped under the mutex, so that a signal never goes to another process of its number.
    sneck: Mutex<Option<Child>>,
}

/// One of them, at work.
#[derive(Debug)]
pub(crate) struct Runs {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _folder: Folder,
}

impl Shared {
    fn sneck(&self) -> MutexGuard<'_, Option<Child>> {
        self.sneck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs it once; its exit status.
    fn once(&self, dice: &mut Dice) -> i32 {
        let timeout = match dice.below(4) {
            0 => format!("{}ms", 1 + dice.below(200)),
            _ => "30s".to_owned(),
        };
        let own = env::current_exe().expect("a program knows its own path");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sneck"));
        command
            .args(["run", "--quiet", "--timeout", &timeout])
            .args(["--kill-after", KILL_AFTER, &self.place, "--"]);
        if dice.below(2) == 0 {
            command.args(["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"]);
        }
        command
            .arg(own)
            .args([ENTRY, "--exact", "--nocapture"])
            .env(JUDGE, self.judge.to_string())
            .env(NAME, &self.name)
            .env(SEED, dice.below(u64::MAX).to_string())
            .env(NUMBER, &self.number)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        *self.sneck() = Some(command.spawn().expect("sneck"));
        loop {
            thread::sleep(Duration::from_millis(2));
            let mut sneck = self.sneck();
            let ended = sneck.as_mut().map(|child| child.try_wait().expect("ours"));
            if let Some(Some(status)) = ended {
                *sneck = None;
                return status.code().unwrap_or(-1);
            }
        }
    }

    fn all(&self, mut dice: Dice) -> std::io::Result<()> {
        let (mut judge, _) = Visitor::come(self.judge, &self.name)?;
        while judge.asks()? == Session::GoesOn {
            match self.once(&mut dice) {
                // Done, killed by the test, lost.
                0 | -1 | 76 => {}
                75 => judge.gave_up()?,
                other => {
                    judge.trouble(&format!("sneck ended with {other}"))?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        Ok(())
    }
}

impl Runs {
    pub(crate) fn begin(name: &str, place: &str, judge: u16, seed: u64) -> Runs {
        let folder = Folder::new();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            place: place.to_owned(),
            judge,
            number: folder.join("number"),
            sneck: Mutex::new(None),
        });
        let thread = thread::spawn({
            let shared = shared.clone();
            // Without a judge the test is over.
            move || drop(shared.all(Dice::new(seed)))
        });
        Runs {
            shared,
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// To the sneck of now, if it lives.
    pub(crate) fn signal_sneck(&self, signal: Signal) {
        if let Some(child) = &*self.shared.sneck() {
            send(child.id(), signal);
        }
    }

    /// To the command of now, which is inside.
    pub(crate) fn signal_command(&self, signal: Signal) {
        if let Some(number) = number(&self.shared.number) {
            send(number, signal);
        }
    }

    /// To the sneck of now and all that it has started: the command, and whatever is to keep it in order.
    pub(crate) fn signal_all(&self, signal: Signal) {
        if let Some(child) = &*self.shared.sneck() {
            for process in descendants(child.id()) {
                send(process, signal);
            }
        }
    }

    /// Until it has had enough, after the judge has closed.
    pub(crate) fn goes(&mut self) {
        let thread = self.thread.take().expect("it goes once");
        until("sneck has ended", || thread.is_finished());
    }
}

fn number(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.parse().ok()
}

/// It, its children, and theirs.
fn descendants(number: u32) -> Vec<u32> {
    let mut all = vec![number];
    let mut next = 0;
    while let Some(number) = all.get(next).copied() {
        let threads = fs::read_dir(format!("/proc/{number}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|n| n.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    all
}

/// It may have ended a moment ago.
fn send(number: u32, signal: Signal) {
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a number"), signal);
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.signal_sneck(Signal::CONT);
        self.signal_sneck(Signal::TERM);
    }
}
