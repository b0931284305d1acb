//! The rows of the table: one for each process that keeps a file in one way, however many ranges of it.
//!
//! Not for: how wide they are (`table.rs`).

use super::found::File;
use crate::screen::Tint;
use crate::seen::{Holding, Keeping, Process};
use crate::shown;
use std::collections::HashMap;
use std::time::SystemTime;

/// Its columns.
pub(super) const HEADER: [&str; COLUMNS] = [
    "LOCK", "KIND", "MODE", "STATE", "PID", "USER", "SINCE", "WAIT", "COMMAND",
];
pub(super) const COLUMNS: usize = 9;

/// What they are in [`HEADER`].
pub(super) mod column {
    pub(in crate::list) const LOCK: usize = 0;
    pub(in crate::list) const KIND: usize = 1;
    pub(in crate::list) const MODE: usize = 2;
    pub(in crate::list) const STATE: usize = 3;
    pub(in crate::list) const PID: usize = 4;
    pub(in crate::list) const USER: usize = 5;
    pub(in crate::list) const SINCE: usize = 6;
    pub(in crate::list) const WAIT: usize = 7;
    pub(in crate::list) const COMMAND: usize = 8;
}

/// One row: what stands in its cells is safe for a terminal.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cells: [String; COLUMNS],
    pub(super) tint: Tint,
}

/// Where nothing is known.
const NOBODY: &str = "-";

/// Holdings that are one row.
#[derive(Debug)]
struct Group<'a> {
    holding: &'a Holding,
    keeper: Option<&'a Keeping>,
    /// How many ranges.
    ranges: usize,
    inherited: bool,
    waiting: usize,
}

/// What makes two holdings two rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key<'a> {
    by: &'a str,
    mode: &'a str,
    state: &'a str,
    who: Option<(Option<u32>, Option<&'a str>)>,
}

/// The rows of one file.
pub(super) fn of(file: &File, now: SystemTime) -> Vec<Row> {
    let groups = groups(file);
    let rows = groups.iter().map(|group| row(file, group, now));
    let mut rows: Vec<Row> = rows.collect();
    // Somebody waits, and who is in the way is hidden.
    if let (true, Some(waiter)) = (rows.is_empty(), file.seen.waiters.first()) {
        let unseen = Holding {
            kind: waiter.protocol.unwrap_or(waiter.kind),
            mode: NOBODY,
            state: "unknown",
            ..Holding::default()
        };
        let group = Group {
            holding: &unseen,
            keeper: None,
            ranges: 1,
            inherited: false,
            waiting: file.seen.waiters.len(),
        };
        rows.push(row(file, &group, now));
    }
    rows
}

fn groups(file: &File) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    // Of each holding the groups that it is part of.
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for holding in &file.seen.holdings {
        let nobody = holding.keepers.is_empty().then_some(None);
        let keepers = holding.keepers.iter().map(Some).chain(nobody);
        let part = keepers.map(|keeper| {
            let who = keeper.map(|keeper| (keeper.process.pid, keeper.process.host.as_deref()));
            let key = Key {
                by: holding.by(),
                mode: holding.mode,
                state: holding.state,
                who,
            };
            let inherited = keeper.is_some_and(|keeper| keeper.how == "inherited");
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => {
                    group.ranges += 1;
                    group.inherited &= inherited;
                }
                None => groups.push(Group {
                    holding,
                    keeper,
                    ranges: 1,
                    inherited,
                    waiting: 0,
                }),
            }
            place
        });
        let part = part.collect();
        parts.push(part);
    }
    let marked = marks(&groups);
    let mut last = vec![usize::MAX; groups.len()];
    for (number, waiter) in file.seen.waiters.iter().enumerate() {
        let behind: Vec<usize> = if waiter.behind.is_empty() {
            // Nobody says behind whom: behind all of its kind.
            let same =
                |group: &Group<'_>| group.holding.by() == waiter.protocol.unwrap_or(waiter.kind);
            (0..groups.len())
                .filter(|place| same(&groups[*place]))
                .collect()
        } else {
            let known = waiter.behind.iter().filter_map(|index| parts.get(*index));
            known
                .flatten()
                .map(|place| marked[*place].unwrap_or(*place))
                .collect()
        };
        for place in behind {
            if last[place] != number {
                last[place] = number;
                groups[place].waiting += 1;
            }
        }
    }
    let mut marked = marked.into_iter();
    groups.retain(|_| marked.next().flatten().is_none());
    // A claim, then the lock of whoever watches over it.
    groups.sort_by_key(|group| group.holding.kind != "claim");
    groups
}

/// Of each group that is the live mark of a claim, the claim: its process keeps the file itself locked.
fn marks(groups: &[Group<'_>]) -> Vec<Option<usize>> {
    let pid = |group: &Group<'_>| group.keeper.and_then(|keeper| keeper.process.pid);
    let claims: HashMap<u32, usize> = groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.holding.kind == "claim" && group.holding.state == "held")
        .filter_map(|(place, group)| Some((pid(group)?, place)))
        .collect();
    let mark = |group: &Group<'_>| {
        let locked = group.holding.kind == "flock";
        claims.get(&pid(group).filter(|_| locked)?).copied()
    };
    groups.iter().map(mark).collect()
}

fn row(file: &File, group: &Group<'_>, now: SystemTime) -> Row {
    let Group {
        holding, keeper, ..
    } = group;
    let process = keeper.map(|keeper| &keeper.process);
    let (state, tint) = state(file, group, process);
    let lock = match &holding.beside {
        Some(path) => shown::path(path),
        None => file.label(),
    };
    let lock = match file.remark() {
        Some(remark) => format!("{lock} {remark}"),
        None => lock,
    };
    let unknown = || NOBODY.to_owned();
    let user = process.and_then(|process| process.user.as_deref());
    let told = process.and_then(|p| p.command.as_deref().or(p.label.as_deref()));
    Row {
        cells: [
            lock,
            holding.by().to_owned(),
            mode(holding, group.ranges),
            state,
            process.map_or_else(unknown, number),
            user.map_or_else(unknown, shown::whole),
            since(holding, process, now),
            group.waiting.to_string(),
            told.map_or_else(unknown, shown::whole),
        ],
        tint,
    }
}

/// Exclusive or shared, and what of the file.
pub(super) fn mode(holding: &Holding, ranges: usize) -> String {
    match ranges {
        1 if holding.is_whole() => holding.mode.to_owned(),
        1 => format!("{} {}", holding.mode, bytes(holding.start, holding.end)),
        several => format!("{} {several} ranges", holding.mode),
    }
}

/// `0-99`, `100-`.
pub(super) fn bytes(start: u64, end: Option<u64>) -> String {
    match end {
        Some(end) => format!("{start}-{end}"),
        None => format!("{start}-"),
    }
}

fn state(file: &File, group: &Group<'_>, process: Option<&Process>) -> (String, Tint) {
    let pid = process
        .filter(|process| process.host.is_none())
        .and_then(|process| process.pid);
    let cycles = || {
        file.entangled
            .iter()
            .filter(|(holder, _)| Some(*holder) == pid)
    };
    let state = group.holding.state;
    let (word, tint) = match state {
        "held" if cycles().any(|(_, certainty)| *certainty == "deadlock") => {
            ("deadlock", Tint::Alarm)
        }
        "held" if cycles().next().is_some() => ("deadlock?", Tint::Alarm),
        "held" if group.inherited => ("inherited", Tint::Plain),
        "held" | "unknown" => (state, Tint::Plain),
        _ => (state, Tint::Warning),
    };
    (word.to_owned(), tint)
}

/// Its number, where it is.
pub(super) fn number(process: &Process) -> String {
    let host = process.host.as_deref().map(shown::whole);
    match (process.pid, host) {
        (Some(pid), None) => pid.to_string(),
        (Some(pid), Some(host)) => format!("{pid}@{host}"),
        (None, Some(host)) => format!("@{host}"),
        (None, None) => NOBODY.to_owned(),
    }
}

/// How old the claim is; else at most how old the holding can be: as old as its process.
pub(super) fn since(holding: &Holding, process: Option<&Process>, now: SystemTime) -> String {
    let age = |point: SystemTime| shown::age(now.duration_since(point).unwrap_or_default());
    let known = holding
        .since
        .or_else(|| process.and_then(|process| process.since));
    let started = process.and_then(|process| process.started);
    match (known, started) {
        (Some(since), _) => age(since),
        (None, Some(started)) => format!("<{}", age(started)),
        (None, None) => NOBODY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::{Seen, Waiter};
    use std::time::Duration;

    fn keeper(pid: u32, how: &'static str) -> Keeping {
        Keeping {
            process: Process {
                pid: Some(pid),
                command: Some(format!("job {pid}\u{1b}")),
                ..Process::default()
            },
            how,
            ..Keeping::default()
        }
    }

    fn holding(kind: &'static str, keepers: Vec<Keeping>) -> Holding {
        Holding {
            kind,
            mode: "exclusive",
            state: "held",
            keepers,
            ..Holding::default()
        }
    }

    fn claim(pid: u32) -> Holding {
        Holding {
            protocol: Some("pidfile"),
            ..holding("claim", vec![keeper(pid, "named")])
        }
    }

    fn waiter(behind: Vec<usize>) -> Waiter {
        Waiter {
            kind: "flock",
            behind,
            ..Waiter::default()
        }
    }

    fn rows(holdings: Vec<Holding>, waiters: Vec<Waiter>) -> Vec<String> {
        let file = File {
            seen: Seen {
                path: Some("/l".into()),
                holdings,
                waiters,
                ..Seen::default()
            },
            entangled: vec![(7, "deadlock"), (8, "perhaps")],
            ..File::default()
        };
        let rows = of(&file, SystemTime::now());
        rows.iter().map(|row| row.cells.join("|")).collect()
    }

    #[test]
    fn a_claim_and_the_lock_that_marks_it_are_one_row() {
        let mark = holding("flock", vec![keeper(1, "took"), keeper(2, "inherited")]);
        assert_eq!(
            rows(
                vec![claim(1), mark],
                vec![waiter(vec![1]), waiter(vec![0, 1])]
            ),
            [
                r"/l|pidfile|exclusive|held|1|-|-|2|job 1\u{1b}",
                r"/l|flock|exclusive|inherited|2|-|-|2|job 2\u{1b}",
            ]
        );
    }

    #[test]
    fn a_thousand_ranges_are_one_row_and_a_waiter_behind_all_of_them_is_one() {
        let ranges: Vec<Holding> = (0..1000)
            .map(|start| Holding {
                start: start * 2,
                end: Some(start * 2),
                ..holding("posix", vec![keeper(1, "took")])
            })
            .collect();
        let all = waiter((0..1000).collect());
        assert_eq!(
            rows(ranges, vec![all]),
            [r"/l|posix|exclusive 1000 ranges|held|1|-|-|1|job 1\u{1b}"]
        );
        let one = Holding {
            start: 5,
            end: None,
            ..holding("ofd", vec![keeper(1, "has")])
        };
        assert_eq!(
            rows(vec![one], Vec::new()),
            [r"/l|ofd|exclusive 5-|held|1|-|-|0|job 1\u{1b}"]
        );
    }

    #[test]
    fn who_holds_in_a_cycle_is_marked_and_nobody_else() {
        let shared = holding(
            "flock",
            vec![keeper(7, "took"), keeper(8, "took"), keeper(9, "took")],
        );
        let states: Vec<String> = rows(vec![shared], Vec::new());
        let word = |row: &String| row.split('|').nth(3).map(str::to_owned);
        let words: Vec<_> = states.iter().filter_map(word).collect();
        assert_eq!(words, ["deadlock", "deadlock?", "held"]);
    }

    #[test]
    fn somebody_waits_although_nobody_is_seen_to_hold() {
        assert_eq!(
            rows(Vec::new(), vec![waiter(Vec::new())]),
            ["/l|flock|-|unknown|-|-|-|1|-"]
        );
        assert_eq!(
            rows(vec![holding("flock", Vec::new())], vec![waiter(Vec::new())]),
            ["/l|flock|exclusive|held|-|-|-|1|-"]
        );
    }

    #[test]
    fn the_age_of_a_claim_is_told_from_that_of_its_process() {
        let now = SystemTime::now();
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let process = Process {
            started: ago(125),
            ..Process::default()
        };
        let mut held = holding("flock", Vec::new());
        assert_eq!(since(&held, Some(&process), now), "<2m 5s");
        held.since = ago(60);
        assert_eq!(since(&held, Some(&process), now), "1m");
        held.since = Some(now + Duration::from_secs(60));
        assert_eq!(since(&held, None, now), "0s");
    }
}
