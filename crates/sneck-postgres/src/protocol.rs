//! The lock itself: an advisory lock of a PostgreSQL server, held by a session that the server ends when it hears nothing of it.
//!
//! Downsides. The session *is* the holding: a connection that breaks is a lock that is lost, though the lease would have gone on. One connection, one server process and one of
//! `max_connections` for each who holds or waits. Locks are not replicated: after a fail-over they are gone, and a standby is refused. Through a pooler in transaction mode a lock would
//! exclude nobody; a pooler is refused. Who waits keeps a statement running, and so VACUUM from removing what died since.
//!
//! Bytes: nothing on disk but the number of a transaction, which is the token. The key is 64 bits of a hash of the name (see [`key`](fn@crate::config::key)); who holds and waits is told by
//! `application_name` (`record.rs`).
//!
//! The lease is `idle_session_timeout`, which ends a session that asks nothing for so long: `ttl` and the lock delay. A question of no weight, three times in a `ttl`, keeps it. It does not count
//! while a question is unanswered, so neither for whoever waits: such a one that has vanished is found out by the server's system (`tcp_keepalives_…`, `tcp_user_timeout`) after as long as a lease, and
//! by the server a second later (`client_connection_check_interval`); if its turn comes before, it is silent from then on.
//!
//! Also spoken by everything that calls `pg_advisory_lock` with the same key.
//!
//! Steps of a claimant:
//! 1. A session: the one that an earlier claimant of this handle has left, or a new one.
//! 2. *Try*, and draw the token in the same question: the number of a transaction that begins before and gets its number after the grant. Nobody else can hold between.
//! 3. Asked again: try once more, then *send* `pg_advisory_lock`, and look at the socket from then on. The server keeps the queue.
//! 4. On the grant: draw the token. Its question is the first word of the lease, and shows that the lock was not lost before we knew of it (R8).
//! 5. A word every third of `ttl`. A session that ends says so at once, and mostly why.
//! 6. To release: unlock, and leave the session to the next claimant. In doubt it is closed, with which the server frees what it held. To withdraw: cancel, read the answer to the end, and
//!    give back a grant that came late.
//!
//! An answer that never comes leaves its session to the server, which hears of its end, or nothing of it for as long as a lease: no claimant is in the way for longer (R7).

use crate::config::Config;
use crate::record;
use crate::seat::{Seat, value};
use crate::session::{self, Session};
use crate::target::{Known, PATIENCE, STANDBY, STARTED, Target};
use sneck::lease::Terms;
use sneck::protocol::{
    Capabilities, Consistency, Contender, Crash, Leasing, Mark, Modes, Order, Protocol, Reach,
    Removable, Removal, Restart, Right, Tokens,
};
use sneck::{Claim, ErrorKind, Holder, Place, Result, Sighting};
use std::sync::Arc;
use std::time::Duration;

/// Less is in danger on a busy server: it forks and plans, where others look into a table.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long the server may take to end a session by force.
const END: Duration = Duration::from_secs(5);

/// An advisory lock of a PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    target: Arc<Target>,
}

impl Postgres {
    /// The lock at a place written `postgres://…`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: the place makes no sense.
    pub fn new(place: &Place) -> Result<Postgres> {
        let usage =
            |what: String| sneck::Error::new(ErrorKind::Usage, "read the place", what).at(place);
        let rest = place
            .rest()
            .to_str()
            .ok_or_else(|| usage("the address is not UTF-8".into()))?;
        let config = Config::parse(rest).map_err(|e| usage(e.to_string()))?;
        Ok(Postgres {
            target: Arc::new(Target::new(place, config)),
        })
    }

    /// Something asked by one who only looks, or removes.
    fn aside<T>(
        &self,
        name: &str,
        ask: impl FnOnce(&mut Session) -> Result<T>,
    ) -> Result<(T, bool)> {
        let target = &self.target;
        let session = Session::connect(&target.config, name, PATIENCE);
        let mut session = session.map_err(|e| target.failed("connect", &e))?;
        let answer = ask(&mut session);
        let on_standby = session.on_standby();
        session.close();
        Ok((answer?, on_standby))
    }
}

/// Who holds it, and what would have to be ended to free it.
pub(crate) fn held(known: Vec<Known>) -> Sighting {
    let holding: Vec<Known> = known.into_iter().filter(|known| known.holds).collect();
    let sessions: Option<Vec<String>> = holding
        .iter()
        .map(|known| {
            let (pid, began, name) = known.session.as_ref()?;
            Some(format!("{pid} {began} {name}"))
        })
        .collect();
    // Whoever may not see when a session began may not end it either.
    let sessions = sessions.filter(|all| !all.is_empty());
    Sighting::Held {
        mark: sessions.map(|all| Mark {
            inode: (0, 0),
            changed: 0,
            content: all.join("\n").into_bytes(),
        }),
        holders: holding.into_iter().map(|known| known.holder).collect(),
    }
}

/// The sessions that were seen, as rows of SQL. None: it is none of our marks.
fn rows_of(mark: &Mark) -> Option<String> {
    let text = std::str::from_utf8(&mark.content).ok()?;
    let row = |line: &str| {
        let (pid, rest) = line.split_once(' ')?;
        let (began, name) = rest.split_once(' ')?;
        let (pid, began) = (pid.parse::<i32>().ok()?, began.parse::<i64>().ok()?);
        Some(format!("({pid}, {began}, {})", record::literal(name)))
    };
    let rows: Option<Vec<String>> = text.lines().map(row).collect();
    rows.map(|all| all.join(", ")).filter(|all| !all.is_empty())
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
        capabilities.removal = Removable::Yes;
        capabilities.tokens = Tokens::Durable;
        capabilities.lease = Leasing::Leased {
            shortest: SHORTEST,
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
        Ok(Box::new(Seat::new(&self.target, claim)?))
    }

    fn inspect(&self) -> Result<Sighting> {
        let (known, on_standby) =
            self.aside("sneck status", |session| self.target.look(session))?;
        Ok(match held(known) {
            _ if on_standby => {
                let why = STANDBY.into();
                Sighting::Unknown { why }
            }
            Sighting::Held { holders, .. } if holders.is_empty() => Sighting::Free,
            seen => seen,
        })
    }

    fn waiters(&self) -> Result<Vec<Holder>> {
        let (known, _) = self.aside("sneck status", |session| self.target.look(session))?;
        let waiting = known.into_iter().filter(|known| !known.holds);
        Ok(waiting.map(|known| known.holder).collect())
    }

    /// By force only: who falls silent loses it without our help. Ends the very sessions that were seen to hold it, whose holders hear of it at once. The next token is higher, as any number of a later transaction is (R14).
    fn remove(&self, seen: &Mark, right: Right) -> Result<Removal> {
        let Some(sessions) = rows_of(seen).filter(|_| right == Right::Force) else {
            return Ok(Removal::Unsupported);
        };
        let target = &self.target;
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid, {}) \
             FROM pg_catalog.pg_stat_activity a WHERE (a.pid, {STARTED}, a.application_name) IN ({sessions}) \
             AND EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.granted AND {})",
            END.as_millis(),
            target.is_the_lock()
        );
        let (rows, _) = self.aside("sneck break", |session| {
            session.query(&sql).map_err(|error| {
                let failed = target.failed("break", &error);
                match error.kind() {
                    session::ErrorKind::Refused => failed.advise(
                        "end its holder, or come as the same role as the holder, as a member of pg_signal_backend, or as a superuser",
                    ),
                    _ => failed,
                }
            })
        })?;
        let ended = rows
            .iter()
            .all(|row| value(std::slice::from_ref(row)) == Some("t"));
        Ok(match rows.is_empty() || !ended {
            true => Removal::Changed,
            false => Removal::Removed,
        })
    }
}
