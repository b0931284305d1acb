//! What a survey found, as JSON has it; which files of it are asked for, and their order.
//!
//! Not for: what is said of one file (`seen.rs`).

use crate::plan::Which;
use crate::seen::{self, Seen, Unseen};
use crate::shown;
use serde::Serialize;
use sneck::inspect::{self, Certainty, Survey};
use sneck::{Error, ErrorKind};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// The object that `--json` shows.
#[derive(Debug, Default, Serialize)]
pub(super) struct Found {
    pub(super) files: Vec<File>,
    pub(super) cycles: Vec<Cycle>,
    pub(super) limits: Vec<Unseen>,
    pub(super) errors: Vec<Failure>,
}

/// One of them with its type, as `--ndjson` shows them.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Line<'a> {
    File(&'a File),
    Cycle(&'a Cycle),
    Limit(&'a Unseen),
    Error(&'a Failure),
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct File {
    #[serde(flatten)]
    pub(super) seen: Seen,
    /// Whether it is part of a cycle: `deadlock` or `perhaps`.
    pub(super) deadlock: Option<&'static str>,
    /// Who holds it in a cycle, and how sure that is.
    #[serde(skip)]
    pub(super) entangled: Vec<(u32, &'static str)>,
    /// In the survey.
    #[serde(skip)]
    pub(super) index: usize,
}

/// Processes that wait for each other.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cycle {
    pub(super) certainty: &'static str,
    pub(super) text: String,
    pub(super) links: Vec<Link>,
}

/// One wait of a cycle.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Link {
    pub(super) waiter: u32,
    pub(super) holder: u32,
    #[serde(serialize_with = "seen::lossy")]
    pub(super) path: Option<PathBuf>,
    pub(super) path_bytes: Option<String>,
    pub(super) device: Option<String>,
    pub(super) inode: Option<u64>,
    /// In the survey.
    #[serde(skip)]
    file: usize,
}

/// What could not be read.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Failure {
    #[serde(serialize_with = "seen::lossy")]
    pub(super) path: Option<PathBuf>,
    pub(super) path_bytes: Option<String>,
    pub(super) kind: &'static str,
    pub(super) text: String,
}

impl Found {
    pub(super) fn of(survey: &Survey) -> Found {
        let mut files: Vec<File> = survey
            .files
            .iter()
            .enumerate()
            .map(|(index, file)| File::of(Seen::of(file), index))
            .collect();
        for cycle in &survey.cycles {
            for link in &cycle.links {
                if let Some(file) = files.get_mut(link.file) {
                    file.entangle(link.holder, certainty(cycle.certainty));
                }
            }
        }
        let cycles = survey.cycles.iter().map(|cycle| Cycle::of(cycle, &files));
        Found {
            cycles: cycles.collect(),
            limits: survey.limits.iter().map(Unseen::of).collect(),
            errors: survey.errors.iter().map(Failure::of).collect(),
            files,
        }
    }

    /// Only the files that are asked for, and the cycles that one of them is part of.
    pub(super) fn keep(&mut self, which: &Which) {
        self.files.retain(|file| which.asks_for(&file.seen));
        let kept: HashSet<usize> = self.files.iter().map(|file| file.index).collect();
        let shown = |link: &Link| kept.contains(&link.file);
        self.cycles.retain(|cycle| cycle.links.iter().any(shown));
    }

    /// By path as people sort, `lock2` before `lock10`; those without one come last.
    pub(super) fn sort(&mut self) {
        self.files.sort_by_cached_key(|file| {
            let path = file.seen.path.as_deref();
            (
                path.is_none(),
                path.map(Key::of),
                file.seen.device.clone(),
                file.seen.inode,
            )
        });
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let files = self.files.iter().map(Line::File);
        files
            .chain(self.cycles.iter().map(Line::Cycle))
            .chain(self.limits.iter().map(Line::Limit))
            .chain(self.errors.iter().map(Line::Error))
    }

    /// What could not be read or seen, a line each. What is said of many files is said once.
    pub(super) fn troubles(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.errors.iter().map(|error| error.text.clone()).collect();
        lines.extend(self.limits.iter().map(|limit| limit.text.clone()));
        let mut of_files: Vec<(&Unseen, &File, usize)> = Vec::new();
        for file in &self.files {
            for limit in file
                .seen
                .limits
                .iter()
                .filter(|limit| !self.limits.contains(limit))
            {
                match of_files.iter_mut().find(|(known, ..)| *known == limit) {
                    Some((.., more)) => *more += 1,
                    None => of_files.push((limit, file, 0)),
                }
            }
        }
        for (limit, file, more) in of_files {
            let others = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            lines.push(format!("{}{others}: {}", file.label(), limit.text));
        }
        lines
    }
}

impl File {
    fn of(seen: Seen, index: usize) -> File {
        File {
            seen,
            index,
            ..File::default()
        }
    }

    fn entangle(&mut self, holder: u32, certainty: &'static str) {
        self.entangled.push((holder, certainty));
        if self.deadlock != Some(SURE) {
            self.deadlock = Some(certainty);
        }
    }

    /// Its path, or by what else it is known, for people.
    pub(super) fn label(&self) -> String {
        let seen = &self.seen;
        label(
            seen.path.as_deref(),
            seen.mount.as_deref(),
            seen.device.as_deref(),
            seen.inode,
        )
    }

    /// What is to be said of its path.
    pub(super) fn remark(&self) -> Option<String> {
        match (self.seen.name, self.seen.name_pid) {
            ("deleted" | "nameless" | "replaced", _) => Some(format!("({})", self.seen.name)),
            ("elsewhere", Some(pid)) => Some(format!("(as pid {pid} sees it)")),
            _ => None,
        }
    }
}

fn label(
    path: Option<&Path>,
    mount: Option<&Path>,
    device: Option<&str>,
    inode: Option<u64>,
) -> String {
    match (path, inode, mount, device) {
        (Some(path), ..) => shown::path(path),
        (None, Some(inode), Some(mount), _) => format!("inode {inode} on {}", shown::path(mount)),
        (None, Some(inode), None, Some(device)) => format!("inode {inode} of device {device}"),
        _ => "unknown".to_owned(),
    }
}

const SURE: &str = "deadlock";

fn certainty(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Deadlock => SURE,
        _ => "perhaps",
    }
}

impl Cycle {
    fn of(cycle: &inspect::Cycle, files: &[File]) -> Cycle {
        let links: Vec<Link> = cycle
            .links
            .iter()
            .map(|link| {
                let seen = files.get(link.file).map(|file| &file.seen);
                Link {
                    waiter: link.waiter,
                    holder: link.holder,
                    path: seen.and_then(|seen| seen.path.clone()),
                    path_bytes: seen.and_then(|seen| seen.path_bytes.clone()),
                    device: seen.and_then(|seen| seen.device.clone()),
                    inode: seen.and_then(|seen| seen.inode),
                    file: link.file,
                }
            })
            .collect();
        let certainty = certainty(cycle.certainty);
        let waits: Vec<String> = links
            .iter()
            .map(|link| {
                let lock = files.get(link.file).map_or("unknown".into(), File::label);
                let (waiter, holder) = (link.waiter, link.holder);
                format!("pid {waiter} waits for {lock}, held by pid {holder}")
            })
            .collect();
        let title = match certainty {
            SURE => SURE,
            _ => "perhaps a deadlock",
        };
        Cycle {
            certainty,
            text: format!("{title}: {}", waits.join("; ")),
            links,
        }
    }

    /// Whether the file is part of it.
    pub(super) fn entangles(&self, file: &File) -> bool {
        self.links.iter().any(|link| link.file == file.index)
    }
}

impl Failure {
    fn of(error: &Error) -> Failure {
        let path = error.place().map(|place| PathBuf::from(place.rest()));
        Failure {
            path_bytes: path.as_deref().and_then(seen::bytes),
            path,
            kind: match error.kind() {
                ErrorKind::NoPermission => "no-permission",
                ErrorKind::Unsupported => "unsupported",
                ErrorKind::Usage => "usage",
                _ => "io",
            },
            text: error.to_string(),
        }
    }
}

impl Which {
    /// Whether all that is asked for holds of this file.
    fn asks_for(&self, seen: &Seen) -> bool {
        let keepers = || seen.holdings.iter().flat_map(|holding| &holding.keepers);
        let parties = || {
            let waiting = seen.waiters.iter().map(|waiter| &waiter.process);
            keepers().map(|keeper| &keeper.process).chain(waiting)
        };
        let any = |state: &str| seen.holdings.iter().any(|holding| holding.state == state);
        // A number of another machine is no process of this one.
        let here = |pid: u32| self.pids.contains(&pid);
        let is_there =
            |host: &Option<String>, pid: Option<u32>| host.is_none() && pid.is_some_and(here);
        (!self.held || any("held"))
            && (!self.stale || any("stale"))
            && (!self.waiting || !seen.waiters.is_empty())
            && (self.pids.is_empty() || parties().any(|p| is_there(&p.host, p.pid)))
            && self
                .user
                .as_deref()
                .is_none_or(|user| parties().any(|p| p.user.as_deref() == Some(user)))
    }
}

/// A path, for comparing as people do: folder by folder, numbers by their size, small and capital letters alike.
#[derive(PartialEq, Eq)]
struct Key(Vec<String>);

impl Key {
    fn of(path: &Path) -> Key {
        let word = |part: Component<'_>| part.as_os_str().to_string_lossy().into_owned();
        Key(path.components().map(word).collect())
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        let mut pairs = self.0.iter().zip(&other.0);
        let differ = pairs.find_map(|(a, b)| match as_people(a, b) {
            Ordering::Equal => None,
            order => Some(order),
        });
        let differ = differ.unwrap_or_else(|| self.0.len().cmp(&other.0.len()));
        differ.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn as_people(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (number, other) = (number(a), number(b));
        let order = match (number.is_empty(), other.is_empty()) {
            (false, false) => {
                (a, b) = (&a[number.len()..], &b[other.len()..]);
                let (big, bigger) = (
                    number.trim_start_matches('0'),
                    other.trim_start_matches('0'),
                );
                big.len().cmp(&bigger.len()).then_with(|| big.cmp(bigger))
            }
            _ => {
                let (mut first, mut second) = (a.chars(), b.chars());
                let pair = (first.next(), second.next());
                (a, b) = (first.as_str(), second.as_str());
                match pair {
                    (None, None) => return Ordering::Equal,
                    (Some(c), Some(d)) => c.to_lowercase().cmp(d.to_lowercase()),
                    (c, d) => c.cmp(&d),
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits at its beginning.
fn number(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::{Holding, Keeping, Process, Waiter};

    fn process(pid: u32, user: &str) -> Process {
        Process {
            pid: Some(pid),
            user: Some(user.into()),
            ..Process::default()
        }
    }

    fn file(path: &str, state: &'static str, holder: Process, waiter: Option<Process>) -> File {
        let holding = Holding {
            kind: "flock",
            state,
            keepers: vec![Keeping {
                process: holder,
                ..Keeping::default()
            }],
            ..Holding::default()
        };
        let waiter = waiter.map(|process| Waiter {
            process,
            kind: "flock",
            behind: vec![0],
            ..Waiter::default()
        });
        let seen = Seen {
            path: (!path.is_empty()).then(|| path.into()),
            state,
            holdings: vec![holding],
            waiters: waiter.into_iter().collect(),
            ..Seen::default()
        };
        File::of(seen, 0)
    }

    fn kept(which: Which) -> Vec<String> {
        let mut far = process(1, "ada");
        far.host = Some("far".into());
        let mut found = Found {
            files: vec![
                file("/held", "held", process(1, "ada"), None),
                file("/stale", "stale", process(2, "ada"), None),
                file(
                    "/waited",
                    "held",
                    process(3, "bob"),
                    Some(process(1, "ada")),
                ),
                file("/far", "held", far, None),
            ],
            ..Found::default()
        };
        found.keep(&which);
        found.files.iter().map(File::label).collect()
    }

    #[test]
    fn a_file_is_shown_if_all_that_is_asked_for_holds_of_it() {
        let none = Which::default;
        assert_eq!(kept(none()).len(), 4);
        assert_eq!(
            kept(Which {
                held: true,
                ..none()
            }),
            ["/held", "/waited", "/far"]
        );
        assert_eq!(
            kept(Which {
                stale: true,
                ..none()
            }),
            ["/stale"]
        );
        assert_eq!(
            kept(Which {
                waiting: true,
                ..none()
            }),
            ["/waited"]
        );
        assert_eq!(
            kept(Which {
                pids: vec![1],
                ..none()
            }),
            ["/held", "/waited"]
        );
        assert_eq!(
            kept(Which {
                pids: vec![2, 3],
                ..none()
            }),
            ["/stale", "/waited"]
        );
        let user = || Some("ada".to_owned());
        assert_eq!(
            kept(Which {
                user: user(),
                ..none()
            })
            .len(),
            4
        );
        assert_eq!(
            kept(Which {
                user: user(),
                pids: vec![3],
                ..none()
            }),
            ["/waited"]
        );
        assert_eq!(
            kept(Which {
                held: true,
                stale: true,
                ..none()
            }),
            [""; 0]
        );
    }

    #[test]
    fn files_are_sorted_as_people_do_and_those_without_a_path_come_last() {
        let sorted = [
            "/run/A",
            "/run/a",
            "/run/a/b",
            "/run/a.lock",
            "/run/lock",
            "/run/lock2",
            "/run/lock2/x",
            "/run/lock10",
            "/run/lock010x",
            "/run/Zoo",
            "/run/ämter",
            "/tmp/1",
        ];
        let mut found = Found::default();
        let nobody = Process::default;
        found.files.push(file("", "held", nobody(), None));
        for path in sorted.iter().rev() {
            found.files.push(file(path, "held", nobody(), None));
        }
        found.sort();
        let labels: Vec<String> = found.files.iter().map(File::label).collect();
        assert_eq!(labels[..sorted.len()], sorted.map(str::to_owned));
        assert_eq!(labels[sorted.len()], "unknown");
    }

    #[test]
    fn what_cannot_be_seen_of_many_files_is_said_once() {
        let limit = Unseen {
            what: "network-files",
            processes: None,
            text: "not shown".into(),
        };
        let mut found = Found::default();
        for path in ["/a", "/b", "/c"] {
            let mut far = file(path, "held", process(1, "ada"), None);
            far.seen.limits.push(limit.clone());
            found.files.push(far);
        }
        assert_eq!(found.troubles(), ["/a and 2 more: not shown"]);
        found.limits.push(limit);
        assert_eq!(found.troubles(), ["not shown"]);
    }
}
