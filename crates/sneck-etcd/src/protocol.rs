//! The lock itself: a key on a lease, in the order in which the keys were made.
//!
//! Downsides. Whoever falls silent keeps the others waiting until its lease ends: `ttl` and the lock delay, in whole seconds, 2 at least. A lock costs the cluster two writes to its
//! log and giving it back one more. One that waits has two connections and a thread. No quorum, no lock. A cluster that is restored from a backup hands out old revisions
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
//! 6. To withdraw or to release: end the lease, with which the key goes. An answer that was lost is asked for again; see `Client::ask` for why that does no harm (R7).
//!
//! A member that fails is replaced by the next one at any step. While nobody answers, one who waits goes on waiting as long as its lease lasts.

use crate::client::{Client, Cluster, PATIENCE};
use crate::config::Config;
use crate::keys::{Entry, Facts, Keys, Range, holding};
use crate::session::{Fault, Kind, Question, Seen, Watching, decoded, encoded, number};
use crate::tenure::{Shared, Since, Stay, made_in, only_key, put, revoke};
use serde_json::{Value, json};
use sneck::lease::{Lease, Leased, Terms};
use sneck::protocol::{
    Attempt, Busy, Capabilities, Consistency, Contender, Crash, Leasing, Mark, Modes, Order,
    Protocol, Reach, Removable, Removal, Restart, Right, Tokens, Wake,
};
use sneck::{Claim, Error, ErrorKind, Holder, Mode, Moment, Place, Result, Sighting, Standing};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// How long giving up a wait may take. If etcd hears nothing of it, the lease ends by itself.
const WITHDRAW: Duration = Duration::from_secs(2);
/// The shortest lease of a member with the usual election timeout of a second.
const SHORTEST: Duration = Duration::from_secs(2);
/// While nobody answers one who waits.
const AGAIN: Duration = Duration::from_millis(100);

/// A lock in etcd.
#[derive(Debug)]
pub struct Etcd {
    target: Arc<Target>,
}

#[derive(Debug)]
struct Target {
    place: Place,
    cluster: Arc<Cluster>,
    keys: Keys,
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
    fn failed(&self, fault: &Fault, doing: &'static str) -> Error {
        fault.error(&self.place, doing)
    }
}

fn within(limit: Duration) -> Moment {
    let now = Moment::now();
    now.after(limit).unwrap_or(now)
}

/// A range, all of it, the oldest first.
fn everything(range: &Range) -> Value {
    json!({
        "key": range.from,
        "range_end": range.to,
        "sort_target": "CREATE",
        "sort_order": "ASCEND",
    })
}

fn txn(compare: &[Value], success: &[Value], failure: &[Value]) -> Question {
    Question::new(
        "/v3/kv/txn",
        json!({"compare": compare, "success": success, "failure": failure}),
    )
}

fn range(inner: Value) -> Value {
    json!({ "request_range": inner })
}

/// What the answer to a transaction says of its part of this number.
fn part(answer: &Value, index: usize) -> &Value {
    &answer["responses"][index]["response_range"]
}

/// Who holds of a queue, and what would have to be removed to free it.
fn sighting(queue: &[Entry]) -> Sighting {
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

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn sneck::protocol::Contender>> {
        let target = self.target.clone();
        Ok(Box::new(Seat {
            client: Client::new(&target.cluster),
            target,
            facts: Facts::of(claim),
            claim: claim.clone(),
            state: State::Outside,
            tried: Tried::No,
            process: std::process::id(),
        }))
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

/// One claimant.
#[derive(Debug)]
struct Seat {
    target: Arc<Target>,
    claim: Arc<Claim>,
    facts: Facts,
    client: Client,
    state: State,
    tried: Tried,
    process: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Tried {
    No,
    Once,
}

#[derive(Debug)]
enum State {
    /// Nothing of ours is there.
    Outside,
    /// A lease is. Kept by nobody: it is as old as this step.
    Granted(Granted),
    /// A claim is, and its lease is kept.
    Queued(Box<Queued>),
}

#[derive(Debug, Clone, Copy)]
struct Granted {
    lease: u64,
    /// When it was asked for.
    said: Moment,
}

#[derive(Debug)]
struct Queued {
    granted: u64,
    /// Stops being kept when this is dropped.
    lease: Lease,
    shared: Arc<Shared>,
    key: Vec<u8>,
    revision: u64,
    watch: Option<Watching>,
    /// Who was seen to hold.
    seen: Sighting,
    /// When to look whatever the watch says: the member that it hangs on may have gone to sleep.
    look: Moment,
}

/// What a look at the queue gave.
enum Turn {
    /// Nobody is in the way.
    Ours,
    /// This key is, seen in this revision.
    Behind(Vec<u8>, u64),
    /// Our claim is not there.
    Gone,
}

impl Seat {
    fn failed(&self, fault: &Fault) -> Error {
        self.target.failed(fault, "ask etcd")
    }

    fn foreign(&self) -> Error {
        let what = "it does not answer as etcd does";
        Error::new(ErrorKind::Foreign, "ask etcd", what).at(&self.target.place)
    }

    /// One question, its answer by then.
    fn ask(&mut self, question: Question, by: Moment) -> Result<Value, Fault> {
        self.client.ask_for(question, by)?
    }

    /// A lease that is ours, and new.
    fn lease(&mut self) -> Result<Granted> {
        if let State::Granted(granted) = self.state {
            return Ok(granted);
        }
        let terms = self.claim.terms();
        let whole = terms.on_server().as_millis().div_ceil(1000);
        let said = Moment::now();
        let question = Question::new(
            "/v3/lease/grant",
            json!({"TTL": whole.to_string(), "ID": "0"}),
        );
        let answer = self.ask(question, within(PATIENCE));
        let answer = answer.map_err(|fault| self.failed(&fault))?;
        let lease = number(&answer["ID"]).filter(|id| *id != 0);
        let lease = lease.ok_or_else(|| self.foreign())?;
        let granted = Granted { lease, said };
        self.state = State::Granted(granted);
        let seconds = u128::from(number(&answer["TTL"]).unwrap_or(0));
        if seconds < whole {
            let what = format!("asked for a lease of {whole} s, etcd grants {seconds} s");
            return Err(Error::new(ErrorKind::Unsupported, "ask etcd", what)
                .at(&self.target.place)
                .advise("ask for a shorter one"));
        }
        Ok(granted)
    }

    fn key(&self, lease: u64) -> Vec<u8> {
        self.target.keys.claim(self.claim.mode(), lease)
    }

    /// Until when one answer may take, while this lease is at stake.
    fn limit(&self, granted: Granted) -> Moment {
        let ttl = self.claim.terms().ttl();
        let end = granted.said.after(ttl).unwrap_or(granted.said);
        within(PATIENCE).min(end)
    }

    /// Steps 1 and 2.
    fn try_once(&mut self) -> Result<Attempt> {
        let granted = self.lease()?;
        let key = self.key(granted.lease);
        let mode = self.claim.mode();
        let way = self.target.keys.in_the_way_of(mode);
        // A range in which nothing stands was, as a whole, made in revision 0.
        let nobody = json!({
            "key": way.from,
            "range_end": way.to,
            "target": "CREATE",
            "result": "EQUAL",
            "create_revision": "0",
        });
        let question = txn(
            &[nobody],
            &[
                put(&key, granted.lease, &self.facts.held()),
                range(only_key(&key)),
            ],
            &[
                range(only_key(&key)),
                range(everything(&self.target.keys.all())),
            ],
        );
        let answer = self.ask(question, self.limit(granted));
        let answer = answer.map_err(|fault| self.failed(&fault))?;
        let free = answer["succeeded"].as_bool() == Some(true);
        let own = part(&answer, usize::from(free));
        let own = number(&own["kvs"][0]["create_revision"]);
        if let (true, Some(revision)) = (free, own) {
            let queued = self.queued(granted, key, revision, Since::Written);
            return Ok(self.held(queued));
        }
        if let Some(revision) = own {
            // An earlier asking made it, and its answer was lost.
            self.enter(granted, key, revision);
            return self.wait();
        }
        let queue = self.target.keys.entries(part(&answer, 1));
        let in_the_way = |entry: &Entry| mode == Mode::Exclusive || entry.mode == Mode::Exclusive;
        if !queue.iter().any(in_the_way) {
            // Only what is no claim at this lock.
            return self.wait();
        }
        // Whoever asks again is queued at once.
        let now = vec![Wake::At(Moment::now())];
        Ok(Attempt::Busy(Busy::new(sighting(&queue), now)))
    }

    /// Step 3.
    fn join(&mut self) -> Result<()> {
        for _ in 0..2 {
            let granted = self.lease()?;
            let key = self.key(granted.lease);
            let question = txn(
                &[made_in(&key, 0)],
                &[put(&key, granted.lease, &self.facts), range(only_key(&key))],
                // An earlier asking made it.
                &[range(only_key(&key))],
            );
            match self.ask(question, self.limit(granted)) {
                Ok(answer) => {
                    let made = answer["succeeded"].as_bool() == Some(true);
                    let own = part(&answer, usize::from(made));
                    let revision = number(&own["kvs"][0]["create_revision"]);
                    let revision = revision.ok_or_else(|| self.foreign())?;
                    self.enter(granted, key, revision);
                    return Ok(());
                }
                // The lease of the first try has ended: whoever asks took their time.
                Err(fault) if fault.kind == Kind::NotFound => self.state = State::Outside,
                Err(fault) => return Err(self.failed(&fault)),
            }
        }
        let what = "etcd ends our leases as soon as it grants them";
        Err(Error::new(ErrorKind::Io, "ask etcd", what).at(&self.target.place))
    }

    fn enter(&mut self, granted: Granted, key: Vec<u8>, revision: u64) {
        let queued = self.queued(granted, key, revision, Since::ToWrite);
        self.state = State::Queued(Box::new(queued));
    }

    /// From now on the lease is kept.
    fn queued(&mut self, granted: Granted, key: Vec<u8>, revision: u64, since: Since) -> Queued {
        let shared = Arc::new(Shared::default());
        shared.entered(revision);
        let stay = Stay {
            place: self.target.place.clone(),
            client: Client::new(&self.target.cluster),
            shared: shared.clone(),
            lease: granted.lease,
            key: key.clone(),
            facts: self.facts.clone(),
            since,
        };
        Queued {
            granted: granted.lease,
            lease: Lease::begin(self.claim.terms(), granted.said, Box::new(stay)),
            shared,
            key,
            revision,
            watch: None,
            seen: Sighting::held_by_somebody(),
            look: Moment::now(),
        }
    }

    /// Whoever holds gives the connection to the one who will release.
    fn held(&mut self, queued: Queued) -> Attempt {
        self.state = State::Outside;
        if let Some(watch) = queued.watch {
            watch.close();
        }
        queued.shared.holds(self.client.take());
        Attempt::Held(Box::new(Leased::of(queued.lease, Some(queued.revision))))
    }

    /// Step 4.
    fn look(&mut self, queued: &mut Queued) -> Result<Turn, Fault> {
        let keys = self.target.keys.clone();
        let way = keys.in_the_way_of(self.claim.mode());
        let last = |limit: u32| {
            range(json!({
                "key": way.from,
                "range_end": way.to,
                "max_create_revision": (queued.revision - 1).to_string(),
                "sort_target": "CREATE",
                "sort_order": "DESCEND",
                "keys_only": true,
                "limit": limit.to_string(),
            }))
        };
        let mut first = everything(&keys.all());
        first["limit"] = json!("1");
        let by = within(self.claim.terms().pace().min(PATIENCE));
        // One is enough, unless it is no claim at this lock.
        for limit in [1, 0] {
            let question = txn(
                &[],
                &[
                    range(only_key(&queued.key)),
                    last(limit),
                    range(first.clone()),
                ],
                &[],
            );
            let answer = self.ask(question, by)?;
            let own = number(&part(&answer, 0)["kvs"][0]["create_revision"]);
            if own != Some(queued.revision) {
                return Ok(Turn::Gone);
            }
            let before = part(&answer, 1);
            if before["kvs"].as_array().is_none_or(Vec::is_empty) {
                return Ok(Turn::Ours);
            }
            if let Some(last) = keys.entries(before).pop() {
                let holders = keys.entries(part(&answer, 2));
                queued.seen = match sighting(&holders) {
                    Sighting::Free => Sighting::held_by_somebody(),
                    seen => seen,
                };
                let revision = number(&answer["header"]["revision"]).unwrap_or(0);
                return Ok(Turn::Behind(last.key, revision));
            }
        }
        Ok(Turn::Ours)
    }

    /// Step 5, as far as it has come: what is known is enough, or it is looked again.
    fn wait(&mut self) -> Result<Attempt> {
        // Once more if the claim has gone while nobody looked.
        for _ in 0..2 {
            if !matches!(self.state, State::Queued(_)) {
                self.join()?;
            }
            let State::Queued(mut queued) = mem::replace(&mut self.state, State::Outside) else {
                break;
            };
            if !self.has_news(&mut queued) {
                return self.busy(queued);
            }
            match self.look(&mut queued) {
                // A claim of which we no longer believe that it stands is none.
                _ if queued.lease.standing() != Standing::Held => {}
                Ok(Turn::Ours) => return Ok(self.held(*queued)),
                Ok(Turn::Gone) => {}
                Ok(Turn::Behind(key, revision)) => {
                    queued.look = within(self.claim.terms().pace());
                    return match self.watch(&mut queued, &key, revision) {
                        Ok(()) => self.busy(queued),
                        Err(fault) => self.bear(queued, &fault),
                    };
                }
                Err(fault) => return self.bear(queued, &fault),
            }
            self.give_up(queued);
        }
        let what = "our claims vanish as soon as they are made";
        Err(Error::new(ErrorKind::Io, "ask etcd", what)
            .at(&self.target.place)
            .advise("find out who removes keys below the lock's name"))
    }

    /// Whether there is something to look at.
    fn has_news(&self, queued: &mut Queued) -> bool {
        if queued.lease.standing() != Standing::Held {
            return true;
        }
        let seen = queued.watch.as_mut().map(Watching::look);
        match seen {
            Some(Seen::Nothing) => queued.look.until().is_zero(),
            Some(Seen::Look) => true,
            Some(Seen::Over) => {
                end(queued.watch.take());
                true
            }
            // The look before did not get so far.
            None => queued.look.until().is_zero(),
        }
    }

    fn watch(&mut self, queued: &mut Queued, key: &[u8], after: u64) -> Result<(), Fault> {
        let watched = queued.watch.as_ref();
        // One that hangs on another member than the one that just answered may hang for ever.
        if watched.is_some_and(|w| w.key() == key && Some(w.member()) == self.client.member()) {
            return Ok(());
        }
        end(queued.watch.take());
        let by = within(self.claim.terms().pace().min(PATIENCE));
        let session = self.client.beside(by)?;
        let deadline = sneck_net::Deadline::after(by.until());
        queued.watch = Some(Watching::begin(session, key, after, &deadline)?);
        Ok(())
    }

    /// One who waits can do without an answer as long as the lease lasts.
    fn bear(&mut self, mut queued: Box<Queued>, fault: &Fault) -> Result<Attempt> {
        if !fault.passes() {
            self.give_up(queued);
            return Err(self.failed(fault));
        }
        queued.look = within(AGAIN);
        self.busy(queued)
    }

    fn busy(&mut self, queued: Box<Queued>) -> Result<Attempt> {
        let mut wakes = vec![Wake::At(queued.look)];
        let wake = queued.watch.as_ref().map(Watching::wake).transpose();
        let seen = queued.seen.clone();
        self.state = State::Queued(queued);
        let wake = wake.map_err(|e| {
            let what = "no descriptor to be had";
            Error::new(ErrorKind::Io, "watch the connection", what)
                .at(&self.target.place)
                .because(e)
        })?;
        wakes.extend(wake.flatten());
        Ok(Attempt::Busy(Busy::new(seen, wakes)))
    }

    /// The claim is of no use any more, and what is left of it must keep nobody waiting.
    fn give_up(&mut self, queued: Box<Queued>) {
        drop(queued.lease);
        end(queued.watch);
        let _ = self.ask(revoke(queued.granted), within(WITHDRAW));
    }
}

fn end(watch: Option<Watching>) {
    if let Some(watch) = watch {
        watch.close();
    }
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        match mem::replace(&mut self.tried, Tried::Once) {
            // It may be the only try: then nothing is made that would have to be taken back, and that others could meet.
            Tried::No => self.try_once(),
            Tried::Once => self.wait(),
        }
    }
}

impl Drop for Seat {
    /// Withdraw. 1. We are queued. 2. Our time is over. 3. The one before us leaves, and the lock is ours, which nobody has told us yet. 4. The lease ends, the key with it,
    /// and the next one's watch tells. There is no grant that could come late: holding *is* the order of the keys.
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        match mem::replace(&mut self.state, State::Outside) {
            State::Outside => {}
            State::Granted(granted) => {
                let _ = self.ask(revoke(granted.lease), within(WITHDRAW));
            }
            State::Queued(queued) => self.give_up(queued),
        }
    }
}
