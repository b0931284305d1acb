//! What can happen before the judge, and how a line of the log says it: `NANOSECONDS NAME WHAT…`.
//!
//! Not for: what it means (`verdict.rs`).

use std::fmt;

/// What the judge answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It was done.
    Admitted,
    /// Refused: a higher token was here before.
    Stale,
}

/// What happened to or by a party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is about to acquire.
    Asks,
    /// It came in with this token.
    Enter(u64, Ruling),
    /// With this token it wrote this value.
    Write(u64, u64, Ruling),
    /// It went.
    Leave(u64, Ruling),
    /// Its connection ended: it left, or died.
    Gone,
    /// It waited no longer.
    GaveUp,
    /// It could not acquire, for another reason than that it took too long.
    Trouble(String),
    /// The test is about to let it stand still.
    Pause,
    /// The test has let it go on.
    GoesOn,
    /// The test begins a fault of this kind.
    Fault(String),
    /// From now on somebody has to get in soon, after a fault of this kind.
    Due(String),
    /// The server forgot who holds, or ended a lease before its time, as its engine says that it may.
    Forgot,
    /// The server's tokens begin anew, and so does the judge's register: somebody put the resource in order, while no party was there.
    Epoch,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds on the judge's clock.
    pub at: u64,
    /// The party's name, and the number of its connection where it has one.
    pub name: String,
    /// Which connection. 0: the test speaks of the party.
    pub connection: u64,
    /// What happened.
    pub what: What,
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ruling::Admitted => "ok",
            Ruling::Stale => "stale",
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Asks => f.write_str("asks"),
            What::Enter(token, ruling) => write!(f, "enter {token} {ruling}"),
            What::Write(token, value, ruling) => write!(f, "write {token} {value} {ruling}"),
            What::Leave(token, ruling) => write!(f, "leave {token} {ruling}"),
            What::Gone => f.write_str("gone"),
            What::GaveUp => f.write_str("gave-up"),
            What::Trouble(text) => write!(f, "trouble {text}"),
            What::Pause => f.write_str("pause"),
            What::GoesOn => f.write_str("goes-on"),
            What::Fault(kind) => write!(f, "fault {kind}"),
            What::Due(kind) => write!(f, "due {kind}"),
            What::Forgot => f.write_str("forgot"),
            What::Epoch => f.write_str("epoch"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry {
            at,
            name,
            connection,
            what,
        } = self;
        write!(f, "{at} {name} {connection} {what}")
    }
}

fn ruling(word: &str) -> Option<Ruling> {
    match word {
        "ok" => Some(Ruling::Admitted),
        "stale" => Some(Ruling::Stale),
        _ => None,
    }
}

impl What {
    /// From its words.
    #[must_use]
    pub fn read(text: &str) -> Option<What> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        Some(match (verb, &words[..]) {
            ("asks", _) => What::Asks,
            ("enter", [token, end]) => What::Enter(token.parse().ok()?, ruling(end)?),
            ("write", [token, value, end]) => {
                What::Write(token.parse().ok()?, value.parse().ok()?, ruling(end)?)
            }
            ("leave", [token, end]) => What::Leave(token.parse().ok()?, ruling(end)?),
            ("gone", _) => What::Gone,
            ("gave-up", _) => What::GaveUp,
            ("trouble", _) => What::Trouble(rest.to_owned()),
            ("pause", _) => What::Pause,
            ("goes-on", _) => What::GoesOn,
            ("fault", _) => What::Fault(rest.to_owned()),
            ("due", _) => What::Due(rest.to_owned()),
            ("forgot", _) => What::Forgot,
            ("epoch", _) => What::Epoch,
            _ => return None,
        })
    }
}

impl Entry {
    /// From its line.
    #[must_use]
    pub fn read(line: &str) -> Option<Entry> {
        let mut words = line.splitn(4, ' ');
        Some(Entry {
            at: words.next()?.parse().ok()?,
            name: words.next()?.to_owned(),
            connection: words.next()?.parse().ok()?,
            what: What::read(words.next()?)?,
        })
    }

    /// From all lines.
    ///
    /// # Panics
    /// If one of them makes no sense.
    #[must_use]
    pub fn read_all(text: &str) -> Vec<Entry> {
        let entry = |line| Entry::read(line).unwrap_or_else(|| panic!("a damaged line: {line:?}"));
        text.lines().map(entry).collect()
    }
}
