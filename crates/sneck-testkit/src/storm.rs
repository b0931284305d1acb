//! A storm of kills: eight processes acquire, work and release; a ninth, the test, kills them (SIGKILL), stops and continues them at random, and starts others in
//! their place. Afterwards the journal must show no two inside at once, the lock must be free for the next one, and nothing may be left over.
//!
//! A killed process was inside until its kill, if its stay has no end; the test notes when that was. Every killed process is reaped at once.
//!
//! Process numbers come round: each kill uses up a few, and a machine may have no more than 32768. The number of a dead holder could so be given to
//! a live process, and its claim would not be stale any more. Here it cannot: a dead claim stands until the next of the others looks at it, some
//! milliseconds, and not for the minutes in which all other numbers are used up. So the storm keeps to the usual policy. Reused numbers are tested where they can be
//! chosen, not here; nor are the single points of a way (`crash`).

use crate::child::{Session, Start};
use crate::deeds::{self, Deeds};
use crate::dice::Dice;
use crate::{Child, Journal, PATIENCE, Setup, claims, sys};
use sneck::{Event, Mode, protocol::Removal};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How many work.
const WORKERS: usize = 8;
/// So many at most stand still at a time.
const STOPPED: usize = 5;
/// If nobody got in for so long, the lock is one that nobody can take.
const STUCK: Duration = Duration::from_secs(15);

/// No stay takes more bytes in the journal.
const BYTES: u64 = 120;

/// So often at least somebody is inside, in a storm of this length.
pub fn least(length: Duration) -> usize {
    (5.0 * length.as_secs_f64()) as usize
}

/// What happened.
#[derive(Debug, Default, Clone, Copy)]
pub struct Weather {
    /// How often somebody was inside.
    pub acquired: usize,
    /// How many were killed.
    pub kills: usize,
    /// How many of them inside.
    pub inside: usize,
    /// How many were stopped and continued.
    pub stops: usize,
    /// How many dead claims were removed, as those say who did.
    pub broken: usize,
}

impl std::ops::AddAssign for Weather {
    fn add_assign(&mut self, other: Weather) {
        self.acquired += other.acquired;
        self.kills += other.kills;
        self.inside += other.inside;
        self.stops += other.stops;
        self.broken += other.broken;
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acquisitions, {} kills ({} of holders), {} stops, {} broken claims",
            self.acquired, self.kills, self.inside, self.stops, self.broken
        )
    }
}

/// The command of the workers: `work JOURNAL DEEDS`, which never ends.
pub fn commands(session: &mut Session, words: &[&str]) -> bool {
    let ["work", journal, deeds] = words else {
        return false;
    };
    let journal = Journal::open(Path::new(journal));
    let deeds = Arc::new(Deeds::open(Path::new(deeds)));
    let told = deeds.clone();
    let observer = move |event: &Event<'_>| {
        if matches!(
            event,
            Event::Breaking {
                removal: Removal::Removed,
                ..
            }
        ) {
            told.notice(event);
        }
    };
    let lock = session.setup.lock_with(|b| b.observer(observer));
    let mut dice = Dice::new(sys::now());
    loop {
        match lock.acquire_within(PATIENCE) {
            Ok(guard) => {
                journal.enter(Mode::Exclusive);
                thread::sleep(dice.micros(300));
                journal.leave(Mode::Exclusive);
                if let Err(error) = guard.release() {
                    deeds.note("wrong", 0, 0, &error.to_string());
                }
            }
            Err(error) => deeds.note("wrong", 0, 0, &error.to_string()),
        }
        thread::sleep(dice.micros(500));
    }
}

/// One that works.
struct Worker {
    child: Child,
    /// It stands still until then.
    stopped: Option<Instant>,
}

struct Storm<'a> {
    setup: &'a Setup,
    journal: Journal,
    orders: String,
    dice: Dice,
    workers: Vec<Worker>,
    weather: Weather,
}

impl Storm<'_> {
    fn start(&mut self) {
        let mut child = Start::of(self.setup).child();
        child.tell(&self.orders);
        self.workers.push(Worker {
            child,
            stopped: None,
        });
    }

    fn kill(&mut self, number: usize) {
        let mut worker = self.workers.swap_remove(number);
        let pid = worker.child.pid();
        assert!(sys::runs(pid), "process {pid} ended, and nobody killed it");
        let alive = sys::now();
        worker.child.kill();
        if sys::LINES_IN_TURN {
            // One of them may have the turn, and the next line is ours.
            self.go_on(true);
        }
        // Before another process can have its number and say something.
        self.journal.killed(pid, alive);
        self.weather.kills += 1;
    }

    fn stop(&mut self, number: usize) {
        let still = self.workers.iter().filter(|w| w.stopped.is_some()).count();
        // Now and then for longer than anybody is patient.
        let most = if self.dice.below(10) == 0 {
            400_000
        } else {
            30_000
        };
        let end = Instant::now() + self.dice.micros(most);
        let worker = &mut self.workers[number];
        if worker.stopped.is_none() && still < STOPPED {
            sys::stop(worker.child.pid());
            worker.stopped = Some(end);
            self.weather.stops += 1;
        }
    }

    fn go_on(&mut self, all: bool) {
        for worker in &mut self.workers {
            if worker
                .stopped
                .is_some_and(|end| all || end <= Instant::now())
            {
                sys::go_on(worker.child.pid());
                worker.stopped = None;
            }
        }
    }

    fn rage(&mut self, length: Duration) {
        let (start, path) = (Instant::now(), self.setup.folder.join("journal"));
        let mut progress = (0, start);
        let enough = least(length) as u64 * BYTES;
        // Where it takes long to start a process, little is done in the time.
        while start.elapsed() < length || (progress.0 < enough && start.elapsed() < 8 * length) {
            let number = usize::try_from(self.dice.below(WORKERS as u64)).unwrap_or(0);
            match self.dice.below(10) {
                0..4 => {
                    self.kill(number);
                    self.start();
                }
                4..8 => self.stop(number),
                _ => {}
            }
            self.go_on(false);
            thread::sleep(self.dice.micros(5000));
            let size = fs::metadata(&path).map_or(0, |m| m.len());
            if size != progress.0 {
                progress = (size, Instant::now());
            }
            assert!(
                progress.1.elapsed() < STUCK,
                "nobody gets the lock any more"
            );
        }
    }
}

/// Let it rage for so long, and see what is left.
///
/// # Panics
/// If two were inside at once, if somebody could not get in or lost the lock, if the next one cannot have it, or if something is left over.
pub fn storm(setup: &Setup, scheme: &str, length: Duration) -> Weather {
    let (path, log) = (setup.folder.join("journal"), setup.folder.join("deeds"));
    let mut storm = Storm {
        setup,
        journal: Journal::open(&path),
        orders: format!("work {} {}", path.display(), log.display()),
        dice: Dice::new(sys::now()),
        workers: Vec::new(),
        weather: Weather::default(),
    };
    for _ in 0..WORKERS {
        storm.start();
    }
    storm.rage(length);
    storm.go_on(true);
    while !storm.workers.is_empty() {
        storm.kill(0);
    }

    let mut weather = storm.weather;
    let deeds = deeds::read(&log);
    let wrong: Vec<_> = deeds.iter().filter(|d| d.what == "wrong").collect();
    weather.broken = deeds.iter().filter(|d| d.what == "removed").count();
    (weather.acquired, weather.inside) = storm.journal.stays_and_kills();
    assert_eq!(storm.journal.overlaps(), "", "{weather}");
    assert!(wrong.is_empty(), "{weather}, and {wrong:#?}");
    let mut newcomer = setup.child();
    for _ in 0..2 {
        newcomer.tell(&format!("acquire it {}", PATIENCE.as_millis() / 2));
        newcomer.hear("held");
        newcomer.release();
    }
    let left = claims::names(&setup.folder.join("locks"));
    assert_eq!(left, claims::rest(scheme), "what is left, after {weather}");
    weather
}
