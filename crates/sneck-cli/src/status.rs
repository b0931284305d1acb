//! `sneck status`: who holds a lock, without touching it.

use crate::advice;
use crate::exit::Exit;
use crate::families::{self, Unseen};
use crate::plan::{Form, Status};
use serde::Serialize;
use sneck::protocol::Reach;
use sneck::{Error, Holder, Lock, Place, Registry, Sighting, Verdict, text};
use std::io::{self, Write};
use std::time::SystemTime;

/// Look at each, print what was seen; the exit code is the worst of them.
pub(crate) fn status(plan: &Status, registry: &Registry) -> Exit {
    let reports: Vec<Report> = plan
        .locks
        .iter()
        .map(|place| Report::of(place, registry))
        .collect();
    let printed = match plan.form {
        Form::People => people(&reports),
        Form::Json => json(&reports),
    };
    // A reader that went away (`| head`) wants no more; anything else is an error.
    if printed.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
        return Exit::Io;
    }
    Exit::worst(reports.iter().map(|r| r.exit))
}

fn people(reports: &[Report]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    reports
        .iter()
        .try_for_each(|report| writeln!(out, "{}: {}", report.lock, report.words))
}

fn json(reports: &[Report]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, reports)?;
    writeln!(out)
}

/// One lock as `--json` shows it. The help of `status` documents the fields; programs rely on them.
#[derive(Debug, Serialize)]
struct Report {
    /// The place, made safe for a terminal.
    lock: String,
    protocol: String,
    state: State,
    verdict: Option<&'static str>,
    /// The same in words.
    #[serde(rename = "text")]
    words: String,
    advice: Option<String>,
    holders: Vec<Party>,
    /// Who waits for it, first the one who is next, where a server shows them.
    waiters: Vec<Party>,
    /// Who holds the same file by the other family of kernel locks.
    unseen: Vec<Party>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Free,
    Held,
    Stale,
    Damaged,
    Foreign,
    Unknown,
    Error,
}

/// One holder as `--json` shows it. What is not known is null. Strings are as foreign programs wrote them.
#[derive(Debug, Serialize)]
struct Party {
    pid: Option<u32>,
    host: Option<String>,
    user: Option<String>,
    command: Option<String>,
    label: Option<String>,
    token: Option<u64>,
    mode: Option<String>,
    /// Since when it holds; UTC.
    since: Option<String>,
    /// Since when the process runs; UTC.
    started: Option<String>,
    /// Who says so.
    source: String,
    /// Whose claim it is, if not one of the protocol that it was looked at by.
    protocol: Option<&'static str>,
}

impl Report {
    fn of(place: &Place, registry: &Registry) -> Report {
        match Report::look(place, registry) {
            Ok(report) => report,
            Err(error) => {
                let words = error.to_string();
                // The error names the lock, as each line does.
                let prefix = format!("{place}: ");
                let words = words.strip_prefix(&prefix).unwrap_or(&words).to_owned();
                Report {
                    words,
                    ..Report::new(place, State::Error, Exit::from(&error))
                }
            }
        }
    }

    fn look(place: &Place, registry: &Registry) -> Result<Report, Error> {
        let lock = Lock::builder().registry(registry).at(place)?;
        let seen = lock.holder()?;
        let verdict = lock.verdict(&seen);
        let names = seen
            .holders()
            .iter()
            .map(Holder::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let (state, words, exit) = match &seen {
            Sighting::Free => (State::Free, "free".to_owned(), Exit::Ok),
            Sighting::Held { .. } => match &verdict {
                Some(verdict) if verdict.is_gone() => (
                    State::Stale,
                    format!("stale: claimed by {names}, {verdict}"),
                    Exit::StatusStale,
                ),
                Some(verdict) if *verdict != Verdict::Alive => (
                    State::Held,
                    format!("held by {names}, {verdict}"),
                    Exit::StatusHeld,
                ),
                _ => (State::Held, format!("held by {names}"), Exit::StatusHeld),
            },
            Sighting::Damaged { what, .. } => (
                State::Damaged,
                format!("damaged: {what}"),
                Exit::StatusStale,
            ),
            Sighting::Foreign { what } => {
                let words = format!("this is {what}, not a lock of protocol {}", place.scheme());
                (State::Foreign, words, Exit::NotALock)
            }
            // Never said to be free.
            Sighting::Unknown { why } => {
                (State::Unknown, format!("unknown: {why}"), Exit::StatusHeld)
            }
            _ => (State::Unknown, "unknown".to_owned(), Exit::StatusHeld),
        };
        let unseen = families::unseen(place, &seen, registry);
        let parts = lock.parts();
        let (words, advice) = match parts.as_slice() {
            [_] => (words, advice::about(place, &seen, verdict.as_ref())),
            parts => of_parts(&words, &seen, parts)?,
        };
        let advice = advice.or_else(|| unseen.as_ref().map(Unseen::advice));
        let others = unseen.as_ref().map(Unseen::words);
        // Those who wait for a lock of this machine are known to nobody.
        let waiters = match (&seen, lock.capabilities().reach) {
            (Sighting::Held { .. }, Reach::Network) => lock.waiters()?,
            _ => Vec::new(),
        };
        let names: Vec<String> = waiters.iter().map(Holder::to_string).collect();
        let waiting = (!names.is_empty()).then(|| format!("waited for by {}", names.join("; ")));
        let words = [Some(words), waiting, others, advice.clone()];
        Ok(Report {
            verdict: verdict.as_ref().map(word),
            words: words.into_iter().flatten().collect::<Vec<_>>().join("; "),
            advice,
            holders: parties(seen.holders()),
            waiters: parties(&waiters),
            unseen: parties(unseen.as_ref().map_or(&[], Unseen::holders)),
            ..Report::new(place, state, exit)
        })
    }

    /// Nothing but the end is known.
    fn new(place: &Place, state: State, exit: Exit) -> Report {
        Report {
            lock: place.to_string(),
            protocol: place.scheme().to_owned(),
            state,
            verdict: None,
            words: String::new(),
            advice: None,
            holders: Vec::new(),
            waiters: Vec::new(),
            unseen: Vec::new(),
            exit,
        }
    }
}

fn parties(holders: &[Holder]) -> Vec<Party> {
    holders.iter().map(Party::of).collect()
}

/// Of several locks that are one: what is at each place, and what to do about the first that is in the way.
fn of_parts(
    words: &str,
    whole: &Sighting,
    parts: &[Lock],
) -> Result<(String, Option<String>), Error> {
    if *whole == Sighting::Free {
        return Ok((words.to_owned(), None));
    }
    let (mut places, mut advice) = (Vec::new(), None);
    for part in parts {
        let seen = part.holder()?;
        let verdict = part.verdict(&seen);
        let state = match &seen {
            Sighting::Free => "free",
            Sighting::Held { .. } if verdict.as_ref().is_some_and(Verdict::is_gone) => "stale",
            Sighting::Held { .. } => "held",
            Sighting::Damaged { .. } => "damaged",
            Sighting::Foreign { .. } => "foreign",
            _ => "unknown",
        };
        places.push(format!("{} {state}", part.place()));
        advice = advice.or_else(|| advice::about(part.place(), &seen, verdict.as_ref()));
    }
    Ok((format!("{words} ({})", places.join(", ")), advice))
}

/// A verdict in one word, for programs.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Alive => "alive",
        Verdict::Marked => "marked",
        Verdict::Gone(_) => "gone",
        Verdict::Younger { .. } => "younger",
        _ => "unknown",
    }
}

impl Party {
    fn of(holder: &Holder) -> Party {
        let time = |point: Option<SystemTime>| point.map(text::time);
        Party {
            pid: holder.pid,
            host: holder.host.clone(),
            user: holder.user.clone(),
            command: holder.command.clone(),
            label: holder.label.clone(),
            token: holder.token,
            mode: holder.mode.map(|m| m.to_string()),
            since: time(holder.since),
            started: time(holder.started),
            source: holder.source.to_string(),
            protocol: holder.protocol,
        }
    }
}
