//! One claimant: the steps of `protocol.rs`, one by one.
//!
//! Not for: what the keys are (`keys.rs`); the stay on the lease once it is kept (`tenure.rs`).

use crate::client::{Client, PATIENCE};
use crate::keys::{Entry, Facts};
use crate::protocol::{Target, everything, part, range, sighting, txn, within};
use crate::session::{Fault, Kind, Question, Seen, Watching, number};
use crate::tenure::{Shared, Since, Stay, made_in, only_key, put, revoke};
use serde_json::{Value, json};
use sneck::lease::{Lease, Leased};
use sneck::protocol::{Attempt, Busy, Contender, Wake};
use sneck::{Claim, Error, ErrorKind, Mode, Moment, Result, Sighting, Standing};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// How long giving up a wait may take. If etcd hears nothing of it, the lease ends by itself.
pub(crate) const WITHDRAW: Duration = Duration::from_secs(2);
/// While nobody answers one who waits.
const AGAIN: Duration = Duration::from_millis(100);

/// One claimant.
#[derive(Debug)]
pub(crate) struct Seat {
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
    pub(crate) fn new(target: &Arc<Target>, claim: &Arc<Claim>) -> Seat {
        Seat {
            target: target.clone(),
            client: Client::new(&target.cluster),
            facts: target.known.facts(claim),
            claim: claim.clone(),
            state: State::Outside,
            tried: Tried::No,
            process: std::process::id(),
        }
    }

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
