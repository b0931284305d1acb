//! The lock itself: a key on a lease, in the order in which the keys were made.
//!
//! Downsides. Whoever falls silent keeps the others waiting until its lease ends: `ttl` and the lock delay, in whole seconds, 2 at least. A lock costs the cluster two writes to its
//! log and giving it back two more. One that waits has two connections and a thread. No quorum, no lock. A cluster that is restored from a backup hands out old revisions
//! again (`etcdctl snapshot restore --bump-revision`, from 3.5.10 on, prevents it), and one that lost all its data begins at 1.
//!
//! Bytes. `name/LEASE` is an exclusive claim, `name/shared-LEASE` a shared one (`keys.rs`); the value says in JSON who it is. Each claim is attached to a lease of its own, and goes with it.
//!
//! Also spoken by `etcdctl lock name`, clientv3's `concurrency.Mutex` and all that use it (the server's own Lock RPC among them), which wait for every older key below
//! `name/`. So they exclude our claims of either mode and are excluded by them. What they write is exclusive and empty. We wait for what is a claim at this lock and for nothing else:
//! where a key stands below `name/` that is none (`name/eu/LEASE`, the lock `name/eu`), they wait for it and we do not.
//!
//! Who waits for whom, always for those that came before only:
//!
//! | | exclusive of ours, stock | shared |
//! |---|---|---|
//! | exclusive of ours | waits | waits |
//! | stock | waits | waits |
//! | shared | waits | – |
//!
//! The token is the revision in which the key was created: it grows with every write to the cluster, and nobody gets in past one who was created before.
//!
//! Steps of a claimant:
//! 1. A lease is granted, of `ttl` and the lock delay. Its number is the server's: one of our own could be another's too.
//! 2. *Try*: one transaction that makes the key if nothing stands in the way. If it does: held. If not: nothing was made, and we know who holds.
//! 3. Asked again: make the key in any case. Its revision is our place in the queue. From now on the lease is kept alive.
//! 4. Look, linearizable: is our key there, and which is the last one in the way before it? None: held, with this very look (R8). Gone: begin at 1.
//! 5. Watch that one for its removal, from the revision after the look. When it goes, or the watch ends, or a third of the lease is over: 4.
//! 6. To release: delete the key, if it is the one that we made (R9), and end the lease, in one go. To withdraw: end the lease, with which the key goes. An answer that was lost is asked for again; see `Client::ask` for why that does no harm (R7).
//!
//! A member that fails is replaced by the next one at any step. While nobody answers, one who waits goes on waiting as long as its lease lasts.

use crate::client::{Client, Cluster, PATIENCE};
use crate::config::Config;
use crate::keys::{Entry, Keys, Known, Range, holding};
use crate::seat::{Seat, WITHDRAW};
use crate::session::{Fault, Kind, Question, decoded, encoded, number};
use crate::tenure::{made_in, revoke};
use serde_json::{Value, json};
use sneck::lease::Terms;
use sneck::protocol::{
    Capabilities, Consistency, Contender, Crash, Leasing, Mark, Modes, Order, Protocol, Reach,
    Removable, Removal, Restart, Right, Tokens,
};
use sneck::{Claim, Error, ErrorKind, Holder, Moment, Place, Result, Sighting};
use std::sync::Arc;
use std::time::Duration;

/// The shortest lease of a member with the usual election timeout of a second.
const SHORTEST: Duration = Duration::from_secs(2);

/// A lock in etcd.
#[derive(Debug)]
pub struct Etcd {
    target: Arc<Target>,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) keys: Keys,
    pub(crate) known: Known,
}

impl Etcd {
    /// The lock at a place written `etcd://…` or `etcds://…`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: the place makes no sense.
    pub fn new(place: &Place) -> Result<Etcd> {
        let usage = |what: String| Error::new(ErrorKind::Usage, "read the place", what).at(place);
        let rest = place
            .rest()
            .to_str()
            .ok_or_else(|| usage("the address is not UTF-8".into()))?;
        let config = Config::parse(place.scheme(), rest).map_err(|e| usage(e.to_string()))?;
        let keys = Keys::of(config.name());
        Ok(Etcd {
            target: Arc::new(Target {
                place: place.clone(),
                cluster: Arc::new(Cluster::new(config)),
                keys,
                known: Known::default(),
            }),
        })
    }

    /// All claims there are, in their order.
    fn queue(&self) -> Result<Vec<Entry>> {
        let target = &self.target;
        let mut client = Client::new(&target.cluster);
        let question = Question::new("/v3/kv/range", everything(&target.keys.all()));
        let answer = client.ask_for(question, within(PATIENCE));
        let range = answer
            .and_then(|answer| answer)
            .map_err(|fault| target.failed(&fault, "look"))?;
        Ok(target.keys.entries(&range))
    }
}

impl Target {
    pub(crate) fn failed(&self, fault: &Fault, doing: &'static str) -> Error {
        fault.error(&self.place, doing)
    }
}

pub(crate) fn within(limit: Duration) -> Moment {
    let now = Moment::now();
    now.after(limit).unwrap_or(now)
}

/// A range, all of it, the oldest first.
pub(crate) fn everything(range: &Range) -> Value {
    json!({
        "key": range.from,
        "range_end": range.to,
        "sort_target": "CREATE",
        "sort_order": "ASCEND",
    })
}

pub(crate) fn txn(compare: &[Value], success: &[Value], failure: &[Value]) -> Question {
    Question::new(
        "/v3/kv/txn",
        json!({"compare": compare, "success": success, "failure": failure}),
    )
}

pub(crate) fn range(inner: Value) -> Value {
    json!({ "request_range": inner })
}

/// What the answer to a transaction says of its part of this number.
pub(crate) fn part(answer: &Value, index: usize) -> &Value {
    &answer["responses"][index]["response_range"]
}

/// Who holds of a queue, and what would have to be removed to free it.
pub(crate) fn sighting(queue: &[Entry]) -> Sighting {
    let holders = &queue[..holding(queue)];
    if holders.is_empty() {
        return Sighting::Free;
    }
    Sighting::Held {
        holders: holders.iter().map(Entry::holder).collect(),
        mark: Some(mark(holders)),
    }
}

/// All claims that hold: what was seen is removed as a whole, or not at all.
fn mark(holders: &[Entry]) -> Mark {
    let each = holders.iter().map(|entry| {
        json!({
            "key": encoded(&entry.key),
            "revision": entry.revision,
            "lease": entry.lease,
            // Whether the lease is that claim's alone: whoever uses a stock client may have other keys on it.
            "ours": entry.facts.is_some(),
        })
    });
    let youngest = holders.iter().map(|entry| entry.revision).max();
    Mark {
        inode: (0, 0),
        changed: i128::from(youngest.unwrap_or(0)),
        content: Value::Array(each.collect()).to_string().into_bytes(),
    }
}

impl Protocol for Etcd {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        self.target.cluster.config().identity()
    }

    fn terms(&self) -> Terms {
        self.target.cluster.config().terms()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::LEAST;
        capabilities.modes = Modes::SharedToo;
        capabilities.order = Order::Fifo;
        capabilities.reach = Reach::Network;
        capabilities.crash = Crash::Free;
        capabilities.removal = Removable::Yes;
        capabilities.tokens = Tokens::Durable;
        capabilities.lease = Leasing::Leased {
            shortest: SHORTEST,
            step: Duration::from_secs(1),
        };
        capabilities.restart = Restart::Survives;
        capabilities.consistency = Consistency::Linearizable;
        capabilities
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        Ok(Box::new(Seat::new(&self.target, claim)))
    }

    fn inspect(&self) -> Result<Sighting> {
        Ok(sighting(&self.queue()?))
    }

    fn waiters(&self) -> Result<Vec<Holder>> {
        let queue = self.queue()?;
        Ok(queue[holding(&queue)..].iter().map(Entry::holder).collect())
    }

    /// By force only: who falls silent loses it without our help, and nothing else proves anything about a holder of another machine. The next claim is made in a later revision, so the token grows (R14).
    fn remove(&self, seen: &Mark, right: Right) -> Result<Removal> {
        if right != Right::Force {
            return Ok(Removal::Unsupported);
        }
        let target = &self.target;
        let seen: Vec<Value> = serde_json::from_slice(&seen.content).unwrap_or_default();
        let key = |claim: &Value| decoded(claim["key"].as_str()?);
        let (mut stand, mut delete) = (Vec::new(), Vec::new());
        for claim in &seen {
            let key = key(claim).unwrap_or_default();
            stand.push(made_in(&key, number(&claim["revision"]).unwrap_or(0)));
            delete.push(json!({"request_delete_range": {"key": encoded(&key)}}));
        }
        if delete.is_empty() {
            return Ok(Removal::Changed);
        }
        let mut client = Client::new(&target.cluster);
        let answer = client.ask_for(txn(&stand, &delete, &[]), within(PATIENCE));
        let answer = match answer.and_then(|answer| answer) {
            Ok(answer) => answer,
            Err(fault) if fault.kind == Kind::Refused => return Ok(Removal::NotAllowed),
            Err(fault) => return Err(target.failed(&fault, "remove")),
        };
        if answer["succeeded"].as_bool() != Some(true) {
            return Ok(Removal::Changed);
        }
        // So that their holders hear of it. The claims are gone already, whatever comes of this.
        let ours = seen.iter().filter(|claim| claim["ours"] == json!(true));
        let leases = ours.filter_map(|claim| number(&claim["lease"]));
        let leases: Vec<Question> = leases.map(revoke).collect();
        let _ = client.ask(&leases, within(WITHDRAW));
        Ok(Removal::Removed)
    }
}
