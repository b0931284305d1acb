//! The lock itself: a key of a Redis server that expires unless it is renewed, and a queue beside it.
//!
//! Downsides. The server's word is as good as its memory: what is not saved is gone when it restarts, and what is not replicated is gone after a fail-over (`?wait=1` waits for a replica,
//! which makes that rarer and excludes nothing). Expiry counts by the server's wall clock: set ahead by an hour, it ends every lease at once. So tokens are best effort: they grow as
//! long as the server keeps its counter *or* its clock goes on. A server with an eviction policy for keys that expire may evict a lock.
//!
//! Bytes. The key NAME is a string: `sneck:xID` (one holder) or `sneck:shared`; it expires after lease and lock delay. Beside it, all beginning with `sneck:{NAME}:`, `queue`
//! and `readers` (sorted sets), `by:ID` (who it is, one for each who holds or waits), `token` (the counter; for 30 days after the last grant), `gone:ID` (for a minute after a claimant gave up
//! whose question may be on its way still). Channels: `to:CONNECTION`.
//!
//! Also spoken, at the key NAME, by whatever takes it with `SET NAME value NX`: redis-py's `Lock`, Redlock libraries. What they hold is waited for until it expires or is gone, and they wait
//! for us; they know of no queue, so that they can come in between. Not by Redisson, whose locks are hashes that its scripts read without asking whose they are: such a key is waited for, and ours ends its call with an error.
//!
//! Steps of a claimant: 1. connect, and listen to a channel. 2. `attempt`: granted, or who is in the way. 3. If it is asked again: `attempt`, which also joins the queue. 4. Sleep until
//! the channel says something, the holder's time is over (for the first in the queue), or a third of what a place in the queue lasts has passed; then 3 again. 5. `release`, which wakes the
//! next. Giving up is `release` too: it leaves the queue, or gives back what was granted late.
//!
//! All rules are in the scripts (`scripts/`), so that no client sees half of a step.

use crate::config::Config;
use crate::record;
use crate::resp::Value;
use crate::scripts::Script;
use crate::session::{Failure, Heard, Said};
use crate::target::{Line, PATIENCE, Target};
use crate::tenure::Stay;
use sneck::lease::{Leased, Terms};
use sneck::protocol::{
    Attempt, Busy, Capabilities, Consistency, Contender, Crash, Leasing, Mark, Modes, Order,
    Protocol, Reach, Removable, Removal, Restart, Right, Tokens, Wake,
};
use sneck::{Claim, Error, ErrorKind, Holder, Moment, Place, Result, Sighting, Source, text};
use sneck_net::Deadline;
use std::sync::Arc;
use std::time::Duration;

/// How long giving up a wait may take before the connection is simply closed.
const WITHDRAW: Duration = Duration::from_secs(2);
/// How often to look at what somebody holds who tells nobody when it ends: as often as redis-py does.
const FOREIGN: Duration = Duration::from_millis(100);

/// A lock of a Redis server.
#[derive(Debug)]
pub struct Redis {
    target: Arc<Target>,
}

impl Redis {
    /// The lock at a place written `redis://…` or `rediss://…`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: the place makes no sense.
    pub fn new(place: &Place) -> Result<Redis> {
        let usage = |what: String| Error::new(ErrorKind::Usage, "read the place", what).at(place);
        let rest = place
            .rest()
            .to_str()
            .ok_or_else(|| usage("the address is not UTF-8".into()))?;
        let config = Config::parse(&format!("{}:{rest}", place.scheme()));
        let config = config.map_err(|e| usage(e.to_string()))?;
        Ok(Redis {
            target: Arc::new(Target::new(place, config)),
        })
    }

    fn looked(&self) -> Result<Look> {
        let answer = self.target.look(Script::Inspect, &["", ""]);
        match answer.as_ref().map(Value::list) {
            Ok([state, value, _, holders, waiting]) => Ok(Look {
                seen: Seen::new(state, value, holders.list()),
                waiting: waiters(waiting.list()),
            }),
            Ok(_) => Err(self.target.error(ErrorKind::Io, "look", NO_SENSE)),
            Err(failure) => Err(self.target.failed("look", failure)),
        }
    }
}

const NO_SENSE: &str = "the server's answer makes no sense";

struct Look {
    seen: Seen,
    waiting: Vec<Holder>,
}

/// How it is held, as the scripts tell it.
struct Seen {
    state: String,
    value: Vec<u8>,
    /// Ids and what is written down of them.
    holders: Vec<(String, Holder)>,
}

impl Seen {
    fn new(state: &Value, value: &Value, holders: &[Value]) -> Seen {
        let pairs = holders.chunks_exact(2).map(|pair| {
            let (id, record) = (pair[0].text(), pair[1].text());
            let id = id.unwrap_or_default();
            (
                id.to_owned(),
                record::holder(id, record.unwrap_or_default()),
            )
        });
        Seen {
            state: state.text().unwrap_or_default().to_owned(),
            value: match value {
                Value::Text(bytes) => bytes.clone(),
                _ => Vec::new(),
            },
            holders: pairs.collect(),
        }
    }

    /// What would have to be removed: what stands there, and the ids of the readers.
    fn mark(&self) -> Option<Mark> {
        if self.state == "foreign" && self.value.is_empty() {
            return None;
        }
        let mut content = self.value.clone();
        if self.state == "shared" {
            for (id, _) in &self.holders {
                content.extend(b"\n");
                content.extend(id.bytes());
            }
        }
        Some(Mark {
            inode: (0, 0),
            changed: 0,
            content,
        })
    }

    /// `Free` only if nobody holds it; somebody may stand in the queue all the same.
    fn sighting(&self) -> Sighting {
        let holders = match &*self.state {
            "free" => return Sighting::Free,
            "foreign" => vec![foreign(&self.value)],
            _ => self
                .holders
                .iter()
                .map(|(_, holder)| holder.clone())
                .collect(),
        };
        Sighting::Held {
            holders,
            mark: self.mark(),
        }
    }
}

/// Whoever is none of us says no more than a value.
fn foreign(value: &[u8]) -> Holder {
    let mut holder = Holder::unknown(Source::Server);
    holder.command = Some(if value.is_empty() {
        "another program, whose key is no string".to_owned()
    } else {
        let value = String::from_utf8_lossy(value);
        let shown: String = value.chars().take(64).collect();
        format!("another program, with the value {}", text::clean(&shown))
    });
    holder
}

fn waiters(words: &[Value]) -> Vec<Holder> {
    let each = words.chunks_exact(3).map(|triple| {
        let micros = triple[0].text().and_then(|text| text.parse::<f64>().ok());
        let (id, record) = (triple[1].text(), triple[2].text());
        let mut holder = record::holder(id.unwrap_or_default(), record.unwrap_or_default());
        holder.since = micros.and_then(|micros| record::since((micros / 1000.0) as u64));
        holder
    });
    each.collect()
}

impl Protocol for Redis {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        self.target.config.identity()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::LEAST;
        capabilities.modes = Modes::SharedToo;
        capabilities.order = Order::Fifo;
        capabilities.reach = Reach::Network;
        capabilities.crash = Crash::Free;
        capabilities.removal = Removable::Yes;
        capabilities.tokens = Tokens::BestEffort;
        capabilities.lease = Leasing::Leased {
            shortest: Duration::from_millis(100),
            step: Duration::from_millis(1),
        };
        capabilities.restart = Restart::Freed;
        capabilities.consistency = Consistency::UntilFailover;
        capabilities
    }

    fn terms(&self) -> Terms {
        self.target.config.terms()
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        let target = self.target.clone();
        let line = target.line(&Deadline::after(PATIENCE));
        let mut line = line.map_err(|failure| target.failed("connect", &failure))?;
        Ok(Box::new(Seat {
            id: line.claimant(claim.mode()),
            name: line.name.clone(),
            terms: claim.terms(),
            facts: target.facts(claim),
            process: std::process::id(),
            line: Some(line),
            stage: Stage::New,
            asked: None,
            woken: false,
            due: None,
            doubt: Doubt::None,
            seen: Sighting::held_by_somebody(),
            target,
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        match self.looked() {
            Ok(look) => Ok(look.seen.sighting()),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Sighting::Unknown {
                why: error.to_string(),
            }),
            Err(error) => Err(error),
        }
    }

    fn waiters(&self) -> Result<Vec<Holder>> {
        Ok(self.looked()?.waiting)
    }

    /// No claim here is ever judged stale: the server ends those that are not renewed.
    fn remove(&self, seen: &Mark, _right: Right) -> Result<Removal> {
        let Ok(content) = std::str::from_utf8(&seen.content) else {
            return Ok(Removal::Unsupported);
        };
        let mut words = vec![""];
        if content.starts_with("sneck:shared\n") {
            words.extend(content.split('\n'));
        } else {
            words.push(content);
        }
        let answer = self.target.look(Script::Remove, &words);
        match answer.as_ref().map(Value::number) {
            Ok(Some(1)) => Ok(Removal::Removed),
            Ok(_) => Ok(Removal::Changed),
            Err(failure) => Err(self.target.failed("break", failure)),
        }
    }
}

/// One claimant.
#[derive(Debug)]
struct Seat {
    target: Arc<Target>,
    id: String,
    /// The connection's, which a second one takes over.
    name: String,
    terms: Terms,
    facts: String,
    /// The process whose claim it is: a forked child withdraws nothing.
    process: u32,
    line: Option<Line>,
    stage: Stage,
    /// When a question was asked whose answer has not come.
    asked: Option<Moment>,
    /// The channel said something that nothing was made of yet.
    woken: bool,
    /// When to look without being told.
    due: Option<Moment>,
    doubt: Doubt,
    seen: Sighting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is asked.
    New,
    /// Tried once; nothing is left at the server.
    Tried,
    /// It stands in the queue.
    Queued,
    /// The holding has it, or it is no more.
    Over,
}

/// Whether a question may be on its way that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    Some,
}

impl Seat {
    /// How long one answer may take.
    fn patience(&self) -> Duration {
        PATIENCE.min(self.terms.pace())
    }

    /// How long a place in the queue is kept without a word: as a lease, but nobody waits behind a dead waiter for a day.
    fn stay(&self) -> Duration {
        self.terms
            .ttl()
            .clamp(Duration::from_secs(1), Duration::from_secs(15))
    }

    fn with_words<T>(&self, how: &str, then: impl FnOnce(&[&str]) -> T) -> T {
        let life = self.terms.on_server().as_millis().to_string();
        let stay = self.stay().as_millis().to_string();
        then(&[&self.id, &life, how, &stay, &self.facts])
    }

    /// Asks, and waits for the answer. If that does not come, asks once more over another connection: the same id gives the same answer, so that what was granted is known to be.
    fn try_it(&mut self, how: &str) -> Result<Attempt> {
        let patience = self.patience();
        self.asked = None;
        self.woken = false;
        let mut said = Moment::now();
        let mut answer = self.question(how, &Deadline::after(patience));
        if matches!(&answer, Err(failure) if failure.heard == Heard::Unknown) {
            self.line = None;
            self.doubt = Doubt::Some;
            said = Moment::now();
            answer = self.question(how, &Deadline::after(patience));
        }
        match answer {
            Ok(answer) => self.answered(&answer, said),
            Err(failure) => {
                if failure.heard == Heard::Unknown {
                    self.line = None;
                }
                Err(self.target.failed("acquire", &failure))
            }
        }
    }

    fn question(&mut self, how: &str, deadline: &Deadline) -> Result<Value, Failure> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.target.open(self.name.clone(), deadline)?,
        };
        let answer = self.with_words(how, |words| {
            self.target.run(&mut line, Script::Attempt, words, deadline)
        });
        self.line = Some(line);
        answer
    }

    fn answered(&mut self, answer: &Value, said: Moment) -> Result<Attempt> {
        match answer.list() {
            [Value::Number(1), token] => {
                let token = token.text().and_then(|text| text.parse().ok());
                self.granted(said, token)
            }
            [Value::Number(0), state, value, left, holders @ ..] => {
                let seen = Seen::new(state, value, holders);
                let left = left.number().and_then(|ms| u64::try_from(ms).ok());
                let mut wait = self.stay() / 3;
                // A key is there until the millisecond is over.
                if let Some(left) = left {
                    wait = wait.min(Duration::from_millis(left + 1));
                }
                if seen.state == "foreign" {
                    wait = wait.min(FOREIGN);
                }
                self.due = Moment::now().after(wait);
                self.seen = match seen.sighting() {
                    // It is somebody's who was woken and has not come yet.
                    Sighting::Free => Sighting::held_by_somebody(),
                    sighting => sighting,
                };
                self.busy()
            }
            _ => Err(self.target.error(ErrorKind::Io, "acquire", NO_SENSE)),
        }
    }

    fn granted(&mut self, said: Moment, token: Option<u64>) -> Result<Attempt> {
        // 1. A question is asked ahead. 2. This process is stopped. 3. It is granted, and runs out. 4. The answer is read.
        if said.elapsed() > self.patience() {
            return self.try_it("queue");
        }
        let replicas = self.target.config.replicas();
        if replicas > 0 {
            self.must_be_known_to(replicas)?;
        }
        self.stage = Stage::Over;
        let stay = Stay::new(
            self.target.clone(),
            &self.id,
            &self.name,
            self.terms,
            self.line.take(),
        );
        let held = Leased::new(self.terms, said, Box::new(stay), token);
        Ok(Attempt::Held(Box::new(held)))
    }

    /// Whoever gets an error gives back what was granted, when it is dropped.
    fn must_be_known_to(&mut self, replicas: u32) -> Result<()> {
        self.stage = Stage::Queued;
        let patience = self.patience();
        // The server itself keeps the time, and its answer needs some.
        let deadline = Deadline::after(patience);
        let known = match &mut self.line {
            Some(line) => line.session.replicas(replicas, patience / 2, &deadline),
            None => Ok(0),
        };
        match known {
            Ok(known) if known >= i64::from(replicas) => Ok(()),
            Ok(known) => {
                let what = format!("only {known} of {replicas} replicas took note of it in time");
                let error = self.target.error(ErrorKind::Unreachable, "acquire", what);
                Err(error.advise("look after the replicas, or ask for fewer: ?wait="))
            }
            Err(failure) => Err(self.target.failed("acquire", &failure)),
        }
    }

    /// In the queue: asks only if the channel has said something, and otherwise now and then, without waiting for the answer: a network that went silent keeps nobody beyond its time.
    fn look(&mut self) -> Result<Attempt> {
        let Some(line) = &mut self.line else {
            return self.try_it("queue");
        };
        let answer = match line.session.answer_now() {
            Ok(answer) => answer,
            Err(_) => {
                // Closed, or cut: the server may be there again already.
                self.line = None;
                self.doubt = Doubt::Some;
                return self.try_it("queue");
            }
        };
        while let Some(said) = line.session.said() {
            self.woken |= said == Said::Wake(self.id.clone());
        }
        if let Some(answer) = answer {
            let said = self.asked.take().unwrap_or_else(Moment::now);
            if matches!(answer, Value::Error(_)) {
                // The script is not known any more, say.
                return self.try_it("queue");
            }
            let attempt = self.answered(&answer, said)?;
            if matches!(attempt, Attempt::Held(_)) || !self.woken {
                return Ok(attempt);
            }
        }
        if let Some(asked) = self.asked {
            if asked.elapsed() < self.patience() {
                return self.busy();
            }
            self.doubt = Doubt::Some;
            let what = "the server has fallen silent";
            return Err(self.target.error(ErrorKind::Unreachable, "wait", what));
        }
        if self.woken {
            return self.try_it("queue");
        }
        if self.due.is_some_and(|due| due.until().is_zero()) {
            self.ask_ahead()?;
        }
        self.busy()
    }

    fn ask_ahead(&mut self) -> Result<()> {
        let deadline = Deadline::after(self.patience());
        let Some(mut line) = self.line.take() else {
            return Ok(());
        };
        self.asked = Some(Moment::now());
        let asked = self.with_words("queue", |words| {
            self.target
                .ask(&mut line, Script::Attempt, words, &deadline)
        });
        self.line = Some(line);
        asked.map_err(|failure| self.target.failed("wait", &failure))
    }

    fn busy(&self) -> Result<Attempt> {
        let mut wakes = Vec::new();
        if let Some(line) = &self.line {
            let wake = line.session.wake().map_err(|e| {
                let what = "no descriptor to be had";
                self.target.error(ErrorKind::Io, "wait", what).because(e)
            })?;
            wakes.extend(wake);
        }
        let silent = self.asked.and_then(|asked| asked.after(self.patience()));
        wakes.extend(silent.or(self.due).map(Wake::At));
        Ok(Attempt::Busy(Busy::new(self.seen.clone(), wakes)))
    }

    /// Leaves the queue, and gives back what was granted meanwhile.
    fn withdraw(&mut self) -> Result<(), Failure> {
        let deadline = Deadline::after(self.patience().min(WITHDRAW));
        if self.asked.is_some() {
            self.doubt = Doubt::Some;
        }
        let late = match self.doubt {
            Doubt::None => "",
            Doubt::Some => "gone",
        };
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.target.open(self.name.clone(), &deadline)?,
        };
        self.target
            .run(&mut line, Script::Release, &[&self.id, late], &deadline)?;
        self.target.give_back(line);
        Ok(())
    }
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        match self.stage {
            Stage::New => {
                self.stage = Stage::Tried;
                // The first try may be the only one: then nothing is asked for that would have to be taken back.
                self.try_it("try")
            }
            Stage::Tried => {
                self.stage = Stage::Queued;
                self.try_it("queue")
            }
            Stage::Queued => self.look(),
            Stage::Over => {
                let what = "this claimant is no more; ask anew";
                Err(self.target.error(ErrorKind::Io, "acquire", what))
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ours = self.process == std::process::id();
        let stands = self.stage == Stage::Queued || self.doubt == Doubt::Some;
        if !ours || self.stage == Stage::Over {
            return;
        }
        if stands {
            // Whom nobody hears is forgotten by the server: its connection ends, and its place is not renewed.
            let _ = self.withdraw();
        } else if let Some(line) = self.line.take() {
            self.target.give_back(line);
        }
    }
}
