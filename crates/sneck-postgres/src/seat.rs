//! One claimant: the steps of `protocol.rs`, one by one.
//!
//! Not for: the stay once it is granted (`tenure.rs`), or what is asked (`target.rs`).

use crate::session::{Row, Session};
use crate::target::{Line, PATIENCE, Target, Whose};
use crate::tenure::Stay;
use sneck::lease::Leased;
use sneck::protocol::{Attempt, Busy, Contender, Wake};
use sneck::{Claim, Error, ErrorKind, Mode, Moment, Result, Sighting};
use sneck_net::Deadline;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// How long giving up a wait may take before the connection is simply closed.
const WITHDRAW: Duration = Duration::from_secs(2);

/// One claimant: a session of its own, since locks of one session do not exclude each other.
#[derive(Debug)]
pub(crate) struct Seat {
    target: Arc<Target>,
    mode: Mode,
    whose: Whose,
    state: State,
    tried: Tried,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    No,
    Once,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked.
    Idle(Line),
    /// The server has our question and queues us.
    Asked(Line),
    /// The session has gone to the holding, or is no more.
    Gone,
}

/// How one try ended.
enum Try {
    /// The lock is ours, this is the token, and this is when we last said something that was heard.
    Granted(Option<u64>, Moment),
    /// Held by others, and nothing is asked.
    Held(Sighting),
    /// Held by others, and the server queues us.
    Queued,
}

/// The first column of the first row.
pub(crate) fn value(rows: &[Row]) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

/// The token, if there is one: the first word of the answer.
fn token(rows: &[Row]) -> Option<u64> {
    value(rows)?.split(' ').next()?.parse().ok()
}

impl Seat {
    pub(crate) fn new(target: &Arc<Target>, claim: &Claim) -> Result<Seat> {
        let whose = Whose::of(claim);
        Ok(Seat {
            state: State::Idle(target.line(&whose)?),
            target: target.clone(),
            mode: claim.mode(),
            whose,
            tried: Tried::No,
        })
    }

    /// How long one answer may take. What comes later than the lease lasts is of no use.
    fn deadline(&self) -> Deadline {
        Deadline::after(PATIENCE.min(self.whose.terms.ttl()))
    }

    /// Asks. A session that ended while nothing was asked on it (it was kept for too long, or this process was stopped) is replaced once: with it went whatever it had.
    fn ask(
        &self,
        line: &mut Line,
        sql: impl Fn(&mut Line) -> String,
    ) -> Result<(Vec<Row>, Moment)> {
        for again in [true, false] {
            let (said, deadline) = (Moment::now(), self.deadline());
            let question = sql(line);
            match line.session.query_by(&question, &deadline) {
                Ok(Some(rows)) => return Ok((rows, said)),
                Ok(None) => return Err(self.target.silent("ask the server", &deadline)),
                Err(_) if again && line.session.is_closed().is_some() => {
                    let fresh = self.target.open(&self.whose)?;
                    mem::replace(line, fresh).session.close();
                }
                Err(error) => return Err(self.target.failed("ask the server", &error)),
            }
        }
        let what = "the server ends each session at once";
        Err(self
            .target
            .error(ErrorKind::Unreachable, "ask the server", what))
    }

    fn try_it(&mut self, line: &mut Line) -> Result<Try> {
        let try_now = self.target.call("pg_try_advisory_lock", self.mode);
        let mode = self.mode;
        let (rows, said) = self.ask(line, |line| line.attempt(&try_now, mode))?;
        if value(&rows).is_some() {
            return self.granted(line, &rows, said);
        }
        // The first try may be the only one: then nothing is asked that would have to be taken
        // back, and the holder is named while the connection is there.
        if mem::replace(&mut self.tried, Tried::Once) == Tried::No {
            let known = self.target.look(&mut line.session)?;
            return Ok(Try::Held(crate::protocol::held(known)));
        }
        self.queue(line)
    }

    /// The server keeps the queue from now on.
    fn queue(&self, line: &mut Line) -> Result<Try> {
        let wait = format!("SELECT {}", self.target.call("pg_advisory_lock", self.mode));
        let sent = line.session.send(&wait);
        sent.map_err(|e| self.target.failed("ask the server", &e))?;
        Ok(Try::Queued)
    }

    fn look(&self, line: &mut Line) -> Result<Try> {
        match line.session.try_read() {
            Ok(None) => return Ok(Try::Queued),
            Ok(Some(_)) => {}
            Err(error) => return Err(self.target.failed("wait", &error)),
        }
        // The token must come after the grant, and is a question of its own: it shows that we hold still, now that we know (R8).
        let (said, deadline) = (Moment::now(), self.deadline());
        let sql = format!("SELECT {}", line.token());
        match line.session.query_by(&sql, &deadline) {
            Ok(Some(rows)) => self.granted(line, &rows, said),
            Ok(None) => Err(self.target.silent("ask the server", &deadline)),
            // 1. We wait. 2. This process is stopped. 3. We are granted the lock, say nothing for longer than a lease, and lose it. 4. We go on: from the end of the queue.
            Err(_) if line.session.is_closed().is_some() => {
                let fresh = self.target.open(&self.whose)?;
                mem::replace(line, fresh).session.close();
                self.queue(line)
            }
            Err(error) => Err(self.target.failed("ask the server", &error)),
        }
    }

    fn granted(&self, line: &mut Line, rows: &[Row], said: Moment) -> Result<Try> {
        let token = token(rows);
        let terms = self.whose.terms;
        if said.elapsed() <= terms.pace() {
            return Ok(Try::Granted(token, said));
        }
        // 1. We ask. 2. This process is stopped, or the server was slow. 3. The answer is read when most of the lease is over: said again, it counts from now.
        let (said, deadline) = (Moment::now(), self.deadline());
        match line.say(&deadline) {
            Ok(true) => Ok(Try::Granted(token, said)),
            Ok(false) => Err(self.target.silent("ask the server", &deadline)),
            Err(error) => Err(self.target.failed("ask the server", &error)),
        }
    }

    fn busy(&self, session: &Session, seen: Sighting) -> Result<Attempt> {
        let wakes = session.wake().map_err(|e| {
            let what = "no descriptor to be had";
            let error = self
                .target
                .error(ErrorKind::Io, "watch the connection", what);
            error.because(e)
        })?;
        let wakes: Vec<Wake> = wakes.into_iter().collect();
        Ok(Attempt::Busy(Busy::new(seen, wakes)))
    }

    fn held(&self, line: Line, token: Option<u64>, said: Moment) -> Attempt {
        let carried = match line.session.carried() {
            Some(_) => line.session.wake().ok().flatten(),
            None => None,
        };
        let stay = Stay {
            target: self.target.clone(),
            mode: self.mode,
            line: Some(line),
        };
        let leased = Leased::new(self.whose.terms, said, Box::new(stay), token);
        Attempt::Held(Box::new(match carried {
            Some(Wake::Ready(copy)) => leased.carried(copy),
            _ => leased,
        }))
    }

    fn gone(&self) -> Error {
        let what = "the connection is gone; ask anew";
        self.target
            .error(ErrorKind::Unreachable, "ask the server", what)
    }
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        let (line, tried) = match mem::replace(&mut self.state, State::Gone) {
            State::Idle(mut line) => {
                let tried = self.try_it(&mut line);
                (line, tried)
            }
            State::Asked(mut line) => {
                let tried = self.look(&mut line);
                (line, tried)
            }
            State::Gone => return Err(self.gone()),
        };
        match tried {
            Ok(Try::Granted(token, said)) => Ok(self.held(line, token, said)),
            Ok(Try::Held(seen)) => {
                let busy = self.busy(&line.session, seen);
                self.state = State::Idle(line);
                busy
            }
            Ok(Try::Queued) => {
                // The holder may change while we stand in the queue; whoever gives up looks anew.
                let busy = self.busy(&line.session, Sighting::held_by_somebody());
                self.state = State::Asked(line);
                busy
            }
            Err(error) => {
                // It may hold the lock, or stand in the queue.
                line.session.close();
                Err(error)
            }
        }
    }
}

impl Drop for Seat {
    /// Withdraw. 1. We are queued. 2. Our deadline comes. 3. The server grants us the lock just
    /// now. 4. Our cancel comes too late, or hits what was granted and not yet said. Only an
    /// unlock gives such a grant back before we return; without one it says so and does nothing.
    fn drop(&mut self) {
        match mem::replace(&mut self.state, State::Gone) {
            State::Asked(mut line) => {
                if line.session.is_ours() && line.session.give_up(WITHDRAW).is_ok() {
                    let unlock = self.target.call("pg_advisory_unlock", self.mode);
                    let deadline = Deadline::after(WITHDRAW);
                    let _ = line
                        .session
                        .query_by(&format!("SELECT {unlock}"), &deadline);
                }
                line.session.close();
            }
            State::Idle(line) => self.target.give_back(line),
            State::Gone => {}
        }
    }
}
