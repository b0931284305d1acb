//! From a place to a session that is fit for locks: encryption as far as it is asked for, logging in, making sure that no
//! pooler stands between, and taking away the time limits on waiting.
//!
//! Not for: proving who we are (`proof.rs`), or questions after the login.

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use sneck_net::{Deadline, Keepalive};

use super::error::{ErrorKind, OLDEST, Report, SessionError, not_sayable, of_net};
use super::proof::{Proof, Reply};
use super::wire::{Armour, Offer, Setback, Wire};
use super::{Key, Session};
use crate::config::{Address, Config, Way};

const INVALID_PARAMETER_VALUE: &str = "22023";
const UNDEFINED_OBJECT: &str = "42704";
const PROTOCOL_VIOLATION: &str = "08P01";
const INVALID_AUTHORIZATION: &str = "28000";

/// A role's or database's default for these would end a wait, or a holding, or the session before its first question. What the startup asks for outranks such defaults.
const LIMITS: [&str; 3] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
];

/// The server's side of a lease.
const IDLE: &str = "idle_session_timeout";

/// How long the server puts up with silence from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// For ever, as long as the network has not noticed that we are gone.
    Allowed,
    /// This long, in whole milliseconds: then it ends the session, and frees what that held. A question that it is busy with is no silence.
    AtMost(Duration),
}

impl Silence {
    fn millis(self) -> u128 {
        match self {
            Silence::Allowed => 0,
            Silence::AtMost(limit) => limit.as_millis().max(1),
        }
    }
}

impl Session {
    /// As [`Session::connect_for`], for as long as the network believes in us.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect(
        config: &Config,
        name: &str,
        patience: Duration,
    ) -> Result<Session, SessionError> {
        Session::connect_for(config, name, patience, Silence::Allowed)
    }

    /// Connects, encrypted as the place asks for it, logs in under this name for `pg_stat_activity`, makes sure that the connection
    /// leads to one server process, and takes away the time limits that a role or database may
    /// have set on waiting. From then on the server puts up with so much silence.
    ///
    /// All of this takes at most `patience`, or the place's own `connect_timeout` if that is
    /// shorter; the time is shared out among the addresses of the host. Afterwards, `patience` is
    /// how long a [question](Session::query) may stay unanswered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] when no server answers in time or has a connection to spare, [`ErrorKind::Refused`] when it
    /// does not let the user in or one side does not trust the other, [`ErrorKind::Protocol`] when what answers is no PostgreSQL or a
    /// connection pooler, [`ErrorKind::TooOld`], [`ErrorKind::Setup`] for files of ours.
    pub fn connect_for(
        config: &Config,
        name: &str,
        patience: Duration,
        silence: Silence,
    ) -> Result<Session, SessionError> {
        let own = config.connect_timeout().unwrap_or(patience);
        let deadline = Deadline::after(own.min(patience));
        let mut before: Option<SessionError> = None;
        for way in config.encryption().ways() {
            let tried = Session::connect_by(*way, config, (name, silence), patience, &deadline);
            let error = match tried {
                Ok(session) => return Ok(session),
                Err(Setback::OfTls(error)) if before.is_none() => {
                    before = Some(error);
                    continue;
                }
                Err(Setback::OfTls(error) | Setback::Final(error)) => error,
            };
            return Err(match &before {
                Some(before) => error.after(before),
                None => error,
            });
        }
        Err(before.unwrap_or_else(|| SessionError::of_setup("there is no way to connect")))
    }

    fn connect_by(
        way: Way,
        config: &Config,
        (name, silence): (&str, Silence),
        patience: Duration,
        deadline: &Deadline,
    ) -> Result<Session, Setback> {
        // Files that are of no use are named before anybody is called.
        let armour = match (way, config.address()) {
            (Way::IfOffered | Way::Encrypted, Address::Tcp { host, .. }) => Some(Armour {
                tls: config.encryption().tls()?,
                host: host.clone(),
                negotiation: config.encryption().negotiation(),
            }),
            _ => None,
        };
        let mut wire = Wire::dial(config.address(), deadline)?;
        // Our own system, too, gives up no sooner than a lease: the connection is all that holds.
        let keepalive = keepalive(silence);
        if keepalive.silence() > Keepalive::USUAL.silence() {
            let set = wire.connection.keep_alive(keepalive);
            set.map_err(|error| of_net(&error, &wire.address))?;
        }
        if let Some(armour) = armour {
            let offer = wire.encrypt(armour, deadline)?;
            if (way, offer) == (Way::Encrypted, Offer::Declined) {
                let text = format!(
                    "PostgreSQL at {} does not encrypt, and the place asks for it; turn on ssl in its postgresql.conf",
                    wire.address
                );
                return Err(SessionError::new(ErrorKind::Refused, text).into());
            }
        }
        let key = log_in(&mut wire, config, (name, silence), deadline).map_err(|error| {
            // It is about who, from where and how. A wrong password is another thing: it is not said twice, and never in the clear after it was refused in secret.
            match error.sqlstate() {
                Some(INVALID_AUTHORIZATION) => Setback::OfTls(error),
                _ => Setback::Final(error),
            }
        })?;
        let mut session = Session {
            wire,
            pending: None,
            unwanted: 0,
            key: key.unwrap_or_default(),
            on_standby: false,
            patience,
        };
        session.make_fit(silence, deadline)?;
        Ok(session)
    }

    /// A pooler gives each client a cancel key of its own and may run two questions of one client
    /// in two server processes. A session-level lock taken there belongs to whoever comes next.
    fn make_fit(&mut self, silence: Silence, deadline: &Deadline) -> Result<(), SessionError> {
        let mut rows = self.ask(&fitting(self.key.pid, silence, Watch::Client), deadline);
        if rows
            .as_ref()
            .is_err_and(|e| e.sqlstate() == Some(INVALID_PARAMETER_VALUE))
        {
            // The system this server runs on cannot tell it that a client has gone (Windows).
            rows = self.ask(&fitting(self.key.pid, silence, Watch::Nothing), deadline);
        }
        let rows = rows?;
        let (pid, number, standby) = match rows.first().map(Vec::as_slice) {
            Some([Some(pid), Some(number), Some(standby), _]) => (pid, number, standby),
            _ => return Err(self.wire.unexpected("instead of the number of its process")),
        };
        let (Ok(pid), Ok(version)) = (pid.parse::<i32>(), number.parse::<u32>()) else {
            return Err(self.wire.unexpected("instead of the number of its process"));
        };
        if pid != self.key.pid {
            let error = pooler(&self.wire.address);
            return Err(self.wire.end(error));
        }
        if version / 10_000 < OLDEST {
            let shown = format!("{}.{}", version / 10_000, version % 10_000);
            let error = SessionError::too_old(&self.wire.address, &shown);
            return Err(self.wire.end(error));
        }
        self.on_standby = standby == "t";
        Ok(())
    }
}

fn pooler(address: &str) -> SessionError {
    let text = format!(
        "there is a connection pooler at {address}: the server process that answers is not the \
         one the connection was opened to. Advisory locks are unsafe through a pooler in \
         transaction mode, where they belong to whoever uses the server process next; \
         connect to PostgreSQL directly"
    );
    SessionError::new(ErrorKind::Protocol, text)
}

/// The startup, up to the first time the server is ready for a question.
fn log_in(
    wire: &mut Wire,
    config: &Config,
    (name, silence): (&str, Silence),
    deadline: &Deadline,
) -> Result<Option<Key>, SessionError> {
    let mut proof = Proof::new(config, wire.connection.certificate());
    let idle = silence.millis().to_string();
    let parameters = [
        ("user", config.user()),
        ("database", config.database()),
        ("application_name", name),
        ("client_encoding", "UTF8"),
        (IDLE, idle.as_str()),
    ];
    let parameters = parameters
        .into_iter()
        .chain(LIMITS.map(|limit| (limit, "0")));
    let mut startup = BytesMut::new();
    let encoded = frontend::startup_message(parameters, &mut startup);
    encoded.map_err(|error| not_sayable(&error))?;
    wire.write(&startup, deadline)?;
    let mut key = None;
    loop {
        match wire.message(deadline)? {
            Message::BackendKeyData(body) => {
                key = Some(Key {
                    pid: body.process_id(),
                    secret: body.secret_key(),
                });
            }
            Message::ErrorResponse(body) => {
                return Err(refusal(config, &Report::read(body.fields())));
            }
            Message::ReadyForQuery(_) if proof.admitted() => return Ok(key),
            Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
            message => match proof.reply(&message)? {
                Reply::Send(reply) => wire.write(&reply, deadline)?,
                Reply::Nothing => {}
                Reply::Unexpected => return Err(wire.unexpected("while logging in")),
            },
        }
    }
}

/// What the server said instead of letting us in.
fn refusal(config: &Config, report: &Report) -> SessionError {
    let address = config.address().to_string();
    let mut ours = LIMITS.iter().chain([&IDLE]);
    let about_a_limit = ours.any(|limit| report.message.contains(limit));
    match report.sqlstate.as_str() {
        // `idle_session_timeout` came with 14.
        UNDEFINED_OBJECT if about_a_limit => {
            return SessionError::too_old(&address, "one that lacks idle_session_timeout");
        }
        // PgBouncer takes only settings that it knows.
        PROTOCOL_VIOLATION if about_a_limit => return pooler(&address),
        _ => {}
    }
    let note = config.password_note().map(|note| format!(" ({note})"));
    let advice = match report.sqlstate.as_str() {
        "28P01" => "; check the user and the password",
        INVALID_AUTHORIZATION => {
            "; check the user, and the server's pg_hba.conf, which must admit this user from here and so encrypted as \
             sslmode has it"
        }
        "3D000" => "; name a database that exists: postgres://host/database/name",
        "42501" => "; the user needs the privilege CONNECT on the database",
        "53300" => {
            "; let the server have more connections (max_connections), or hold fewer locks at a time: each takes one"
        }
        "57P03" => "; try again when the server is up",
        _ => "",
    };
    let text = format!(
        "PostgreSQL at {address} did not admit user {} to database {}: {report}{advice}{}",
        config.user(),
        config.database(),
        note.unwrap_or_default(),
    );
    SessionError::from_server(report, text)
}

/// Whether the server shall watch, while it lets us wait, that we are still there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Client,
    Nothing,
}

/// When the server's system counts us as gone. Never before the lease is over: that would free what its holder believes to hold.
fn keepalive(silence: Silence) -> Keepalive {
    match silence {
        Silence::Allowed => Keepalive::USUAL,
        Silence::AtMost(limit) => Keepalive::at_least(limit),
    }
}

/// The question that tells who answers, and makes the session fit for waiting and holding if that is the server process itself: a session that a pooler lends is others' too, and
/// is left as it is.
fn fitting(pid: i32, silence: Silence, watch: Watch) -> String {
    let keepalive = keepalive(silence);
    let vanished = keepalive.silence().as_millis();
    let settings = [
        // In case somebody took it away from the startup.
        (IDLE, silence.millis().to_string()),
        // A commit answers once it is on this server's disk: not before, so that what it told us
        // outlives a crash; and not only when other servers have it, which may be never.
        ("synchronous_commit", "local".to_owned()),
        // Tokens are drawn by statements that write, and none of ours waits for a snapshot.
        ("default_transaction_read_only", "off".to_owned()),
        ("default_transaction_isolation", "read committed".to_owned()),
        // Whoever loses its power or its network while it waits is in nobody's way for longer than a holder would be: else it is for two hours, or until what it was sent has been sent again for a quarter of an hour.
        ("tcp_keepalives_idle", keepalive.idle.as_secs().to_string()),
        (
            "tcp_keepalives_interval",
            keepalive.interval.as_secs().to_string(),
        ),
        ("tcp_keepalives_count", keepalive.count.to_string()),
        ("tcp_user_timeout", vanished.to_string()),
    ];
    let set =
        |name: &str, value: &str| format!("pg_catalog.set_config('{name}', '{value}', false)");
    let mut all: Vec<String> = settings
        .iter()
        .map(|(name, value)| set(name, value))
        .collect();
    if watch == Watch::Client {
        // Else a waiter that was killed stays in the queue until it is its turn.
        all.push(set("client_connection_check_interval", "1s"));
    }
    let newer = set("transaction_timeout", "0");
    all.push(format!(
        "CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 170000 THEN {newer} END"
    ));
    format!(
        "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(), \
         CASE WHEN pg_catalog.pg_backend_pid() = {pid} THEN pg_catalog.concat({}) END",
        all.join(", ")
    )
}
