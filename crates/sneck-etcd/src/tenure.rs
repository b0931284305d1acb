//! A stay on a lease: kept by a word now and then, given up by another. It is the same for one who holds and one who waits.
//!
//! Not for: when (the lease engine says), nor how the claim was made (`protocol.rs`).

use crate::client::{Asked, Client, PATIENCE};
use crate::keys::Facts;
use crate::session::{Answer, Fault, Kind, Question, Session, encoded, number};
use serde_json::{Value, json};
use sneck::lease::{Renewed, Tenure};
use sneck::{Error, ErrorKind, Moment, Place, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the claimant and the keeper of its lease share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The revision in which the claim was made. 0: not yet.
    revision: AtomicU64,
    /// Whether it holds.
    holds: AtomicBool,
    /// A session that the claimant has no more use for.
    spare: Mutex<Option<Session>>,
}

impl Shared {
    /// The claim was made in this revision.
    pub(crate) fn entered(&self, revision: u64) {
        self.revision.store(revision, Ordering::Release);
    }

    /// It holds from now on.
    pub(crate) fn holds(&self, session: Option<Session>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        *spare = session;
        self.holds.store(true, Ordering::Release);
    }

    fn spare(&self) -> Option<Session> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.take()
    }
}

/// Whether it is written down since when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Written,
    /// It had to wait: how long, was not known when the claim was made.
    ToWrite,
}

/// One claimant's stay.
#[derive(Debug)]
pub(crate) struct Stay {
    pub(crate) place: Place,
    pub(crate) client: Client,
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) facts: Facts,
    pub(crate) since: Since,
}

impl Stay {
    fn failed(&self, fault: &Fault, doing: &'static str) -> Error {
        fault.error(&self.place, doing)
    }

    /// Of a read of the key: whether the claim stands there, as it was made.
    fn stands(answer: &Answer, revision: u64) -> Result<bool, Fault> {
        let range = answer.as_ref().map_err(Clone::clone)?;
        let made = number(&range["kvs"][0]["create_revision"]);
        Ok(made == Some(revision))
    }
}

impl Tenure for Stay {
    /// One word, and one look. The look is linearizable: a member that was cut off from the others may still prolong a lease that they have ended, and cannot
    /// answer this. And it shows a claim that somebody removed by force.
    fn renew(&mut self, by: Moment) -> Result<Renewed> {
        let revision = self.shared.revision.load(Ordering::Acquire);
        let mut questions = vec![keep_alive(self.lease)];
        if revision != 0 {
            questions.push(read(&self.key));
        }
        let tells = self.since == Since::ToWrite && self.shared.holds.load(Ordering::Acquire);
        if tells {
            let facts = self.facts.held();
            questions.push(rewrite(&self.key, revision, self.lease, &facts));
        }
        self.client.accept(self.shared.spare());
        let limit = Moment::now().after(PATIENCE).unwrap_or(by).min(by);
        let answers = self.client.ask(&questions, limit);
        let answers = answers.map_err(|fault| self.failed(&fault, "renew"))?;
        match &answers.each[0] {
            // What is dead is kept alive for no time at all.
            Ok(kept) if number(&kept["TTL"]).unwrap_or(0) == 0 => {
                return Ok(Renewed::Gone("etcd has ended its lease".into()));
            }
            Ok(_) => {}
            Err(fault) if fault.kind == Kind::NotFound => {
                return Ok(Renewed::Gone("etcd has ended its lease".into()));
            }
            Err(fault) => return Err(self.failed(fault, "renew")),
        }
        if revision != 0 {
            let stands = Stay::stands(&answers.each[1], revision);
            if !stands.map_err(|fault| self.failed(&fault, "renew"))? {
                let why = "its key was removed: by force, or by hand";
                return Ok(Renewed::Gone(why.into()));
            }
        }
        if tells {
            self.since = Since::Written;
        }
        Ok(Renewed::Kept)
    }

    /// The key goes if it is still the one that we made, and with that the next one is let in; then the lease, which nothing else is attached to. Both are asked in one go.
    fn release(&mut self, by: Moment) -> Result<()> {
        self.client.accept(self.shared.spare());
        let revision = self.shared.revision.load(Ordering::Acquire);
        let questions = [delete(&self.key, revision), revoke(self.lease)];
        let answers = self.client.ask(&questions, by);
        let answers = answers.map_err(|fault| self.failed(&fault, "release"))?;
        self.client.close();
        let deleted = answers.each[0].as_ref();
        let deleted = deleted.map_err(|fault| self.failed(fault, "release"))?;
        // The first asking may have deleted it. What became of the lease is of no matter: without its key it is nobody's.
        if deleted["succeeded"].as_bool() == Some(true) || answers.asked == Asked::Again {
            return Ok(());
        }
        let what = "the lock was lost while it was held: its key was not there any more";
        Err(Error::new(ErrorKind::Lost, "release", what)
            .at(&self.place)
            .advise(
                "what it guards may have been used by two at once: check the fencing token there",
            ))
    }
}

pub(crate) fn keep_alive(lease: u64) -> Question {
    Question::new("/v3/lease/keepalive", json!({"ID": lease.to_string()}))
}

pub(crate) fn revoke(lease: u64) -> Question {
    Question::new("/v3/lease/revoke", json!({"ID": lease.to_string()}))
}

fn read(key: &[u8]) -> Question {
    Question::new("/v3/kv/range", only_key(key))
}

/// One key, without what is written there.
pub(crate) fn only_key(key: &[u8]) -> Value {
    json!({"key": encoded(key), "keys_only": true})
}

/// Whether this key is there since this revision.
pub(crate) fn made_in(key: &[u8], revision: u64) -> Value {
    json!({
        "key": encoded(key),
        "target": "CREATE",
        "result": "EQUAL",
        "create_revision": revision.to_string(),
    })
}

pub(crate) fn put(key: &[u8], lease: u64, facts: &Facts) -> Value {
    json!({"request_put": {
        "key": encoded(key),
        "value": facts.written(),
        "lease": lease.to_string(),
    }})
}

fn delete(key: &[u8], revision: u64) -> Question {
    Question::new(
        "/v3/kv/txn",
        json!({
            "compare": [made_in(key, revision)],
            "success": [{"request_delete_range": {"key": encoded(key)}}],
        }),
    )
}

fn rewrite(key: &[u8], revision: u64, lease: u64, facts: &Facts) -> Question {
    Question::new(
        "/v3/kv/txn",
        json!({
            "compare": [made_in(key, revision)],
            "success": [put(key, lease, facts)],
        }),
    )
}
