//! The lock itself: an advisory lock of a PostgreSQL server, held by a connection.
//!
//! Downsides. The lock is as old as its connection: a network that goes silent leaves the holder and the server with different beliefs until a keepalive
//! finds out (no lease yet). Through a pooler in transaction mode it would exclude nobody; such a connection is refused. Locks are
//! not replicated: after a fail-over they are gone. One connection per claimant.
//!
//! Bytes: nothing on disk. The key is 64 bits of a hash of the name (see [`key`](fn@crate::config::key)); who holds is told by `application_name`,
//! which begins with `sneck pid N`.
//!
//! Also spoken by everything that calls `pg_advisory_lock` with the same key.
//!
//! Steps of a claimant: connect; *try*; if that fails and it is asked again, *send* `pg_advisory_lock` and look at the socket from then on. The server keeps the queue. Giving
//! up cancels the question, reads its answer to the end, and gives back a grant that came late.

use crate::config::Config;
use crate::session::{self, Finished, Row, Session, SessionError};
use crate::sys;
use sneck::protocol::{
    Attempt, Borrowed, Busy, Capabilities, Contender, Crash, Held, Modes, Order, Protocol, Reach,
    Tokens, Unshared, Wake,
};
use sneck::{Claim, Error, ErrorKind, Holder, Mode, Place, Result, Sighting, Source, Standing};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long connecting may take, unless the place says otherwise.
const CONNECT: Duration = Duration::from_secs(10);
/// How long giving up a wait may take before the connection is simply closed.
const WITHDRAW: Duration = Duration::from_secs(5);

/// An advisory lock of a PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    target: Arc<Target>,
}

/// A session that a forked child neither keeps nor speaks on.
type Connection = Unshared<Session>;

fn close(connection: Connection) {
    if let Some(session) = connection.into_inner() {
        session.close();
    }
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
        let config =
            Config::parse(&format!("postgres:{rest}")).map_err(|e| usage(e.to_string()))?;
        Ok(Postgres {
            target: Arc::new(Target {
                place: place.clone(),
                config,
            }),
        })
    }
}

impl Target {
    fn failed(&self, doing: &'static str, error: &SessionError) -> Error {
        let kind = match error.kind() {
            session::ErrorKind::Unreachable => ErrorKind::Unreachable,
            session::ErrorKind::Refused => ErrorKind::NoPermission,
            session::ErrorKind::Protocol => ErrorKind::Foreign,
            _ => ErrorKind::Io,
        };
        Error::new(kind, doing, sneck::text::clean(&error.to_string())).at(&self.place)
    }

    fn connect(&self, name: &str) -> Result<Connection> {
        let mut config = self.config.clone();
        if config.application_name().is_none() {
            config.set_application_name(name);
        }
        let session = Session::connect(&config, CONNECT);
        session
            .map(Unshared::new)
            .map_err(|e| self.failed("connect", &e))
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
        format!("SELECT {function}{suffix}({})", self.config.key())
    }

    fn holders(&self, session: &mut Session) -> Result<Vec<Holder>> {
        // A 64-bit key is shown as two halves, and as objsubid 1.
        let key = self.config.key() as u64;
        let sql = format!(
            "SELECT l.mode, a.usename, a.application_name, coalesce(host(a.client_addr), 'local'), \
             extract(epoch FROM a.backend_start)::bigint FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = {} AND l.objid = {} \
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY a.backend_start",
            key >> 32,
            key & 0xffff_ffff
        );
        Ok(self
            .ask(session, &sql)?
            .iter()
            .map(|row| holder(row))
            .collect())
    }
}

fn holder(row: &Row) -> Holder {
    let column = |index: usize| {
        row.get(index)
            .cloned()
            .flatten()
            .filter(|text| !text.is_empty())
    };
    let mut holder = Holder::unknown(Source::Server);
    holder.mode = column(0).map(|m| {
        if m.starts_with("Share") {
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

fn is_true(rows: &[Row]) -> bool {
    rows.first()
        .and_then(|row| row.first())
        .is_some_and(|value| value.as_deref() == Some("t"))
}

impl Protocol for Postgres {
    fn place(&self) -> &Place {
        &self.target.place
    }

    fn identity(&self) -> String {
        let config = &self.target.config;
        format!(
            "postgres:{}/{}/{}",
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
        let target = self.target.clone();
        let name = format!(
            "sneck pid {} {}",
            claim.party().pid(),
            claim.label().unwrap_or_default()
        );
        let session = target.connect(name.trim_end())?;
        if session.on_standby() {
            let what = "this server is a standby: its advisory locks exclude nobody on the primary";
            return Err(Error::new(ErrorKind::Unsupported, "connect", what)
                .at(&target.place)
                .advise("name the primary"));
        }
        Ok(Box::new(Seat {
            target,
            mode: claim.mode(),
            state: State::Idle { session, tries: 0 },
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        let mut session = self.target.connect("sneck status")?;
        let holders = self.target.holders(&mut session)?;
        close(session);
        Ok(if holders.is_empty() {
            Sighting::Free
        } else {
            Sighting::Held {
                holders,
                mark: None,
            }
        })
    }
}

/// One claimant: a connection of its own, since locks of one connection do not exclude each other.
#[derive(Debug)]
struct Seat {
    target: Arc<Target>,
    mode: Mode,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked.
    Idle { session: Connection, tries: u32 },
    /// The server has our question and queues us.
    Asked { session: Connection, seen: Sighting },
    /// The session has gone to the holding, or is no more.
    Gone,
}

impl Seat {
    /// The lock is ours: draw the token, which must come after the grant.
    fn granted(&self, mut session: Connection) -> Result<Attempt> {
        let function = if session.server_version() >= 130_000 {
            "pg_current_xact_id"
        } else {
            "txid_current"
        };
        let rows = self
            .target
            .ask(&mut session, &format!("SELECT {function}()::text"))?;
        let token = rows
            .first()
            .and_then(|row| row.first())
            .and_then(|v| v.as_deref()?.parse().ok());
        let holding = Holding {
            target: self.target.clone(),
            mode: self.mode,
            session: Some(session),
            token,
        };
        Ok(Attempt::Held(Box::new(holding)))
    }

    fn busy(&self, session: &Session, seen: Sighting) -> Result<Attempt> {
        let wakes: Vec<Wake> = sys::wake(session)
            .map_err(|e| {
                Error::new(
                    ErrorKind::Io,
                    "watch the connection",
                    "no descriptor to be had",
                )
                .at(&self.target.place)
                .because(e)
            })?
            .into_iter()
            .collect();
        Ok(Attempt::Busy(Busy { seen, wakes }))
    }
}

impl Contender for Seat {
    fn attempt(&mut self) -> Result<Attempt> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle { mut session, tries } => {
                let rows = self.target.ask(
                    &mut session,
                    &self.target.call("pg_try_advisory_lock", self.mode),
                )?;
                if is_true(&rows) {
                    return self.granted(session);
                }
                let holders = self.target.holders(&mut session)?;
                let seen = Sighting::Held {
                    holders,
                    mark: None,
                };
                let attempt = self.busy(&session, seen.clone())?;
                // The first try may be the only one: then nothing is asked that would have to be taken back.
                if tries == 0 {
                    self.state = State::Idle { session, tries: 1 };
                    return Ok(attempt);
                }
                let question = self.target.call("pg_advisory_lock", self.mode);
                session
                    .send(&question)
                    .map_err(|e| self.target.failed("ask the server", &e))?;
                self.state = State::Asked { session, seen };
                Ok(attempt)
            }
            State::Asked { mut session, seen } => {
                match session
                    .try_read()
                    .map_err(|e| self.target.failed("wait", &e))?
                {
                    Some(_) => self.granted(session),
                    None => {
                        let attempt = self.busy(&session, seen.clone())?;
                        self.state = State::Asked { session, seen };
                        Ok(attempt)
                    }
                }
            }
            State::Gone => {
                let what = "the connection is gone; ask anew";
                Err(Error::new(ErrorKind::Unreachable, "ask the server", what)
                    .at(&self.target.place))
            }
        }
    }
}

impl Drop for Seat {
    /// Withdraw: 1. we ask and are queued; 2. our deadline comes; 3. the server grants us the lock just now; 4. we cancel, too late.
    /// Without reading the answer nobody would give that grant back before the server notices that the connection is closed.
    fn drop(&mut self) {
        let (mut session, asked) = match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle { session, .. } => (session, false),
            State::Asked { session, .. } => (session, true),
            State::Gone => return,
        };
        if !session.is_ours() {
            return;
        }
        if asked && session.cancel().is_ok() {
            if let Ok(Finished::Answered(_)) = session.finish(WITHDRAW) {
                let _ = session.query(&self.target.call("pg_advisory_unlock", self.mode));
            }
        }
        close(session);
    }
}

#[derive(Debug)]
struct Holding {
    target: Arc<Target>,
    mode: Mode,
    /// None: released.
    session: Option<Connection>,
    token: Option<u64>,
}

impl Held for Holding {
    fn release(&mut self) -> Result<()> {
        let Some(mut session) = self.session.take().filter(Unshared::is_ours) else {
            return Ok(());
        };
        let lost = |why: &str| {
            Error::new(
                ErrorKind::Lost,
                "release",
                format!("the lock was lost while it was held: {why}"),
            )
            .at(&self.target.place)
            .advise("what it guards may have been used by two at once")
        };
        let answer = session.query(&self.target.call("pg_advisory_unlock", self.mode));
        let result = match answer {
            Ok(rows) if is_true(&rows) => Ok(()),
            Ok(_) => Err(lost("the server says that this connection did not hold it")),
            Err(error) => Err(lost(&sneck::text::clean(&error.to_string()))),
        };
        close(session);
        result
    }

    fn standing(&self) -> Standing {
        match &self.session {
            None => Standing::Released,
            Some(session) => session.is_closed().map_or(Standing::Held, Standing::Lost),
        }
    }

    fn carry(&self) -> Vec<Borrowed<'_>> {
        self.session
            .iter()
            .filter(|s| s.is_ours())
            .flat_map(|s| sys::carried(s))
            .collect()
    }

    fn token(&self) -> Option<u64> {
        self.token
    }
}
