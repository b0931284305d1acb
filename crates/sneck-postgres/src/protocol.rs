//! The lock itself: an advisory lock of a PostgreSQL server, held by a connection.
//!
//! Downsides. The lock is as old as its connection: a network that goes silent leaves the holder
//! and the server with different beliefs until a keepalive finds out (no lease yet). Locks are
//! not replicated: after a fail-over they are gone, and a standby is refused. Through a pooler in
//! transaction mode a lock would exclude nobody; such a connection is refused. One connection per
//! claimant.
//!
//! Bytes: nothing on disk but the number of a transaction, which is the token. The key is 64 bits
//! of a hash of the name (see [`key`](fn@crate::config::key)); who holds is told by
//! `application_name`, which begins with `sneck pid N`.
//!
//! Also spoken by everything that calls `pg_advisory_lock` with the same key.
//!
//! Steps of a claimant: connect; *try*; if that fails and it is asked again, *send*
//! `pg_advisory_lock` and look at the socket from then on. The server keeps the queue. Giving up
//! cancels the question, reads its answer to the end, and gives back a grant that came late.

use crate::config::Config;
use crate::session::{self, Row, Session, SessionError};
use sneck::protocol::{
    Attempt, Borrowed, Busy, Capabilities, Contender, Crash, Held, Modes, Order, Protocol, Reach,
    Tokens, Wake,
};
use sneck::{Claim, Error, ErrorKind, Holder, Mode, Place, Result, Sighting, Source, Standing};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long connecting may take, unless the place says otherwise, and a question be unanswered.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long giving up a wait may take before the connection is simply closed.
const WITHDRAW: Duration = Duration::from_secs(5);

const STANDBY: &str = "this server is a standby: its advisory locks exclude nobody on the primary";

/// Draws a token. The number of a transaction that wrote nothing may be given out again after a
/// crash of the server; so this one leaves a message in the log, which is on disk before it
/// counts. (`pg_current_xact_id` is the newer name, which 12 does not know.)
const TOKEN: &str = "SELECT pg_catalog.txid_current(), \
                     pg_catalog.pg_logical_emit_message(true, 'sneck', '')";

/// An advisory lock of a PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    target: Arc<Target>,
}

#[derive(Debug)]
struct Target {
    place: Place,
    config: Config,
}

impl Postgres {
    /// The lock at a place written `postgres://…`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: the place makes no sense.
    pub fn new(place: &Place) -> Result<Postgres> {
        let usage = |what: String| Error::new(ErrorKind::Usage, "read the place", what).at(place);
        let rest = place
            .rest()
            .to_str()
            .ok_or_else(|| usage("the address is not UTF-8".into()))?;
        let config = Config::parse(rest).map_err(|e| usage(e.to_string()))?;
        Ok(Postgres {
            target: Arc::new(Target {
                place: place.clone(),
                config,
            }),
        })
    }
}

impl Target {
    fn error(&self, kind: ErrorKind, doing: &'static str, what: impl Into<String>) -> Error {
        Error::new(kind, doing, what).at(&self.place)
    }

    fn failed(&self, doing: &'static str, error: &SessionError) -> Error {
        let kind = match error.kind() {
            session::ErrorKind::Unreachable => ErrorKind::Unreachable,
            session::ErrorKind::Refused => ErrorKind::NoPermission,
            session::ErrorKind::Protocol => ErrorKind::Foreign,
            session::ErrorKind::TooOld => ErrorKind::Unsupported,
            session::ErrorKind::Setup => ErrorKind::Usage,
            _ => ErrorKind::Io,
        };
        self.error(kind, doing, error.to_string())
    }

    fn connect(&self, name: &str) -> Result<Session> {
        Session::connect(&self.config, name, PATIENCE).map_err(|e| self.failed("connect", &e))
    }

    fn ask(&self, session: &mut Session, sql: &str) -> Result<Vec<Row>> {
        session
            .query(sql)
            .map_err(|e| self.failed("ask the server", &e))
    }

    /// `pg_try_advisory_lock(key)` and its like; shared ones end in `_shared`.
    fn call(&self, function: &str, mode: Mode) -> String {
        let suffix = match mode {
            Mode::Exclusive => "",
            Mode::Shared => "_shared",
        };
        format!(
            "SELECT pg_catalog.{function}{suffix}({})",
            self.config.key()
        )
    }

    fn holders(&self, session: &mut Session) -> Result<Vec<Holder>> {
        // A 64-bit key is shown as two halves, and as objsubid 1. The server hides where a
        // client of another user comes from unless we may read all statistics; port -1 is a
        // socket file.
        let key = self.config.key() as u64;
        let sql = format!(
            "SELECT l.mode, a.usename, a.application_name, \
             CASE a.client_port WHEN -1 THEN 'local' ELSE host(a.client_addr) END, \
             extract(epoch FROM a.backend_start)::bigint \
             FROM pg_catalog.pg_locks l \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.classid = {} AND l.objid = {} AND l.database = \
             (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
             ORDER BY a.backend_start",
            key >> 32,
            key & 0xffff_ffff
        );
        let rows = self.ask(session, &sql)?;
        Ok(rows.iter().map(|row| holder(row)).collect())
    }
}

fn holder(row: &[Option<String>]) -> Holder {
    let column = |index: usize| {
        let text = row.get(index).cloned().flatten();
        text.filter(|text| !text.is_empty())
    };
    let mut holder = Holder::unknown(Source::Server);
    holder.mode = column(0).map(|mode| {
        if mode.starts_with("Share") {
            Mode::Shared
        } else {
            Mode::Exclusive
        }
    });
    holder.user = column(1);
    holder.command = column(2);
    holder.host = column(3);
    let seconds = column(4).and_then(|s| s.parse().ok());
    holder.started =
        seconds.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
    holder
}

/// The first column of the first row.
fn value(rows: &[Row]) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

impl Protocol for Postgres {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        let config = &self.target.config;
        format!(
            "postgres:{}/{:?}/{}",
            config.address(),
            config.database(),
            config.name()
        )
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::LEAST;
        capabilities.modes = Modes::SharedToo;
        capabilities.order = Order::Fifo;
        capabilities.reach = Reach::Network;
        capabilities.crash = Crash::Free;
        capabilities.tokens = Tokens::Durable;
        capabilities
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        let label = claim.label().unwrap_or_default();
        let name = format!("sneck pid {} {label}", claim.party().pid());
        let session = self.target.connect(name.trim_end())?;
        if session.on_standby() {
            session.close();
            let refusal = self
                .target
                .error(ErrorKind::Unsupported, "connect", STANDBY);
            return Err(refusal.advise("name the primary"));
        }
        Ok(Box::new(Seat {
            target: self.target.clone(),
            mode: claim.mode(),
            state: State::Idle(session),
            tried: false,
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        let mut session = self.target.connect("sneck status")?;
        let on_standby = session.on_standby();
        let holders = self.target.holders(&mut session);
        session.close();
        let holders = holders?;
        Ok(if on_standby {
            let why = STANDBY.into();
            Sighting::Unknown { why }
        } else if holders.is_empty() {
            Sighting::Free
        } else {
            Sighting::Held {
                holders,
                mark: None,
            }
        })
    }
}

/// One claimant: a connection of its own, since locks of one connection do not exclude each
/// other.
#[derive(Debug)]
struct Seat {
    target: Arc<Target>,
    mode: Mode,
    state: State,
    /// Whether it has been tried before.
    tried: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked.
    Idle(Session),
    /// The server has our question and queues us.
    Asked(Session),
    /// The session has gone to the holding, or is no more.
    Gone,
}

/// How one try ended.
enum Try {
    /// The lock is ours, and this is the token.
    Granted(Option<u64>),
    /// Held by others, and nothing is asked.
    Held(Sighting),
    /// Held by others, and the server queues us.
    Queued,
}

impl Seat {
    fn try_it(&mut self, session: &mut Session) -> Result<Try> {
        let try_now = self.target.call("pg_try_advisory_lock", self.mode);
        if value(&self.target.ask(session, &try_now)?) == Some("t") {
            return self.granted(session);
        }
        // The first try may be the only one: then nothing is asked that would have to be taken
        // back, and the holder is named while the connection is there.
        if !mem::replace(&mut self.tried, true) {
            let holders = self.target.holders(session)?;
            return Ok(Try::Held(Sighting::Held {
                holders,
                mark: None,
            }));
        }
        let wait = self.target.call("pg_advisory_lock", self.mode);
        session
            .send(&wait)
            .map_err(|e| self.target.failed("ask the server", &e))?;
        Ok(Try::Queued)
    }

    fn look(&self, session: &mut Session) -> Result<Try> {
        match session.try_read() {
            Ok(Some(_)) => self.granted(session),
            Ok(None) => Ok(Try::Queued),
            Err(error) => Err(self.target.failed("wait", &error)),
        }
    }

    /// The token must come after the grant.
    fn granted(&self, session: &mut Session) -> Result<Try> {
        let rows = self.target.ask(session, TOKEN)?;
        Ok(Try::Granted(value(&rows).and_then(|v| v.parse().ok())))
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
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        let (session, tried) = match mem::replace(&mut self.state, State::Gone) {
            State::Idle(mut session) => {
                let tried = self.try_it(&mut session);
                (session, tried)
            }
            State::Asked(mut session) => {
                let tried = self.look(&mut session);
                (session, tried)
            }
            State::Gone => {
                let what = "the connection is gone; ask anew";
                return Err(self
                    .target
                    .error(ErrorKind::Unreachable, "ask the server", what));
            }
        };
        match tried {
            Ok(Try::Granted(token)) => Ok(Attempt::Held(Box::new(Holding {
                target: self.target.clone(),
                mode: self.mode,
                session: Some(session),
                token,
            }))),
            Ok(Try::Held(seen)) => {
                let busy = self.busy(&session, seen);
                self.state = State::Idle(session);
                busy
            }
            Ok(Try::Queued) => {
                // The holder may change while we stand in the queue; whoever gives up looks anew.
                let busy = self.busy(&session, Sighting::held_by_somebody());
                self.state = State::Asked(session);
                busy
            }
            Err(error) => {
                // It may hold the lock, or stand in the queue.
                session.close();
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
            State::Asked(mut session) if session.is_ours() => {
                if session.give_up(WITHDRAW).is_ok() {
                    let _ = session.query(&self.target.call("pg_advisory_unlock", self.mode));
                }
                session.close();
            }
            State::Asked(session) | State::Idle(session) => session.close(),
            State::Gone => {}
        }
    }
}

#[derive(Debug)]
struct Holding {
    target: Arc<Target>,
    mode: Mode,
    /// None: released.
    session: Option<Session>,
    token: Option<u64>,
}

impl Holding {
    fn lost(&self, why: &str) -> Error {
        let what = format!("the lock was lost while it was held: {why}");
        self.target
            .error(ErrorKind::Lost, "release", what)
            .advise("what it guards may have been used by two at once")
    }
}

impl Held for Holding {
    fn release(&mut self) -> Result<()> {
        let Some(mut session) = self.session.take().filter(Session::is_ours) else {
            return Ok(());
        };
        let answer = session.query(&self.target.call("pg_advisory_unlock", self.mode));
        session.close();
        match answer {
            Ok(rows) if value(&rows) == Some("t") => Ok(()),
            Ok(_) => Err(self.lost("the server says that this connection did not hold it")),
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    fn standing(&self) -> Standing {
        match &self.session {
            None => Standing::Released,
            Some(session) => session.is_closed().map_or(Standing::Held, Standing::Lost),
        }
    }

    fn carry(&self) -> Vec<Borrowed<'_>> {
        self.session.iter().filter_map(Session::carried).collect()
    }

    fn token(&self) -> Option<u64> {
        self.token
    }
}
