//! One connection to a PostgreSQL server, spoken directly and without an async runtime: connect,
//! ask, or ask and come back for the answer later.
//!
//! The last of these is what a lock needs. `pg_advisory_lock` answers when the lock is granted,
//! which may be next week: [`Session::send`] puts the question, the socket becomes readable when
//! something comes, [`Session::try_read`] looks without waiting, and a wait that is no longer
//! wanted ends with [`Session::give_up`].
//!
//! Every call that touches the network is bounded in time. Nothing here knows what a lock is,
//! retries, or decides what an error means for a holder. There is no TLS, no prepared statement
//! and no type but text; it is not a database driver.
//!
//! Words that come from the server are passed on as they came; whoever prints them to a terminal
//! makes them harmless first.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Header, Message};
use postgres_protocol::message::frontend;

use crate::config::{Address, Config, socket_file};
use crate::sys;
pub use crate::sys::Stream;

/// One row of an answer: each column's text, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// How long a question may stay unanswered unless [`Session::set_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer to a question about locks comes near this; it keeps a server that is none from
/// making us allocate gigabytes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// What a session is called in `pg_stat_activity` if nobody gave it a name.
const APPLICATION_NAME: &str = "sneck";

const QUERY_CANCELED: &str = "57014";
const INVALID_PARAMETER_VALUE: &str = "22023";

/// A connection that is logged in and ready to be asked.
///
/// Dropping it closes the socket and says no farewell, so that the copy a forked child holds can
/// be dropped without harm to the parent's connection. The server then sees the end only when the
/// last copy is closed; [`Session::close`] ends the connection for all of them.
pub struct Session {
    stream: Stream,
    address: String,
    peer: Peer,
    /// Bytes received and not yet understood: mostly the start of a message.
    incoming: BytesMut,
    /// What has arrived of the answer to the open question.
    pending: Option<Answer>,
    /// Set once the connection is of no more use; every later call says why.
    over: Option<SessionError>,
    pid: i32,
    secret: i32,
    server_version: u32,
    on_standby: bool,
    patience: Duration,
}

/// Where a cancel request goes: to the very server that answered, not to a name that may
/// lead to another by now.
enum Peer {
    Tcp(SocketAddr),
    File(PathBuf),
}

#[derive(Default)]
struct Answer {
    rows: Vec<Row>,
    error: Option<SessionError>,
}

/// A complete answer. Its error is the question's alone; an error around it ends the session.
type Reply = Result<Vec<Row>, SessionError>;

/// How a question that was sent ahead ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It was answered: a cancel, if there was one, came too late. A lock that was asked for is
    /// held now and must be given back.
    Answered(Vec<Row>),
    /// It was cancelled and had no effect.
    Cancelled,
}

impl Session {
    /// Connects, logs in, makes sure that the connection leads to one server process, and takes
    /// away the time limits that a role or database may have set on waiting.
    ///
    /// All of this takes at most `timeout`, or the place's own `connect_timeout` if that is
    /// shorter; the time is shared out among the addresses of the host.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] when no server answers in time, [`ErrorKind::Refused`] when it
    /// does not let the user in, [`ErrorKind::Protocol`] when what answers is no PostgreSQL or a
    /// connection pooler.
    pub fn connect(config: &Config, timeout: Duration) -> Result<Session, SessionError> {
        let timeout = config
            .connect_timeout()
            .map_or(timeout, |own| own.min(timeout));
        let deadline = Deadline::after(timeout);
        let (stream, peer) = dial(config.address(), &deadline)?;
        let mut session = Session {
            stream,
            address: config.address().to_string(),
            peer,
            incoming: BytesMut::new(),
            pending: None,
            over: None,
            pid: 0,
            secret: 0,
            server_version: 0,
            on_standby: false,
            patience: PATIENCE,
        };
        let key = session.log_in(config, &deadline)?;
        session.refuse_pooler(key, &deadline)?;
        session.lift_limits(&deadline)?;
        Ok(session)
    }

    /// The startup, up to the first time the server is ready for a question. Gives the process
    /// number and the secret for cancelling.
    fn log_in(
        &mut self,
        config: &Config,
        deadline: &Deadline,
    ) -> Result<Option<(i32, i32)>, SessionError> {
        let mut login = Login::new(config);
        let parameters = [
            ("user", config.user()),
            ("database", config.database()),
            (
                "application_name",
                config.application_name().unwrap_or(APPLICATION_NAME),
            ),
            ("client_encoding", "UTF8"),
        ];
        let mut startup = BytesMut::new();
        let encoded = frontend::startup_message(parameters, &mut startup);
        encoded.map_err(|error| not_sayable(&error))?;
        self.write(&startup, deadline)?;
        let mut key = None;
        loop {
            match self.next_message(deadline)? {
                Message::BackendKeyData(body) => {
                    key = Some((body.process_id(), body.secret_key()));
                }
                Message::ErrorResponse(body) => {
                    let report = Report::read(body.fields());
                    return Err(self.end(self.refusal(&report, config)));
                }
                Message::ReadyForQuery(_) if login.admitted => return Ok(key),
                message => {
                    let reply = login.reply(&message);
                    match reply.map_err(|refusal| self.end(refusal.error(&self.address)))? {
                        Some(reply) => self.write(&reply, deadline)?,
                        None if Login::is_silent(&message) => {}
                        None => return Err(self.unexpected("while logging in")),
                    }
                }
            }
        }
    }

    /// A pooler gives each client a cancel key of its own and may run two questions of one client
    /// in two server processes. A session-level lock taken there belongs to whoever comes next.
    fn refuse_pooler(
        &mut self,
        key: Option<(i32, i32)>,
        deadline: &Deadline,
    ) -> Result<(), SessionError> {
        let rows = self.ask(
            "SELECT pg_catalog.pg_backend_pid(), \
             pg_catalog.current_setting('server_version_num'), \
             pg_catalog.pg_is_in_recovery()",
            deadline,
        )?;
        let (pid, version, standby) = match rows.first().map(Vec::as_slice) {
            Some([Some(pid), Some(version), Some(standby)]) => (pid, version, standby),
            _ => return Err(self.unexpected("instead of the number of its process")),
        };
        let (Ok(pid), Ok(version)) = (pid.parse::<i32>(), version.parse()) else {
            return Err(self.unexpected("instead of the number of its process"));
        };
        self.server_version = version;
        self.on_standby = standby == "t";
        match key {
            Some((own, secret)) if own == pid => {
                (self.pid, self.secret) = (pid, secret);
                Ok(())
            }
            _ => {
                let error = SessionError::new(
                    ErrorKind::Protocol,
                    format!(
                        "there is a connection pooler at {}: the server process that answers is \
                         not the one the connection was opened to. Advisory locks are unsafe \
                         through a pooler in transaction mode, where they belong to whoever uses \
                         the server process next; connect to PostgreSQL directly",
                        self.address
                    ),
                );
                Err(self.end(error))
            }
        }
    }

    fn lift_limits(&mut self, deadline: &Deadline) -> Result<(), SessionError> {
        let all = settings(self.server_version, Watch::Client);
        match self.ask(&all, deadline) {
            // The system this server runs on cannot tell it that a client has gone (Windows).
            Err(error) if error.sqlstate() == Some(INVALID_PARAMETER_VALUE) => {
                let fewer = settings(self.server_version, Watch::Nothing);
                self.ask(&fewer, deadline).map(drop)
            }
            result => result.map(drop),
        }
    }

    /// Asks and waits for the answer: the rows of all statements in `sql`, one after the other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Server`] or [`ErrorKind::Refused`] when the server says no, after which the
    /// session can be asked again; the other kinds end the session. No answer within the
    /// [patience](Session::set_patience) ends it too, since nobody knows what the server did.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, SessionError> {
        let deadline = Deadline::after(self.patience);
        self.ask(sql, &deadline)
    }

    /// Asks, and leaves the answer to [`Session::try_read`] or [`Session::finish`].
    ///
    /// # Errors
    ///
    /// When the question cannot be put, or when one is still open.
    pub fn send(&mut self, sql: &str) -> Result<(), SessionError> {
        let deadline = Deadline::after(self.patience);
        self.put(sql, &deadline)
    }

    /// Looks, without waiting, whether the answer to the question that was sent is complete.
    ///
    /// # Errors
    ///
    /// As [`Session::query`], and when nothing was asked.
    pub fn try_read(&mut self) -> Result<Option<Vec<Row>>, SessionError> {
        self.expect_open_question()?;
        loop {
            if let Some(answer) = self.take_answer()? {
                return answer.map(Some);
            }
            let mut chunk = [0; 8192];
            match self.stream.read_now(&mut chunk) {
                Ok(0) => return Err(self.hung_up(None)),
                Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(self.hung_up(Some(&error))),
                },
            }
        }
    }

    /// Whether a question was sent whose answer has not been taken yet.
    #[must_use]
    pub fn has_open_question(&self) -> bool {
        self.pending.is_some()
    }

    /// Asks the server, over a second connection, to give up the question that is open, and
    /// returns when the server has taken note. [`Session::finish`] then tells whether that was
    /// in time.
    ///
    /// It can come too early as well: a server process that has not yet read the question takes
    /// the request for one about nothing. [`Session::give_up`] knows that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`] when the request could not be brought to the server within the
    /// patience. It may yet arrive, and hit a later question: close the session then.
    pub fn cancel(&self) -> Result<(), SessionError> {
        self.cancel_within(&Deadline::after(self.patience))
    }

    fn cancel_within(&self, deadline: &Deadline) -> Result<(), SessionError> {
        let stream = match &self.peer {
            Peer::Tcp(peer) => deadline
                .left()
                .and_then(|left| Stream::connect_tcp(peer, left)),
            Peer::File(path) => connect_file(path.clone(), deadline),
        };
        let stream = stream.map_err(|error| unreachable(&self.address, &error))?;
        let mut request = BytesMut::new();
        frontend::cancel_request(self.pid, self.secret, &mut request);
        let brought = write_all(&stream, &request, deadline)
            // The server hangs up once it has passed the request on.
            .and_then(|()| read_to_end(&stream, deadline));
        brought.map_err(|error| unreachable(&self.address, &error))
    }

    /// Waits, for at most `timeout`, until the open question is answered or cancelled.
    ///
    /// # Errors
    ///
    /// As [`Session::query`], and when nothing was asked.
    pub fn finish(&mut self, timeout: Duration) -> Result<Finished, SessionError> {
        self.expect_open_question()?;
        self.wait_for_answer(&Deadline::after(timeout))
            .and_then(finished)
    }

    /// Cancels the open question and waits, for at most `timeout`, for its end, so that the
    /// server no longer works or waits for it. The request is repeated until it takes effect.
    ///
    /// # Errors
    ///
    /// As [`Session::cancel`] and [`Session::finish`]; the session should be closed then.
    pub fn give_up(&mut self, timeout: Duration) -> Result<Finished, SessionError> {
        self.expect_open_question()?;
        let deadline = Deadline::after(timeout);
        loop {
            self.cancel_within(&deadline)?;
            // If it took effect, the end is here or on its way.
            let soon = Deadline::after(Duration::from_millis(50));
            if let Some(reply) = self.answer_by(&soon)? {
                return finished(reply);
            }
        }
    }

    /// Whether the connection has ended, and why, in the server's words if it left any.
    ///
    /// It neither waits nor takes anything from the socket. `None` means that no end was heard
    /// of: a server that lost its power says nothing until the system's keepalive finds out.
    #[must_use]
    pub fn is_closed(&self) -> Option<String> {
        if let Some(over) = &self.over {
            return Some(over.to_string());
        }
        let mut bytes = self.incoming.clone();
        let mut chunk = [0; 16384];
        let end = match retry(|| self.stream.peek_now(&mut chunk)) {
            Ok(0) => Some(self.hangup_text(None)),
            Ok(count) => {
                bytes.extend_from_slice(&chunk[..count]);
                match retry(|| self.stream.hung_up()) {
                    Ok(false) => None,
                    Ok(true) => Some(self.hangup_text(None)),
                    Err(error) => Some(self.hangup_text(Some(&error))),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(self.hangup_text(Some(&error))),
        };
        let farewell = farewell(bytes).map(|report| self.complaint(&report).to_string());
        farewell.or(end)
    }

    /// Says farewell and ends the connection, for copies of it in forked children too. Whatever
    /// the session held, the server frees.
    pub fn close(self) {
        let mut farewell = BytesMut::new();
        frontend::terminate(&mut farewell);
        // A server that is gone already needs no farewell, and one that does not take five
        // bytes sees the end of the connection instead.
        let _ = self
            .stream
            .write_within(&farewell, Duration::from_millis(100));
        let _ = self.stream.shutdown();
    }

    /// The socket, for polling. Reading or writing it ends all understanding with the server.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A second handle of the socket, for a waiter that outlives the borrow; see [`Stream::dup`].
    ///
    /// # Errors
    ///
    /// Mostly when the process has no descriptor left.
    pub fn dup(&self) -> io::Result<Stream> {
        self.stream.dup()
    }

    /// The number of the server process that serves this session, as in `pg_locks.pid`.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The server's version as one number: 150004 is 15.4.
    #[must_use]
    pub fn server_version(&self) -> u32 {
        self.server_version
    }

    /// Whether the server followed another one, when the session began. Advisory locks are not
    /// passed on between servers: one that is held on a standby excludes nobody on the primary.
    #[must_use]
    pub fn on_standby(&self) -> bool {
        self.on_standby
    }

    /// The server's address, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sets how long [`Session::query`], [`Session::send`] and [`Session::cancel`] may take:
    /// ten seconds unless set.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    fn ask(&mut self, sql: &str, deadline: &Deadline) -> Result<Vec<Row>, SessionError> {
        self.put(sql, deadline)?;
        self.wait_for_answer(deadline)?
    }

    fn put(&mut self, sql: &str, deadline: &Deadline) -> Result<(), SessionError> {
        self.usable()?;
        if self.pending.is_some() {
            return Err(SessionError::new(
                ErrorKind::Protocol,
                "the question before this one is still open: read its answer first",
            ));
        }
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message).map_err(|error| not_sayable(&error))?;
        self.pending = Some(Answer::default());
        self.write(&message, deadline)
    }

    fn usable(&self) -> Result<(), SessionError> {
        match &self.over {
            Some(over) => Err(over.clone()),
            None => Ok(()),
        }
    }

    fn expect_open_question(&self) -> Result<(), SessionError> {
        self.usable()?;
        if self.pending.is_some() {
            return Ok(());
        }
        Err(SessionError::new(
            ErrorKind::Protocol,
            "nothing was asked, so there is no answer to read",
        ))
    }

    fn wait_for_answer(&mut self, deadline: &Deadline) -> Result<Reply, SessionError> {
        match self.answer_by(deadline)? {
            Some(reply) => Ok(reply),
            None => Err(self.too_late(deadline)),
        }
    }

    /// `None` if the answer has not come in time.
    fn answer_by(&mut self, deadline: &Deadline) -> Result<Option<Reply>, SessionError> {
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(Some(answer));
            }
            if !self.more_by(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Goes through the messages that are here, up to the end of the answer if it has come.
    fn take_answer(&mut self) -> Result<Option<Reply>, SessionError> {
        while let Some(message) = self.buffered_message()? {
            match message {
                Message::DataRow(body) => {
                    let row = row(&body).map_err(|error| self.garbled(&error))?;
                    self.answer().rows.push(row);
                }
                Message::ErrorResponse(body) => {
                    let report = Report::read(body.fields());
                    let error = self.complaint(&report);
                    if report.ends_session() {
                        return Err(self.end(error));
                    }
                    self.answer().error.get_or_insert(error);
                }
                Message::ReadyForQuery(_) => {
                    let Answer { rows, error } = self.pending.take().unwrap_or_default();
                    return Ok(Some(error.map_or(Ok(rows), Err)));
                }
                Message::RowDescription(_)
                | Message::CommandComplete(_)
                | Message::EmptyQueryResponse
                | Message::NoticeResponse(_)
                | Message::ParameterStatus(_)
                | Message::NotificationResponse(_) => {}
                _ => return Err(self.unexpected("in answer to a plain question")),
            }
        }
        Ok(None)
    }

    fn answer(&mut self) -> &mut Answer {
        self.pending.get_or_insert_default()
    }

    fn next_message(&mut self, deadline: &Deadline) -> Result<Message, SessionError> {
        loop {
            if let Some(message) = self.buffered_message()? {
                return Ok(message);
            }
            if !self.more_by(deadline)? {
                return Err(self.too_late(deadline));
            }
        }
    }

    fn buffered_message(&mut self) -> Result<Option<Message>, SessionError> {
        parse(&mut self.incoming).map_err(|error| self.garbled(&error))
    }

    /// Waits until more bytes are here; `false` if none have come in time.
    fn more_by(&mut self, deadline: &Deadline) -> Result<bool, SessionError> {
        let mut chunk = [0; 8192];
        match retry(|| self.stream.read_within(&mut chunk, deadline.left()?)) {
            Ok(0) => Err(self.hung_up(None)),
            Ok(count) => {
                self.incoming.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(self.hung_up(Some(&error))),
        }
    }

    fn too_late(&mut self, deadline: &Deadline) -> SessionError {
        let error = unreachable(&self.address, &deadline.missed());
        self.end(error)
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<(), SessionError> {
        write_all(&self.stream, bytes, deadline).map_err(|error| {
            // A server that hung up may have said why before it went.
            let error = match self.is_closed() {
                Some(reason) => SessionError::new(ErrorKind::Unreachable, reason),
                None => unreachable(&self.address, &error),
            };
            self.end(error)
        })
    }

    /// Remembers that the session is of no more use.
    fn end(&mut self, error: SessionError) -> SessionError {
        self.pending = None;
        self.over.insert(error).clone()
    }

    fn hung_up(&mut self, error: Option<&io::Error>) -> SessionError {
        let text = self.hangup_text(error);
        self.end(SessionError::new(ErrorKind::Unreachable, text))
    }

    fn hangup_text(&self, error: Option<&io::Error>) -> String {
        let address = &self.address;
        match error {
            Some(error) => format!("the connection to PostgreSQL at {address} broke: {error}"),
            None => format!("PostgreSQL at {address} closed the connection"),
        }
    }

    fn garbled(&mut self, error: &io::Error) -> SessionError {
        let text = format!(
            "what answers at {} does not speak as PostgreSQL does ({error}); check the host and \
             the port",
            self.address
        );
        self.end(SessionError::new(ErrorKind::Protocol, text))
    }

    fn unexpected(&mut self, when: &str) -> SessionError {
        let text = format!(
            "PostgreSQL at {} sent something unexpected {when}",
            self.address
        );
        self.end(SessionError::new(ErrorKind::Protocol, text))
    }

    /// What the server said in answer to a question, or when it ended the session.
    fn complaint(&self, report: &Report) -> SessionError {
        let text = format!("PostgreSQL at {}: {report}", self.address);
        SessionError::from_server(report, text)
    }

    /// What the server said instead of letting us in.
    fn refusal(&self, report: &Report, config: &Config) -> SessionError {
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
            self.address,
            config.user(),
            config.database(),
        );
        SessionError::from_server(report, text)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .field("pid", &self.pid)
            .field("open_question", &self.has_open_question())
            .field("over", &self.over)
            .finish_non_exhaustive()
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

/// Why a login was given up on our side.
enum LoginError {
    NoPassword,
    UnknownMethod,
    NotProved(io::Error),
}

impl LoginError {
    fn error(&self, address: &str) -> SessionError {
        let text = match self {
            LoginError::NoPassword => format!(
                "PostgreSQL at {address} asks for a password, and none is given: set PGPASSWORD, \
                 or write postgres://user:password@host/name"
            ),
            LoginError::UnknownMethod => format!(
                "PostgreSQL at {address} asks for a kind of login that is not supported; in \
                 pg_hba.conf, scram-sha-256, md5, password, peer and trust are"
            ),
            LoginError::NotProved(error) => format!(
                "the login at PostgreSQL at {address} failed: {error}; check that this is the \
                 right server, and the password"
            ),
        };
        SessionError::new(ErrorKind::Refused, text)
    }
}

impl<'a> Login<'a> {
    fn new(config: &'a Config) -> Login<'a> {
        Login {
            config,
            scram: Scram::NotAsked,
            admitted: false,
        }
    }

    /// What to send in return to a message, if anything.
    fn reply(&mut self, message: &Message) -> Result<Option<BytesMut>, LoginError> {
        let mut reply = BytesMut::new();
        let encoded = match message {
            Message::AuthenticationOk => {
                // A server that broke the exchange off has not shown that it knows the password.
                if let Scram::Begun(_) = self.scram {
                    let reason = "the server did not prove that it knows the password";
                    return Err(LoginError::NotProved(io::Error::other(reason)));
                }
                self.admitted = true;
                return Ok(None);
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
                if !offered.map_err(LoginError::NotProved)? {
                    return Err(LoginError::UnknownMethod);
                }
                let scram = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
                let first = scram.message();
                let encoded = frontend::sasl_initial_response(SCRAM_SHA_256, first, &mut reply);
                self.scram = Scram::Begun(Box::new(scram));
                encoded
            }
            Message::AuthenticationSaslContinue(body) => {
                let Scram::Begun(scram) = &mut self.scram else {
                    return Err(LoginError::UnknownMethod);
                };
                scram.update(body.data()).map_err(LoginError::NotProved)?;
                frontend::sasl_response(scram.message(), &mut reply)
            }
            Message::AuthenticationSaslFinal(body) => {
                let Scram::Begun(scram) = &mut self.scram else {
                    return Err(LoginError::UnknownMethod);
                };
                scram.finish(body.data()).map_err(LoginError::NotProved)?;
                self.scram = Scram::Proved;
                return Ok(None);
            }
            Message::AuthenticationGss
            | Message::AuthenticationGssContinue(_)
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential
            | Message::AuthenticationSspi => return Err(LoginError::UnknownMethod),
            _ => return Ok(None),
        };
        encoded.map_err(LoginError::NotProved)?;
        Ok(Some(reply))
    }

    fn password(&self) -> Result<&'a [u8], LoginError> {
        let password = self.config.password().ok_or(LoginError::NoPassword)?;
        Ok(password.as_bytes())
    }

    /// The messages that need no reply.
    fn is_silent(message: &Message) -> bool {
        matches!(
            message,
            Message::AuthenticationOk
                | Message::AuthenticationSaslFinal(_)
                | Message::NoticeResponse(_)
                | Message::ParameterStatus(_)
        )
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
        (90300, "lock_timeout", "0".to_owned()),
        (140_000, "idle_session_timeout", "0".to_owned()),
        (170_000, "transaction_timeout", "0".to_owned()),
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

/// What the server says in an error or a notice.
struct Report {
    severity: String,
    sqlstate: String,
    message: String,
}

impl Report {
    fn read(mut fields: ErrorFields<'_>) -> Report {
        let mut report = Report {
            severity: String::new(),
            sqlstate: String::new(),
            message: String::new(),
        };
        // A field that cannot be read ends the report; the ones before it still count.
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // The severity that is not translated; servers before 9.6 have only `S`.
                b'V' => report.severity = value,
                b'S' if report.severity.is_empty() => report.severity = value,
                b'C' => report.sqlstate = value,
                b'M' => report.message = value,
                _ => {}
            }
        }
        report
    }

    fn ends_session(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    fn kind(&self) -> ErrorKind {
        match self.sqlstate.as_str() {
            "3D000" | "42501" => ErrorKind::Refused,
            state if state.starts_with("28") => ErrorKind::Refused,
            state if state.starts_with("57P") || state.starts_with("08") => ErrorKind::Unreachable,
            _ => ErrorKind::Server,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

/// The last thing in `bytes` by which the server says that it ends the session. One that stops
/// because another of its processes crashed calls that a warning.
fn farewell(mut bytes: BytesMut) -> Option<Report> {
    let mut last = None;
    while let Ok(Some(message)) = parse(&mut bytes) {
        let report = match message {
            Message::ErrorResponse(body) => Report::read(body.fields()),
            Message::NoticeResponse(body) => Report::read(body.fields()),
            _ => continue,
        };
        if report.ends_session() || report.sqlstate == "57P02" {
            last = Some(report);
        }
    }
    last
}

/// Takes the first message out of `bytes`, if all of it is there.
fn parse(bytes: &mut BytesMut) -> io::Result<Option<Message>> {
    let length = Header::parse(bytes)?.map_or(0, Header::len);
    if usize::try_from(length).is_ok_and(|length| length > LONGEST_MESSAGE) {
        return Err(io::Error::other("a message is too long"));
    }
    Message::parse(bytes)
}

fn row(body: &DataRowBody) -> io::Result<Row> {
    let text = |range| String::from_utf8_lossy(&body.buffer()[range]).into_owned();
    body.ranges().map(|range| Ok(range.map(text))).collect()
}

fn finished(reply: Reply) -> Result<Finished, SessionError> {
    match reply {
        Ok(rows) => Ok(Finished::Answered(rows)),
        Err(error) if error.sqlstate() == Some(QUERY_CANCELED) => Ok(Finished::Cancelled),
        Err(error) => Err(error),
    }
}

/// Opens a connection to one of the addresses that the host has.
fn dial(address: &Address, deadline: &Deadline) -> Result<(Stream, Peer), SessionError> {
    let name = address.to_string();
    let dialled = match address {
        Address::Tcp { host, port } => resolve(host, *port, deadline)
            .and_then(|addresses| dial_first(&addresses, deadline))
            .and_then(|stream| match stream.tcp_peer() {
                Some(peer) => Ok((stream, Peer::Tcp(peer?))),
                None => Err(io::Error::other("not a TCP connection")),
            }),
        Address::Unix { folder, port } => {
            let path = socket_file(folder, *port);
            connect_file(path.clone(), deadline).map(|stream| (stream, Peer::File(path)))
        }
    };
    dialled.map_err(|error| unreachable(&name, &error))
}

fn resolve(host: &str, port: u16, deadline: &Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let host = host.to_owned();
    within(deadline, move || {
        let found = (host.as_str(), port).to_socket_addrs();
        found.map(Iterator::collect)
    })
}

/// Tries the addresses in turn; one that does not answer leaves time for those after it.
fn dial_first(addresses: &[SocketAddr], deadline: &Deadline) -> io::Result<Stream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let share = deadline.left()? / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match Stream::connect_tcp(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_file(path: PathBuf, deadline: &Deadline) -> io::Result<Stream> {
    within(deadline, move || Stream::connect_file(&path))
}

/// Does what the system offers no time limit for. If it takes too long, the thread is left to
/// come to its end alone.
fn within<T: Send + 'static>(
    deadline: &Deadline,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("sneck-connect".to_owned())
        // Nobody may be waiting any more.
        .spawn(move || drop(sender.send(work())))?;
    match receiver.recv_timeout(deadline.left()?) {
        Ok(result) => result,
        Err(_) => Err(deadline.missed()),
    }
}

fn write_all(stream: &Stream, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        match retry(|| stream.write_within(bytes, deadline.left()?)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_timeout(&error) => return Err(deadline.missed()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_to_end(stream: &Stream, deadline: &Deadline) -> io::Result<()> {
    let mut chunk = [0; 256];
    loop {
        match retry(|| stream.read_within(&mut chunk, deadline.left()?)) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) if is_timeout(&error) => return Err(deadline.missed()),
            Err(error) => return Err(error),
        }
    }
}

/// Repeats what a signal interrupted. Callers have a deadline, or do not wait.
fn retry<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A socket's own time limit shows as either, depending on the system.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// When the network must have answered. A pause of the whole machine is not counted: while it
/// lasts, nothing could have been read.
struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    fn after(allowed: Duration) -> Deadline {
        // A limit that no clock can hold is as good as a year.
        let year = Duration::from_secs(365 * 24 * 3600);
        Deadline {
            at: Instant::now() + allowed.min(year),
            allowed,
        }
    }

    /// The time that is left, which is not zero.
    fn left(&self) -> io::Result<Duration> {
        match self.at.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.missed()),
        }
    }

    fn missed(&self) -> io::Error {
        let text = format!("no answer within {:?}", self.allowed);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

/// For what the messages have no way to say, such as a NUL character.
fn not_sayable(error: &io::Error) -> SessionError {
    let text = format!("PostgreSQL cannot be asked this: {error}");
    SessionError::new(ErrorKind::Protocol, text)
}

fn unreachable(address: &str, error: &io::Error) -> SessionError {
    let text = format!(
        "PostgreSQL at {address} cannot be reached: {error}; check that the server runs there and \
         that nothing stands between"
    );
    SessionError::new(ErrorKind::Unreachable, text)
}

/// What went wrong, as far as a caller has to tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No server answers, or it stopped answering, or it ended the session.
    Unreachable,
    /// The server answers, and does not allow it: the user, the password, the database, or a
    /// privilege.
    Refused,
    /// The server answers that the statement failed; [`SessionError::sqlstate`] says how.
    Server,
    /// What answers is not PostgreSQL, or not PostgreSQL alone, or the session was used wrongly.
    Protocol,
}

/// An error of a session: its text names the server and what to do, and never the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionError {
    kind: ErrorKind,
    sqlstate: Option<String>,
    text: String,
}

impl SessionError {
    fn new(kind: ErrorKind, text: impl Into<String>) -> SessionError {
        SessionError {
            kind,
            sqlstate: None,
            text: text.into(),
        }
    }

    fn from_server(report: &Report, text: String) -> SessionError {
        SessionError {
            kind: report.kind(),
            sqlstate: Some(report.sqlstate.clone()),
            text,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// PostgreSQL's code of five characters, where the server itself said what is wrong.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SessionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(server_version: u32, watch: Watch) -> String {
        settings(server_version, watch)
    }

    #[test]
    fn only_settings_the_server_has_are_set() {
        let of_13 = names(130_011, Watch::Client);
        assert!(of_13.contains("SET statement_timeout = 0;"));
        assert!(of_13.contains("SET lock_timeout = 0;"));
        assert!(!of_13.contains("idle_session_timeout"));
        assert!(!of_13.contains("client_connection_check_interval"));

        let of_15 = names(150_004, Watch::Client);
        assert!(of_15.contains("SET idle_session_timeout = 0;"));
        assert!(of_15.contains("SET client_connection_check_interval = '1s';"));
        assert!(!of_15.contains("transaction_timeout"));

        assert!(names(170_000, Watch::Client).contains("SET transaction_timeout = 0;"));
        assert!(!names(150_004, Watch::Nothing).contains("client_connection_check_interval"));
    }

    /// A message as the server frames it.
    fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], &length.to_be_bytes()[..], body].concat()
    }

    fn report(tag: u8, severity: &str, sqlstate: &str) -> Vec<u8> {
        let body = format!("SX\0V{severity}\0C{sqlstate}\0Mso it is\0\0");
        framed(tag, body.as_bytes())
    }

    fn farewell_in(messages: &[Vec<u8>]) -> Option<String> {
        let bytes = BytesMut::from(&messages.concat()[..]);
        farewell(bytes).map(|report| report.to_string())
    }

    #[test]
    fn a_farewell_is_found_among_other_messages() {
        let status = framed(b'S', b"TimeZone\0UTC\0");
        let fatal = report(b'E', "FATAL", "57P01");
        let expected = Some("so it is (SQLSTATE 57P01)".to_owned());
        assert_eq!(farewell_in(&[status.clone(), fatal.clone()]), expected);

        let crash = report(b'N', "WARNING", "57P02");
        let expected = Some("so it is (SQLSTATE 57P02)".to_owned());
        assert_eq!(farewell_in(&[crash]), expected);

        let plain_error = report(b'E', "ERROR", "57014");
        assert_eq!(farewell_in(&[status, plain_error]), None);
        assert_eq!(farewell_in(&[fatal[..fatal.len() - 1].to_vec()]), None);
        assert_eq!(
            farewell_in(&[b"HTTP/1.1 400 Bad Request\r\n".to_vec()]),
            None
        );
    }

    #[test]
    fn a_message_of_absurd_length_is_refused_before_memory_is_taken() {
        let mut bytes = BytesMut::from(&b"D\x7f\xff\xff\xff"[..]);
        let error = parse(&mut bytes).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
        assert!(bytes.capacity() < LONGEST_MESSAGE);
    }

    #[test]
    fn a_row_keeps_null_apart_from_empty() {
        let body = [
            &3_u16.to_be_bytes()[..],
            &(-1_i32).to_be_bytes(),
            &0_i32.to_be_bytes(),
            &2_i32.to_be_bytes(),
            b"ab",
        ];
        let mut bytes = BytesMut::from(&framed(b'D', &body.concat())[..]);
        let Ok(Some(Message::DataRow(body))) = parse(&mut bytes) else {
            panic!("a row was expected");
        };
        let expected = vec![None, Some(String::new()), Some("ab".to_owned())];
        assert_eq!(row(&body).unwrap(), expected);
    }

    #[test]
    fn sqlstates_are_sorted_into_kinds() {
        for (sqlstate, kind) in [
            ("28P01", ErrorKind::Refused),
            ("28000", ErrorKind::Refused),
            ("3D000", ErrorKind::Refused),
            ("42501", ErrorKind::Refused),
            ("57P01", ErrorKind::Unreachable),
            ("57P05", ErrorKind::Unreachable),
            ("57014", ErrorKind::Server),
            ("42601", ErrorKind::Server),
        ] {
            let bytes = report(b'E', "ERROR", sqlstate);
            let mut bytes = BytesMut::from(&bytes[..]);
            let Ok(Some(Message::ErrorResponse(body))) = parse(&mut bytes) else {
                panic!("an error was expected");
            };
            assert_eq!(Report::read(body.fields()).kind(), kind, "{sqlstate}");
        }
    }

    #[test]
    fn a_limit_too_large_for_the_clock_is_no_panic() {
        assert!(Deadline::after(Duration::MAX).left().is_ok());
        assert!(Deadline::after(Duration::ZERO).left().is_err());
    }
}
