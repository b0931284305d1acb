//! `sneck status`: who holds a lock, without touching it.

use crate::advice;
use crate::exit::Exit;
use crate::families::{self, Unseen};
use crate::json;
use crate::plan::{Form, Status};
use crate::seen::{self, Seen};
use serde::Serialize;
use sneck::inspect::{Holding, How, Inspection, Inspector, Kind, Limit, Oddity, Probe};
use sneck::protocol::Reach;
use sneck::{Error, Holder, Lock, Place, Registry, Sighting, Verdict, text};
use std::io::{self, Write};
use std::time::SystemTime;

/// Look at each, print what was seen; the exit code is the worst of them.
pub(crate) fn status(plan: &Status, registry: &Registry) -> Exit {
    let reports: Vec<Report> = plan
        .locks
        .iter()
        .map(|place| Report::of(place, plan.probe, registry))
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
        .try_for_each(|report| writeln!(out, "{}: {}", report.lock, report.lines.join("\n  ")))
}

fn json(reports: &[Report]) -> io::Result<()> {
    json::pretty(io::stdout().lock(), &reports)
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
    /// Everything that is known of the file, whatever the protocol; null where there is none.
    inspection: Option<Seen>,
    /// The words, a line a matter.
    #[serde(skip)]
    lines: Vec<String>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
    fn of(place: &Place, probe: Probe, registry: &Registry) -> Report {
        match Report::look(place, probe, registry) {
            Ok(report) => report,
            Err(error) => {
                let words = error.to_string();
                // The error names the lock, as each line does.
                let prefix = format!("{place}: ");
                let words = words.strip_prefix(&prefix).unwrap_or(&words).to_owned();
                Report {
                    lines: vec![words.clone()],
                    words,
                    ..Report::new(place, State::Error, Exit::from(&error))
                }
            }
        }
    }

    fn look(place: &Place, probe: Probe, registry: &Registry) -> Result<Report, Error> {
        let lock = Lock::builder().registry(registry).at(place)?;
        let seen = lock.holder()?;
        // All that is on the file; an error would be that of the look before.
        let all = match lock.capabilities().reach {
            Reach::Machine => Inspector::new().probe(probe).path(place.rest()).ok(),
            _ => None,
        };
        let seen = match (&seen, &all) {
            (Sighting::Unknown { .. }, Some(all)) => {
                found_out(&lock.parts(), all, probe).unwrap_or(seen)
            }
            _ => seen,
        };
        let verdict = lock.verdict(&seen);
        let names = listed(seen.holders());
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
        let unseen = all
            .as_ref()
            .and_then(|all| families::unseen(place, &seen, all));
        let parts = lock.parts();
        let (words, advice) = match parts.as_slice() {
            [_] => (words, advice::about(place, &seen, verdict.as_ref())),
            parts => of_parts(&words, &seen, parts)?,
        };
        let advice = advice
            .or_else(|| unseen.as_ref().map(Unseen::advice))
            .or_else(|| advice::to_find_out(place, &seen, probe));
        // A kernel lock has nothing to do with what else is on the file; of a claim, or of several locks, all of it counts.
        let is_kernel = families::is_one(place.scheme());
        let is_own = |kind: Kind| !is_kernel || families::is_of(place.scheme(), kind);
        // At a server it tells; on a machine the kernel does.
        let waiters = match (&seen, &all) {
            (_, Some(all)) => {
                let own = all.waiters.iter().filter(|waiter| is_own(waiter.kind));
                own.map(|waiter| waiter.holder.clone()).collect()
            }
            (Sighting::Held { .. }, None) => lock.waiters()?,
            _ => Vec::new(),
        };
        let waiting = (!waiters.is_empty()).then(|| format!("waited for by {}", some(&waiters)));
        let (heirs, odd) = match &all {
            Some(all) => (heirs(all, &seen, is_own), odd(all, unseen.is_some())),
            None => (None, None),
        };
        let lines = [
            Some(words),
            heirs,
            waiting,
            unseen.as_ref().map(Unseen::words),
            odd,
            advice.clone(),
        ];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        Ok(Report {
            verdict: verdict.as_ref().map(seen::word),
            words: lines.join("; "),
            lines,
            advice,
            holders: parties(seen.holders()),
            waiters: parties(&waiters),
            unseen: parties(unseen.as_ref().map_or(&[], Unseen::holders)),
            inspection: all.as_ref().map(Seen::of),
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
            inspection: None,
            lines: Vec::new(),
            exit,
        }
    }
}

/// What asking gave, where it could not be seen: `--probe`. None: it gave nothing more, or not of all that the lock consists of (no claim is asked for).
fn found_out(parts: &[Lock], all: &Inspection, probe: Probe) -> Option<Sighting> {
    let schemes: Vec<&str> = parts.iter().map(|part| part.place().scheme()).collect();
    if !schemes.iter().all(|scheme| families::is_one(scheme)) {
        return None;
    }
    let own = |holding: &&Holding| {
        let mut schemes = schemes.iter();
        schemes.any(|scheme| families::is_of(scheme, holding.kind))
    };
    let keepers = all.holdings.iter().filter(own).flat_map(|h| &h.keepers);
    let holders: Vec<Holder> = keepers.map(|keeper| keeper.holder.clone()).collect();
    // It is held by these at least. That nobody holds it only asking tells.
    let not_asked = |limit: &Limit| matches!(limit, Limit::NotProbed { .. });
    let is_asked = probe == Probe::Try && !all.limits.iter().any(not_asked);
    if holders.is_empty() && !is_asked {
        return None;
    }
    Some(match holders.is_empty() {
        true => Sighting::Free,
        false => Sighting::Held {
            holders,
            mark: None,
        },
    })
}

/// So many of those who are not the matter itself are named.
const NAMED: usize = 3;

fn listed(holders: &[Holder]) -> String {
    let names: Vec<String> = holders.iter().map(Holder::to_string).collect();
    names.join("; ")
}

/// The first of them, and how many more there are.
fn some(holders: &[Holder]) -> String {
    let named = listed(&holders[..holders.len().min(NAMED)]);
    match holders.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

/// Those who keep it up besides the holders that were named: they inherited it, and it is held until all of them are done with it.
fn heirs(all: &Inspection, seen: &Sighting, is_own: impl Fn(Kind) -> bool) -> Option<String> {
    let mut heirs: Vec<Holder> = Vec::new();
    let own = all.holdings.iter().filter(|holding| is_own(holding.kind));
    let keepers = own.flat_map(|holding| &holding.keepers);
    for keeper in keepers.filter(|keeper| keeper.how == How::Inherited) {
        let same = |known: &Holder| known.pid == keeper.holder.pid;
        if !seen.holders().iter().any(same) && !heirs.iter().any(same) {
            heirs.push(keeper.holder.clone());
        }
    }
    let holds = matches!(seen, Sighting::Held { .. });
    (holds && !heirs.is_empty()).then(|| format!("inherited by {}", some(&heirs)))
}

/// What is odd about it, but for what is said otherwise.
fn odd(all: &Inspection, has_unseen: bool) -> Option<String> {
    let new = |oddity: &&Oddity| match oddity {
        Oddity::TwoFamilies => !has_unseen,
        // The verdict says so.
        Oddity::OtherHost(_) => false,
        _ => true,
    };
    let words: Vec<String> = all
        .oddities
        .iter()
        .filter(new)
        .map(Oddity::to_string)
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
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
