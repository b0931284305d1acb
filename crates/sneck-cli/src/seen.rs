//! What an inspection found, as JSON has it: one object for each file, with its holdings, who keeps them up, and who waits.
//!
//! For `sneck list` and `sneck status`, whose help documents the fields: programs rely on them. What is not known is null, and no field is ever left out. Strings are as
//! foreign programs wrote them; those called `text` are for people and safe. Not for: how it is printed (`json.rs`), nor tables.

use serde::{Serialize, Serializer};
use sneck::inspect::{
    self, How, Inspection, Keeper, Kind, Life, Limit, Name, Oddity, Pace, Range, State, Waits,
};
use sneck::{Holder, Mode, Verdict, text};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One file.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Seen {
    /// What is no UTF-8 in it is replaced.
    #[serde(serialize_with = "lossy")]
    pub(crate) path: Option<PathBuf>,
    /// Its bytes in hexadecimal, where it is no UTF-8.
    pub(crate) path_bytes: Option<String>,
    /// Whether the path leads there.
    pub(crate) name: &'static str,
    /// A process for which it does, in another mount namespace.
    pub(crate) name_pid: Option<u32>,
    /// As the kernel's list has it: `MAJOR:MINOR`.
    pub(crate) device: Option<String>,
    pub(crate) inode: Option<u64>,
    /// Where its file system is mounted.
    #[serde(serialize_with = "lossy")]
    pub(crate) mount: Option<PathBuf>,
    pub(crate) state: &'static str,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) oddities: Vec<Odd>,
    pub(crate) limits: Vec<Unseen>,
}

/// One way in which it is held.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Holding {
    pub(crate) kind: &'static str,
    /// Of claims.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) mode: &'static str,
    /// The first byte.
    pub(crate) start: u64,
    /// The last; null: the end of the file.
    pub(crate) end: Option<u64>,
    pub(crate) state: &'static str,
    pub(crate) verdict: Option<&'static str>,
    /// The verdict, or what is damaged, in words.
    pub(crate) text: Option<String>,
    pub(crate) taker: Option<u32>,
    #[serde(serialize_with = "moment")]
    pub(crate) since: Option<SystemTime>,
    /// Where the claim stands, if not at the path itself.
    #[serde(serialize_with = "lossy")]
    pub(crate) beside: Option<PathBuf>,
    pub(crate) beside_bytes: Option<String>,
    pub(crate) keepers: Vec<Keeping>,
}

/// One who keeps a holding up.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Keeping {
    #[serde(flatten)]
    pub(crate) process: Process,
    pub(crate) how: &'static str,
    pub(crate) descriptors: Vec<u32>,
}

/// One who waits.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Waiter {
    #[serde(flatten)]
    pub(crate) process: Process,
    pub(crate) kind: &'static str,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) mode: &'static str,
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
    pub(crate) waits: &'static str,
    /// How many turns are before it in the kernel's queue.
    pub(crate) before: Option<usize>,
    /// Which holdings keep it out, counted from 0.
    pub(crate) behind: Vec<usize>,
}

/// Who holds or waits.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: Option<u32>,
    pub(crate) host: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) command: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) token: Option<u64>,
    /// Since when it holds; UTC.
    #[serde(serialize_with = "moment")]
    pub(crate) since: Option<SystemTime>,
    /// Since when it runs; UTC.
    #[serde(serialize_with = "moment")]
    pub(crate) started: Option<SystemTime>,
    /// Who says so.
    pub(crate) source: String,
    pub(crate) container: Option<String>,
    /// Its number in its own pid namespace.
    pub(crate) inner_pid: Option<u32>,
    pub(crate) pace: &'static str,
    pub(crate) threads: Option<u32>,
}

/// What is odd about a file.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Odd {
    pub(crate) what: &'static str,
    /// Whom it is about.
    pub(crate) pid: Option<u32>,
    pub(crate) host: Option<String>,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) text: String,
}

/// What could not be seen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unseen {
    pub(crate) what: &'static str,
    /// How many processes it is about.
    pub(crate) processes: Option<usize>,
    pub(crate) text: String,
}

impl Seen {
    pub(crate) fn of(found: &Inspection) -> Seen {
        let file = &found.file;
        let (name, name_pid) = name(file.name);
        Seen {
            path: file.path.clone(),
            path_bytes: file.path.as_deref().and_then(bytes),
            name,
            name_pid,
            device: file
                .inode
                .map(|inode| format!("{}:{}", inode.major, inode.minor)),
            inode: file.inode.map(|inode| inode.number),
            mount: file.mount.clone(),
            state: state(found),
            holdings: found.holdings.iter().map(Holding::of).collect(),
            waiters: found.waiters.iter().map(Waiter::of).collect(),
            oddities: found.oddities.iter().map(Odd::of).collect(),
            limits: found.limits.iter().map(Unseen::of).collect(),
        }
    }
}

/// The worst of its holdings that stand counts; a claim that is stale beside a lock that is held is not the file's state.
fn state(found: &Inspection) -> &'static str {
    let damaged = |holding: &inspect::Holding| matches!(holding.state, State::Damaged(_));
    if found.is_held() {
        "held"
    } else if found.is_stale() {
        "stale"
    } else if found.holdings.iter().any(damaged) {
        "damaged"
    } else if found.limits.is_empty() && found.waiters.is_empty() {
        "free"
    } else {
        // Never said to be free.
        "unknown"
    }
}

impl Holding {
    fn of(found: &inspect::Holding) -> Holding {
        let (kind, protocol) = kind(found.kind);
        let (state, verdict, text) = match &found.state {
            State::Held(verdict) => ("held", verdict.as_ref(), None),
            State::Stale(verdict) => ("stale", Some(verdict), None),
            State::Damaged(what) => ("damaged", None, Some(text::clean(what))),
            _ => ("unknown", None, None),
        };
        Holding {
            kind,
            protocol,
            mode: mode(found.mode),
            start: found.range.start,
            end: found.range.end,
            state,
            verdict: verdict.map(word),
            text: text.or_else(|| verdict.map(ToString::to_string)),
            taker: found.taker,
            since: found.since,
            beside: found.beside.clone(),
            beside_bytes: found.beside.as_deref().and_then(bytes),
            keepers: found.keepers.iter().map(Keeping::of).collect(),
        }
    }

    /// `flock`, `posix` …, or the protocol of a claim.
    pub(crate) fn by(&self) -> &'static str {
        self.protocol.unwrap_or(self.kind)
    }

    pub(crate) fn is_whole(&self) -> bool {
        (self.start, self.end) == (Range::WHOLE.start, Range::WHOLE.end)
    }
}

impl Keeping {
    fn of(found: &Keeper) -> Keeping {
        Keeping {
            process: Process::of(&found.holder, &found.life),
            how: match found.how {
                How::Took => "took",
                How::Inherited => "inherited",
                How::Has => "has",
                How::Listed => "listed",
                How::Named => "named",
                _ => "unknown",
            },
            descriptors: found.descriptors.clone(),
        }
    }
}

impl Waiter {
    fn of(found: &inspect::Waiter) -> Waiter {
        let (kind, protocol) = kind(found.kind);
        let (waits, before) = match found.waits {
            Waits::Queued(before) => ("queued", Some(before)),
            Waits::Somewhere => ("somewhere", None),
            Waits::Watches => ("watches", None),
            _ => ("unknown", None),
        };
        Waiter {
            process: Process::of(&found.holder, &found.life),
            kind,
            protocol,
            mode: mode(found.mode),
            start: found.range.start,
            end: found.range.end,
            waits,
            before,
            behind: found.behind.clone(),
        }
    }
}

impl Process {
    fn of(holder: &Holder, life: &Life) -> Process {
        Process {
            pid: holder.pid,
            host: holder.host.clone(),
            user: holder.user.clone(),
            command: holder.command.clone(),
            label: holder.label.clone(),
            token: holder.token,
            since: holder.since,
            started: holder.started,
            source: holder.source.to_string(),
            container: life.container.clone(),
            inner_pid: life.inner_pid,
            pace: match life.pace {
                Pace::Stopped => "stopped",
                Pace::Ended => "ended",
                _ => "runs",
            },
            threads: life.threads,
        }
    }
}

impl Odd {
    fn of(found: &Oddity) -> Odd {
        let mut odd = Odd {
            text: found.to_string(),
            ..Odd::default()
        };
        odd.what = match found {
            Oddity::Deleted => "deleted",
            Oddity::Replaced => "replaced",
            Oddity::Former { pid } => {
                odd.pid = Some(*pid);
                "former"
            }
            Oddity::TwoFamilies => "two-families",
            Oddity::ClaimAndLock { protocol } => {
                odd.protocol = Some(protocol);
                "claim-and-lock"
            }
            Oddity::OtherHost(host) => {
                odd.host = Some(host.clone());
                "other-host"
            }
            Oddity::TakerEnded { taker } => {
                odd.pid = Some(*taker);
                "taker-ended"
            }
            Oddity::PassedOn { taker } => {
                odd.pid = Some(*taker);
                "passed-on"
            }
            Oddity::Nobody => "nobody",
            Oddity::Stopped { pid } => {
                odd.pid = Some(*pid);
                "stopped"
            }
            Oddity::WaitsForItself { pid } => {
                odd.pid = Some(*pid);
                "waits-for-itself"
            }
            _ => "other",
        };
        odd
    }
}

impl Unseen {
    pub(crate) fn of(found: &Limit) -> Unseen {
        let (what, processes) = match found {
            Limit::PidNamespace => ("pid-namespace", None),
            Limit::HiddenDescriptors { processes } => ("hidden-descriptors", Some(*processes)),
            Limit::HiddenProcesses => ("hidden-processes", None),
            Limit::NetworkFiles => ("network-files", None),
            Limit::NoList => ("no-list", None),
            Limit::TooFast => ("too-fast", None),
            Limit::NotProbed { .. } => ("not-probed", None),
            _ => ("other", None),
        };
        Unseen {
            what,
            processes,
            text: found.to_string(),
        }
    }
}

fn name(name: Name) -> (&'static str, Option<u32>) {
    match name {
        Name::Leads => ("leads", None),
        Name::Deleted => ("deleted", None),
        Name::Nameless => ("nameless", None),
        Name::Replaced => ("replaced", None),
        Name::Elsewhere(pid) => ("elsewhere", Some(pid)),
        Name::Nothing => ("nothing", None),
        _ => ("unknown", None),
    }
}

fn kind(kind: Kind) -> (&'static str, Option<&'static str>) {
    match kind {
        Kind::Flock => ("flock", None),
        Kind::Posix => ("posix", None),
        Kind::Ofd => ("ofd", None),
        Kind::Lease => ("lease", None),
        Kind::Claim(protocol) => ("claim", Some(protocol)),
        _ => ("other", None),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    }
}

/// A verdict in one word, for programs.
pub(crate) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Alive => "alive",
        Verdict::Marked => "marked",
        Verdict::Gone(_) => "gone",
        Verdict::Younger { .. } => "younger",
        _ => "unknown",
    }
}

/// Its bytes in hexadecimal, if they are no UTF-8. On Windows those of WTF-8.
pub(crate) fn bytes(path: &Path) -> Option<String> {
    if path.to_str().is_some() {
        return None;
    }
    let mut digits = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        let _ = write!(digits, "{byte:02x}");
    }
    Some(digits)
}

pub(crate) fn lossy<S: Serializer>(path: &Option<PathBuf>, out: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(out)
}

fn moment<S: Serializer>(point: &Option<SystemTime>, out: S) -> Result<S::Ok, S::Error> {
    point.map(text::time).serialize(out)
}
