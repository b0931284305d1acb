//! `sneck run` at places with leases: whoever loses the lock is dead before the next one is let in, whatever becomes of sneck.
//!
//! Not for: leases themselves (`sneck`, `sneck-redis`, `sneck-etcd`), nor what holds without a server (`hold.rs`).

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

#[path = "../stage/mod.rs"]
mod stage;

mod environment;
mod kept_out;
mod lost;
mod terminal;

use rustix::time::{ClockId, clock_gettime};
use stage::{Place, Running, until};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// Terms that tests can wait for. KILL comes half a second after the lease's end, others at the earliest a second after it.
pub(crate) const TERMS: [&str; 4] = ["--ttl", "1s", "--lock-delay", "1s"];

/// A command whose grandchild ignores TERM and writes the time into `beats` until it is killed; also when TERM came.
pub(crate) const BEATS: &str = "\
    (trap 'echo term >> log' TERM; while [ -d $PWD ]; do read up rest < /proc/uptime; echo $up >> beats; sleep 0.02; done) & \
    echo $$ > group; trap 'echo term >> log' TERM; while [ -d $PWD ]; do sleep 0.05; done";

/// Seconds since boot, as /proc/uptime and CLOCK_BOOTTIME have them.
pub(crate) fn now() -> f64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// `sneck run` with the terms above, and what it says in `said`.
pub(crate) fn run(place: &Place, lock: &str, script: &str) -> Running {
    run_with(place, &[], lock, script)
}

pub(crate) fn run_with(place: &Place, options: &[&str], lock: &str, script: &str) -> Running {
    let words = [
        &["run"],
        &TERMS[..],
        options,
        &[lock, "--", "sh", "-c", script],
    ]
    .concat();
    let said = fs::File::create(place.path().join("said")).expect("made");
    let child = place
        .command(&words)
        .stdout(Stdio::null())
        .stderr(said)
        .spawn();
    Running {
        child: child.expect("sneck runs"),
    }
}

/// The last time that the grandchild wrote; it has two digits behind the point, cut and not rounded.
pub(crate) fn last_beat(place: &Place) -> f64 {
    let beats = place.text("beats");
    let last = beats
        .lines()
        .filter_map(|line| line.parse::<f64>().ok())
        .next_back();
    last.expect("it has written")
}

pub(crate) fn beats(place: &Place) {
    until("the command runs", || {
        place.has("group") && place.text("beats").lines().count() > 2
    });
}

/// Whether anybody who has not ended is in this group.
pub(crate) fn members(group: &str) -> Vec<String> {
    of_all_processes(|fields| fields[4] == group && !["Z", "X"].contains(&fields[2].as_str()))
}

/// Keepers and anchors of a sneck, zombies too.
pub(crate) fn keepers_of(sneck: &str) -> Vec<String> {
    let mark = format!("keeper\0of\0{sneck}\0");
    of_all_processes(|fields| {
        let line = fs::read(format!("/proc/{}/cmdline", fields[0])).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&mark)
            || fields[3] == sneck && fields[1].starts_with("(sneck-")
    })
}

/// The numbers of those whose line of /proc/N/stat is so: pid, name, state, parent, group …
fn of_all_processes(is: impl Fn(&[String]) -> bool) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("mounted");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let wanted = numbers.filter(|number| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let Some((start, rest)) = stat.rsplit_once(") ") else {
            return false;
        };
        let (pid, name) = start.split_once(' ').unwrap_or_default();
        let fields: Vec<String> = [pid, name]
            .into_iter()
            .chain(rest.split(' '))
            .map(str::to_owned)
            .collect();
        is(&fields)
    });
    wanted.collect()
}

/// Somebody else's turn: when it was let in.
pub(crate) fn next_turn(lock: &str) -> f64 {
    let other = Place::new();
    let words = [
        "run",
        "-w",
        "30s",
        lock,
        "--",
        "sh",
        "-c",
        "read up rest < /proc/uptime; echo $up > in",
    ];
    assert_eq!(other.said(&words).0, 0, "it gets its turn");
    other.text("in").trim().parse().expect("a time")
}

/// Nothing is left of a sneck that has ended, nor of its command.
pub(crate) fn nothing_is_left(sneck: &str, group: &str) {
    until("the keeper has gone", || keepers_of(sneck).is_empty());
    assert_eq!(members(group), Vec::<String>::new());
}

pub(crate) const MOMENT: Duration = Duration::from_millis(100);
