//! One lock at one server: its place, its connections, and what both contenders and holders ask there.
//!
//! A connection belongs to one claimant at a time. One that is done with is kept for the next claimant of the same handle: nothing at the server hangs on it but the channel that it
//! listens to, and each claimant has a new id.
//!
//! Not for: when to ask (`protocol.rs`, `tenure.rs`).

use crate::config::Config;
use crate::record;
use crate::resp::Value;
use crate::scripts::{Names, Script};
use crate::session::{Failure, Keys, Session};
use sneck::{Claim, Error, ErrorKind, Mode, Moment, Place, Result};
use sneck_net::{Deadline, Tls};
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How long connecting may take, and an answer to one who only looks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) config: Config,
    /// Read from their files when they are needed first.
    tls: Mutex<Option<Tls>>,
    keys: Keys,
    names: Names,
    /// A connection that nobody uses.
    idle: Mutex<Option<Line>>,
    /// What is written down of this process, found out once.
    facts: Mutex<Option<Facts>>,
}

#[derive(Debug)]
struct Facts {
    pid: u32,
    mode: Mode,
    label: Option<String>,
    text: String,
}

/// A connection with a name of its own, and how many claimants it has had.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) session: Session,
    pub(crate) name: String,
    claimants: u64,
}

impl Line {
    /// The id of a new claimant: no other one has it, in this process or elsewhere.
    pub(crate) fn claimant(&mut self, mode: Mode) -> String {
        self.claimants += 1;
        let letter = match mode {
            Mode::Exclusive => 'x',
            Mode::Shared => 's',
        };
        format!("{letter}{}.{}", self.name, self.claimants)
    }
}

impl Target {
    pub(crate) fn new(place: &Place, config: Config) -> Target {
        Target {
            place: place.clone(),
            tls: Mutex::new(None),
            keys: Keys::new(&config),
            names: Names::new(),
            idle: Mutex::new(None),
            facts: Mutex::new(None),
            config,
        }
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let Some(encryption) = self.config.encryption() else {
            return Ok(None);
        };
        let mut known = self.tls.try_lock().ok();
        if let Some(tls) = known.as_deref().and_then(Option::as_ref) {
            return Ok(Some(tls.clone()));
        }
        let tls = Tls::new(&encryption.trust, encryption.credential.as_ref())?;
        if let Some(known) = known.as_deref_mut() {
            *known = Some(tls.clone());
        }
        Ok(Some(tls))
    }

    pub(crate) fn error(
        &self,
        kind: ErrorKind,
        doing: &'static str,
        what: impl Into<String>,
    ) -> Error {
        Error::new(kind, doing, what).at(&self.place)
    }

    pub(crate) fn failed(&self, doing: &'static str, failure: &Failure) -> Error {
        let error = self.error(failure.kind, doing, &*failure.what);
        match failure.advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    }

    /// A connection that nobody else uses.
    pub(crate) fn line(&self, deadline: &Deadline) -> Result<Line, Failure> {
        // Never waits for another thread, which in a forked child may not be there.
        let idle = self.idle.try_lock().ok().and_then(|mut idle| idle.take());
        if let Some(mut line) = idle {
            if line.session.is_usable() {
                return Ok(line);
            }
        }
        self.open(fresh_name(), deadline)
    }

    /// One with this name.
    pub(crate) fn open(&self, name: String, deadline: &Deadline) -> Result<Line, Failure> {
        let channel = self.keys.channel(&name);
        let tls = self.tls()?;
        let session = Session::open(&self.config, tls.as_ref(), &channel, deadline)?;
        Ok(Line {
            session,
            name,
            claimants: 0,
        })
    }

    /// Done with: for the next one.
    pub(crate) fn give_back(&self, mut line: Line) {
        if !line.session.is_usable() {
            return line.session.close();
        }
        match self.idle.try_lock() {
            Ok(mut idle) if idle.is_none() => *idle = Some(line),
            _ => line.session.close(),
        }
    }

    pub(crate) fn run(
        &self,
        line: &mut Line,
        script: Script,
        words: &[&str],
        deadline: &Deadline,
    ) -> Result<Value, Failure> {
        line.session
            .run(&self.names, script, &self.keys, words, deadline)
    }

    /// Asks without waiting for the answer.
    pub(crate) fn ask(
        &self,
        line: &mut Line,
        script: Script,
        words: &[&str],
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        line.session
            .ask(&self.names, script, &self.keys, words, deadline)
    }

    /// One question of somebody who only looks, or removes.
    pub(crate) fn look(&self, script: Script, words: &[&str]) -> Result<Value, Failure> {
        let deadline = Deadline::after(PATIENCE);
        let mut line = self.line(&deadline)?;
        let answer = self.run(&mut line, script, words, &deadline)?;
        self.give_back(line);
        Ok(answer)
    }

    /// What is written down of a claimant.
    pub(crate) fn facts(&self, claim: &Claim) -> String {
        let (pid, mode) = (claim.party().pid(), claim.mode());
        let known = |facts: &Facts| {
            (facts.pid, facts.mode, facts.label.as_deref()) == (pid, mode, claim.label())
        };
        let mut cache = self.facts.try_lock().ok();
        if let Some(facts) = cache
            .as_deref()
            .and_then(Option::as_ref)
            .filter(|f| known(f))
        {
            return facts.text.clone();
        }
        let text = record::facts(&claim.holder());
        if let Some(cache) = cache.as_deref_mut() {
            *cache = Some(Facts {
                pid,
                mode,
                label: claim.label().map(str::to_owned),
                text: text.clone(),
            });
        }
        text
    }
}

/// A name that no other connection has: 96 bits that nobody can know before.
fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // A forked child has its parent's keys, and its own number; and the clock has gone on.
    let facts = (
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed),
        Moment::now(),
        SystemTime::now(),
    );
    let half = || RandomState::new().hash_one(facts);
    format!("{:016x}{:08x}", half(), half() >> 32)
}

#[cfg(test)]
mod tests {
    use super::fresh_name;

    #[test]
    fn names_are_long_and_differ() {
        let (one, other) = (fresh_name(), fresh_name());
        assert_eq!(one.len(), 24);
        assert_ne!(one, other);
        assert_ne!(one[..16], other[..16]);
    }
}
