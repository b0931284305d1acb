//! From an open connection to a session that is fit for locks: logging in, making sure that no
//! pooler stands between, and taking away the time limits on waiting.
//!
//! There is no TLS. Not for: finding the server (`dial.rs`), or questions after the login.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::error::{ErrorKind, Report, SessionError, not_sayable};
use super::wire::{Deadline, Wire};
use super::{Key, Session};
use crate::config::Config;
use crate::sys;

const INVALID_PARAMETER_VALUE: &str = "22023";

impl Session {
    /// Connects, logs in under this name for `pg_stat_activity`, makes sure that the connection
    /// leads to one server process, and takes away the time limits that a role or database may
    /// have set on waiting.
    ///
    /// All of this takes at most `patience`, or the place's own `connect_timeout` if that is
    /// shorter; the time is shared out among the addresses of the host. Afterwards, `patience` is
    /// how long a [question](Session::query) may stay unanswered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] when no server answers in time, [`ErrorKind::Refused`] when it
    /// does not let the user in, [`ErrorKind::Protocol`] when what answers is no PostgreSQL or a
    /// connection pooler.
    pub fn connect(
        config: &Config,
        name: &str,
        patience: Duration,
    ) -> Result<Session, SessionError> {
        let own = config.connect_timeout().unwrap_or(patience);
        let deadline = Deadline::after(own.min(patience));
        let mut wire = Wire::dial(config.address(), &deadline)?;
        let key = log_in(&mut wire, config, name, &deadline)?;
        let mut session = Session {
            wire,
            pending: None,
            key: key.unwrap_or_default(),
            on_standby: false,
            patience,
        };
        session.refuse_pooler(&deadline)?;
        Ok(session)
    }

    /// A pooler gives each client a cancel key of its own and may run two questions of one client
    /// in two server processes. A session-level lock taken there belongs to whoever comes next.
    fn refuse_pooler(&mut self, deadline: &Deadline) -> Result<(), SessionError> {
        let rows = self.ask(
            "SELECT pg_catalog.pg_backend_pid(), \
             pg_catalog.current_setting('server_version_num'), \
             pg_catalog.pg_is_in_recovery()",
            deadline,
        )?;
        let (pid, version, standby) = match rows.first().map(Vec::as_slice) {
            Some([Some(pid), Some(version), Some(standby)]) => (pid, version, standby),
            _ => return Err(self.wire.unexpected("instead of the number of its process")),
        };
        let (Ok(pid), Ok(version)) = (pid.parse::<i32>(), version.parse()) else {
            return Err(self.wire.unexpected("instead of the number of its process"));
        };
        if pid != self.key.pid {
            let text = format!(
                "there is a connection pooler at {}: the server process that answers is not the \
                 one the connection was opened to. Advisory locks are unsafe through a pooler in \
                 transaction mode, where they belong to whoever uses the server process next; \
                 connect to PostgreSQL directly",
                self.wire.address
            );
            let error = SessionError::new(ErrorKind::Protocol, text);
            return Err(self.wire.end(error));
        }
        self.on_standby = standby == "t";
        self.lift_limits(version, deadline)
    }

    fn lift_limits(&mut self, version: u32, deadline: &Deadline) -> Result<(), SessionError> {
        match self.ask(&settings(version, Watch::Client), deadline) {
            // The system this server runs on cannot tell it that a client has gone (Windows).
            Err(error) if error.sqlstate() == Some(INVALID_PARAMETER_VALUE) => {
                let fewer = settings(version, Watch::Nothing);
                self.ask(&fewer, deadline).map(drop)
            }
            result => result.map(drop),
        }
    }
}

/// The startup, up to the first time the server is ready for a question.
fn log_in(
    wire: &mut Wire,
    config: &Config,
    name: &str,
    deadline: &Deadline,
) -> Result<Option<Key>, SessionError> {
    let mut login = Login::new(config);
    let parameters = [
        ("user", config.user()),
        ("database", config.database()),
        ("application_name", name),
        ("client_encoding", "UTF8"),
    ];
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
                return Err(login.refusal(&Report::read(body.fields())));
            }
            Message::ReadyForQuery(_) if login.admitted => return Ok(key),
            Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
            message => match login.reply(&message)? {
                Reply::Send(reply) => wire.write(&reply, deadline)?,
                Reply::Nothing => {}
                Reply::Unexpected => return Err(wire.unexpected("while logging in")),
            },
        }
    }
}

/// Our side of the exchange that proves who we are.
struct Login<'a> {
    config: &'a Config,
    scram: Scram,
    admitted: bool,
}

enum Scram {
    NotAsked,
    Begun(Box<ScramSha256>),
    Proved,
}

/// What to send in return to a message.
enum Reply {
    Send(BytesMut),
    Nothing,
    Unexpected,
}

impl<'a> Login<'a> {
    fn new(config: &'a Config) -> Login<'a> {
        Login {
            config,
            scram: Scram::NotAsked,
            admitted: false,
        }
    }

    fn reply(&mut self, message: &Message) -> Result<Reply, SessionError> {
        let mut reply = BytesMut::new();
        let encoded = match message {
            Message::AuthenticationOk => {
                // A server that broke the exchange off has not shown that it knows the password.
                if let Scram::Begun(_) = self.scram {
                    return Err(
                        self.not_proved("the server did not prove that it knows the password")
                    );
                }
                self.admitted = true;
                return Ok(Reply::Nothing);
            }
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(self.password()?, &mut reply)
            }
            Message::AuthenticationMd5Password(body) => {
                let user = self.config.user().as_bytes();
                let hash = md5_hash(user, self.password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut reply)
            }
            Message::AuthenticationSasl(body) => {
                let offered = body.mechanisms().any(|name| Ok(name == SCRAM_SHA_256));
                if !offered.map_err(|error| self.not_proved(error))? {
                    return Err(self.unknown_method());
                }
                let scram = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
                let first = scram.message();
                let encoded = frontend::sasl_initial_response(SCRAM_SHA_256, first, &mut reply);
                self.scram = Scram::Begun(Box::new(scram));
                encoded
            }
            Message::AuthenticationSaslContinue(body) => {
                self.scram(|scram| scram.update(body.data()))?;
                self.scram(|scram| frontend::sasl_response(scram.message(), &mut reply))?;
                Ok(())
            }
            Message::AuthenticationSaslFinal(body) => {
                self.scram(|scram| scram.finish(body.data()))?;
                self.scram = Scram::Proved;
                return Ok(Reply::Nothing);
            }
            Message::AuthenticationGss
            | Message::AuthenticationGssContinue(_)
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential
            | Message::AuthenticationSspi => return Err(self.unknown_method()),
            _ => return Ok(Reply::Unexpected),
        };
        encoded.map_err(|error| self.not_proved(error))?;
        Ok(Reply::Send(reply))
    }

    /// The next step of an exchange that has begun.
    fn scram(
        &mut self,
        step: impl FnOnce(&mut ScramSha256) -> io::Result<()>,
    ) -> Result<(), SessionError> {
        match &mut self.scram {
            Scram::Begun(scram) => step(scram).map_err(|error| self.not_proved(error)),
            _ => Err(self.unknown_method()),
        }
    }

    fn password(&self) -> Result<&'a [u8], SessionError> {
        let password = self.config.password().map(str::as_bytes);
        password.ok_or_else(|| {
            self.failed(
                "asks for a password, and none is given: set PGPASSWORD, or write \
                 postgres://user:password@host/name",
            )
        })
    }

    fn unknown_method(&self) -> SessionError {
        self.failed(
            "asks for a kind of login that is not supported; in pg_hba.conf, scram-sha-256, md5, \
             password, peer and trust are",
        )
    }

    fn not_proved(&self, reason: impl Display) -> SessionError {
        self.failed(&format!(
            "could not be logged in to: {reason}; check that this is the right server, and the \
             password"
        ))
    }

    /// Why the login was given up on our side.
    fn failed(&self, what: &str) -> SessionError {
        let text = format!("PostgreSQL at {} {what}", self.config.address());
        SessionError::new(ErrorKind::Refused, text)
    }

    /// What the server said instead of letting us in.
    fn refusal(&self, report: &Report) -> SessionError {
        let advice = match report.sqlstate.as_str() {
            "28P01" => "; check the user and the password",
            "28000" => {
                "; check the user and the server's pg_hba.conf, which must admit this user \
                 without TLS"
            }
            "3D000" => "; name a database that exists: postgres://host/database/name",
            "42501" => "; the user needs the privilege CONNECT on the database",
            "53300" => "; let the server have more connections, or hold fewer locks at a time",
            "57P03" => "; try again when the server is up",
            _ => "",
        };
        let text = format!(
            "PostgreSQL at {} did not admit user {} to database {}: {report}{advice}",
            self.config.address(),
            self.config.user(),
            self.config.database(),
        );
        SessionError::from_server(report, text)
    }
}

/// Whether the server shall watch, while it lets us wait, that we are still there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Client,
    Nothing,
}

/// The statements that make a session fit for waiting and holding, for servers of this version.
fn settings(server_version: u32, watch: Watch) -> String {
    let mut settings = vec![
        // A role's or database's default for these would end a wait, or a holding.
        (0, "statement_timeout", "0".to_owned()),
        (0, "lock_timeout", "0".to_owned()),
        (140_000, "idle_session_timeout", "0".to_owned()),
        (170_000, "transaction_timeout", "0".to_owned()),
        // A commit answers once it is on this server's disk: not before, so that what it told us
        // outlives a crash; and not only when other servers have it, which may be never.
        (0, "synchronous_commit", "local".to_owned()),
        // If this machine loses its power, the server shall free what we held within half a
        // minute, not after the usual two hours.
        (
            0,
            "tcp_keepalives_idle",
            sys::KEEPALIVE_IDLE.as_secs().to_string(),
        ),
        (
            0,
            "tcp_keepalives_interval",
            sys::KEEPALIVE_INTERVAL.as_secs().to_string(),
        ),
        (0, "tcp_keepalives_count", sys::KEEPALIVE_COUNT.to_string()),
    ];
    if watch == Watch::Client {
        // Else a waiter that was killed stays in the queue until it is its turn.
        settings.push((
            140_000,
            "client_connection_check_interval",
            "'1s'".to_owned(),
        ));
    }
    settings
        .iter()
        .filter(|(since, ..)| *since <= server_version)
        .map(|(_, name, value)| format!("SET {name} = {value};"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_the_server_has_are_set() {
        let of_13 = settings(130_011, Watch::Client);
        assert!(of_13.contains("SET statement_timeout = 0;"));
        assert!(of_13.contains("SET lock_timeout = 0;"));
        assert!(!of_13.contains("idle_session_timeout"));
        assert!(!of_13.contains("client_connection_check_interval"));

        let of_15 = settings(150_004, Watch::Client);
        assert!(of_15.contains("SET idle_session_timeout = 0;"));
        assert!(of_15.contains("SET client_connection_check_interval = '1s';"));
        assert!(!of_15.contains("transaction_timeout"));

        assert!(settings(170_000, Watch::Client).contains("SET transaction_timeout = 0;"));
        assert!(!settings(150_004, Watch::Nothing).contains("client_connection_check_interval"));
    }
}
