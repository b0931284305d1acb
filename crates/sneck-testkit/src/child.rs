//! Another process that acquires and releases as it is told.
//!
//! A child is this very test program, run again with one test only: the one that calls [`serve`]. It reads commands from its standard
//! input and answers on its standard output, in lines that begin with `@`; the rest is what the test harness prints. It ends when
//! its input does.
//!
//! | command | answers |
//! |---|---|
//! | `acquire NAME [once\|forever\|MS] [shared] [giveup] [record] [never\|dead\|likely\|after=MS]` | `waiting`, `polling`, `breaking`, `interrupted`, then `held` or `refused` |
//! | `release NAME` | `released` or `lost` |
//! | `drop NAME` | `dropped` |
//! | `standing NAME` | `standing` |
//! | `course ROUNDS THREADS JOURNAL [MODE]` | `done` |
//! | `take-turns JOURNAL` | `turn`, until killed |
//! | `count` | `count descriptors threads` |
//! | `pid` | `pid` |
//!
//! What only Unix can do is in `sys/unix/commands.rs`.

use crate::{Folder, Journal, PATIENCE, Setup, sys};
use sneck::{
    Error, Event, Guard, Interrupt, Lock, Mode, Observer, Record, Registry, Stale, Timeout, Waiting,
};
use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const PLACE: &str = "SNECK_TESTKIT_PLACE";
const WAITING: &str = "SNECK_TESTKIT_WAITING";
const FOLDER: &str = "SNECK_TESTKIT_FOLDER";

/// These end a command: whoever waits for another word will not get it.
const LAST_WORDS: [&str; 4] = ["held", "refused", "done", "unknown"];

/// How a child is to be started.
#[derive(Debug)]
pub struct Start {
    pub(crate) command: Command,
}

impl Start {
    /// As usual.
    pub fn of(setup: &Setup) -> Start {
        Start::wrapped(setup, &[])
    }

    /// By another program: `strace -f …` for instance. It gets the test program and its arguments.
    ///
    /// # Panics
    /// If this program does not know its own path.
    pub fn wrapped(setup: &Setup, wrapper: &[&str]) -> Start {
        let own = env::current_exe().expect("a program knows its own path");
        let mut command = match wrapper {
            [] => Command::new(own),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(own);
                command
            }
        };
        let waiting = match setup.waiting {
            Waiting::Best => "best",
            Waiting::Events => "events",
            Waiting::Polling => "polling",
        };
        command
            .args([setup.entry, "--exact", "--nocapture", "--test-threads=1"])
            .env(PLACE, &setup.place)
            .env(FOLDER, setup.folder.path())
            .env(WAITING, waiting);
        Start { command }
    }

    /// Any program that speaks as these children do.
    pub fn program(command: Command) -> Start {
        Start { command }
    }

    /// Go.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn child(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = self
            .command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {:?}: {e}", self.command.get_program()));
        let commands = process.stdin.take();
        let output = process.stdout.take().expect("the output is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Some(answer) = line.strip_prefix("@ ") else {
                    continue;
                };
                if sender.send(answer.to_owned()).is_err() {
                    return;
                }
            }
        });
        let mut child = Child {
            process,
            commands,
            lines,
            seen: Vec::new(),
            pid: 0,
        };
        child.pid = child.ask("pid").parse().expect("a number");
        child
    }
}

/// Another process that acquires and releases as it is told. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    commands: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    pid: u32,
}

impl Child {
    /// Start one for this lock.
    #[track_caller]
    pub fn start(setup: &Setup) -> Child {
        Start::of(setup).child()
    }

    /// Its process number; where it runs under another program, its own.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Give a command and do not wait for the answer.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn tell(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("the child was not ended");
        writeln!(commands, "{command}").expect("the child reads its commands");
    }

    /// Wait for an answer that begins with this word; the rest of it.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn hear(&mut self, word: &str) -> String {
        self.hear_one_of(&[word]).1
    }

    /// Wait for an answer that begins with one of these words: which one, and the rest of it.
    ///
    /// # Panics
    /// If none of them comes.
    #[track_caller]
    pub fn hear_one_of(&mut self, words: &[&str]) -> (String, String) {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("child {}: no {words:?} after {:?}", self.pid, self.seen);
            };
            let (first, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let heard = (first.to_owned(), rest.to_owned());
            let (found, last) = (words.contains(&first), LAST_WORDS.contains(&first));
            self.seen.push(line);
            if found {
                return heard;
            }
            assert!(
                !last,
                "child {}: no {words:?} but {:?}",
                self.pid, self.seen
            );
        }
    }

    /// Give a command, and wait for the answer that begins with the command's own name.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.hear(command.split(' ').next().unwrap_or_default())
    }

    /// Give a command, and wait for `done`.
    #[track_caller]
    pub fn order(&mut self, command: &str) -> String {
        self.tell(command);
        self.hear("done")
    }

    /// Have it acquire, which must succeed.
    #[track_caller]
    pub fn acquire(&mut self) -> String {
        self.tell("acquire it forever");
        self.hear("held")
    }

    /// Have it acquire, and wait until it says that it waits.
    #[track_caller]
    pub fn begin_to_wait(&mut self) {
        self.tell("acquire it forever");
        self.hear("waiting");
    }

    /// Have it try once, which must be refused.
    #[track_caller]
    pub fn must_be_refused(&mut self) -> String {
        self.tell("acquire it once");
        self.hear("refused")
    }

    /// Have it release.
    #[track_caller]
    pub fn release(&mut self) {
        self.tell("release it");
        self.hear("released");
    }

    /// Everything it has said so far.
    pub fn said(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// Whether it said something beginning with this word.
    pub fn has_said(&mut self, word: &str) -> bool {
        self.said()
            .iter()
            .any(|l| l.split(' ').next() == Some(word))
    }

    /// `kill -9` (on Windows: TerminateProcess), and reap. What it had begun to say is not waited for.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn kill(&mut self) {
        self.process.kill().expect("one's own child can be killed");
        self.process.wait().expect("one's own child can be reaped");
        // Only now: grandchildren take the end of input as a sign to go.
    }

    /// The same, but leave it a zombie (on Windows: with a handle on it).
    ///
    /// # Panics
    /// If that is not possible.
    pub fn kill_without_reaping(&mut self) {
        self.process.kill().expect("one's own child can be killed");
        sys::until_ended(&self.process);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Commands beside the usual ones. False: this is none of them.
pub type More = fn(&mut Session, &[&str]) -> bool;

/// If this process is a child of a test: do as one is told, and never return. Else nothing.
pub fn serve(registry: fn() -> Registry) {
    serve_with(registry, |_, _| false);
}

/// The same, with more commands.
pub fn serve_with(registry: fn() -> Registry, more: More) {
    let (Ok(place), Ok(waiting)) = (env::var(PLACE), env::var(WAITING)) else {
        return;
    };
    let waiting = match waiting.as_str() {
        "best" => Waiting::Best,
        "events" => Waiting::Events,
        _ => Waiting::Polling,
    };
    let mut session = Session {
        setup: Setup {
            registry,
            place,
            waiting,
            entry: "",
            folder: Folder::of(env::var_os(FOLDER).unwrap_or_default()),
        },
        guards: HashMap::new(),
    };
    // Read in a thread of its own: the end of the input ends this process, whatever it is waiting for.
    let (sender, commands) = channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(0);
    });
    for line in commands {
        let words: Vec<&str> = line.split(' ').collect();
        if !session.obey(&words) && !more(&mut session, &words) {
            say(&format!("unknown {line}"));
        }
    }
}

/// Say something to the test.
pub fn say(line: &str) {
    // The harness may be in the middle of a line of its own.
    let text = format!("\n@ {}\n", line.replace('\n', " "));
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes());
    let _ = output.flush();
}

/// What a child knows.
#[derive(Debug)]
pub struct Session {
    /// Its lock.
    pub setup: Setup,
    /// What it holds, by the names that the test gave.
    pub guards: HashMap<String, Guard>,
}

/// Says what the observer is told.
#[derive(Debug, Default)]
struct Teller {
    gives_up: AtomicBool,
}

impl Observer for Teller {
    fn notice(&self, event: &Event<'_>) {
        match event {
            Event::Waiting { seen, .. } => say(&format!("waiting {}", pids(seen.holders()))),
            Event::Polling { why, .. } => say(&format!("polling {why}")),
            Event::Breaking {
                holder, removal, ..
            } => say(&format!("breaking {holder}: {removal}")),
            _ => {}
        }
    }

    fn interrupted(&self) -> Interrupt {
        say("interrupted");
        if self.gives_up.load(Ordering::Relaxed) {
            Interrupt::GiveUp
        } else {
            Interrupt::Resume
        }
    }
}

fn pids(holders: &[sneck::Holder]) -> String {
    let mut text = String::new();
    for holder in holders {
        let _ = write!(
            text,
            "[{}]",
            holder.pid.map_or("?".into(), |p| p.to_string())
        );
    }
    text
}

fn refusal(error: &Error) -> String {
    format!("{:?} {} {error}", error.kind(), pids(error.holders()))
}

impl Session {
    fn acquire(&mut self, name: &str, words: &[&str]) {
        let teller = Teller::default();
        let mut timeout = Timeout::Forever;
        let mut builder = self.setup.builder();
        for word in words {
            builder = match *word {
                "once" => {
                    timeout = Timeout::Once;
                    builder
                }
                "forever" => builder,
                "shared" => builder.mode(Mode::Shared),
                "record" => builder.record(Record::Pid),
                "never" => builder.stale(Stale::Never),
                "dead" => builder.stale(Stale::Dead),
                "likely" => builder.stale(Stale::Likely),
                "giveup" => {
                    teller.gives_up.store(true, Ordering::Relaxed);
                    builder
                }
                other => {
                    let (what, number) = other.split_once('=').unwrap_or(("", other));
                    let length = Duration::from_millis(number.parse().expect("milliseconds"));
                    if what == "after" {
                        builder.stale(Stale::After(length))
                    } else {
                        timeout = Timeout::from(length);
                        builder
                    }
                }
            };
        }
        let place = (self.setup.registry)().place(&self.setup.place);
        let result = place
            .and_then(|place| builder.observer(Shared(Arc::new(teller))).at(&place))
            .and_then(|lock| lock.acquire_until(timeout));
        match result {
            Ok(guard) => {
                let broken = pids(guard.broken());
                say(&format!("held {:?} broken={broken}", guard.was_clean()));
                self.guards.insert(name.to_owned(), guard);
            }
            Err(error) => say(&format!("refused {}", refusal(&error))),
        }
    }

    fn obey(&mut self, words: &[&str]) -> bool {
        match words {
            ["pid"] => say(&format!("pid {}", std::process::id())),
            ["acquire", name, how @ ..] => self.acquire(name, how),
            ["release", name] => match self.guard(name).release() {
                Ok(()) => say("released"),
                Err(error) => say(&format!("lost {}", refusal(&error))),
            },
            ["drop", name] => {
                drop(self.guard(name));
                say("dropped");
            }
            ["standing", name] => say(&format!("standing {:?}", self.guards[*name].standing())),
            ["course", rounds, threads, journal, mode @ ..] => {
                let mode = if mode == ["shared"] {
                    Mode::Shared
                } else {
                    Mode::Exclusive
                };
                let number = |s: &str| s.parse().expect("a number");
                let lock = self.setup.lock_with(|b| b.mode(mode));
                course(&lock, number(rounds), number(threads), Path::new(journal));
                say("done");
            }
            ["take-turns", journal] => {
                let journal = Journal::open(Path::new(journal));
                let lock = self.setup.lock();
                loop {
                    journal.visit(lock.acquire().expect("the lock can be had"));
                    say("turn");
                }
            }
            ["count"] => {
                let (descriptors, threads) = (sys::count_descriptors(), sys::count_threads());
                say(&format!("count {descriptors} {threads}"));
            }
            _ => return sys::obey(self, words),
        }
        true
    }

    pub(crate) fn guard(&mut self, name: &str) -> Guard {
        self.guards.remove(name).expect("the guard of this name")
    }
}

struct Shared(Arc<Teller>);

impl Observer for Shared {
    fn notice(&self, event: &Event<'_>) {
        self.0.notice(event);
    }

    fn interrupted(&self) -> Interrupt {
        self.0.interrupted()
    }
}

/// Acquire and visit so often, in so many threads.
///
/// # Panics
/// If the lock cannot be had.
pub fn course(lock: &Lock, rounds: usize, threads: usize, journal: &Path) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let journal = Journal::open(journal);
                for _ in 0..rounds {
                    let guard = lock.acquire_within(PATIENCE);
                    journal.visit(guard.expect("everybody gets a turn"));
                }
            });
        }
    });
}
