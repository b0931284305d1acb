//! One connection to a PostgreSQL server, spoken directly and without an async runtime: connect,
//! ask, or ask and come back for the answer later.
//!
//! The last of these is what a lock needs. `pg_advisory_lock` answers when the lock is granted,
//! which may be next week: [`Session::send`] puts the question, the socket becomes readable when
//! something comes, [`Session::try_read`] looks without waiting, and a wait that is no longer
//! wanted ends with [`Session::give_up`].
//!
//! Every call that touches the network is bounded in time. Nothing here knows what a lock is,
//! retries, or decides what an error means for a holder. There is no prepared statement
//! and no type but text; it is not a database driver.
//!
//! | file | for |
//! |---|---|
//! | `login.rs` | what comes before the first question: encryption, proving who we are, refusing poolers and old servers |
//! | `proof.rs` | passwords, and how they are bound to the server's certificate |
//! | `wire.rs` | messages within a deadline, and how a connection ended |
//! | `error.rs` | what can go wrong |

mod error;
mod login;
mod proof;
mod wire;

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;

pub use self::error::{ErrorKind, OLDEST, SessionError};
use self::error::{Report, not_sayable};
pub use self::login::Silence;
use self::wire::Wire;
use sneck::protocol::{Borrowed, Wake};
use sneck_net::Deadline;

/// One row of an answer: each column's text, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// After this long without effect, a request to give up came too early, and is repeated.
const CANCEL_AGAIN: Duration = Duration::from_millis(50);

const QUERY_CANCELED: &str = "57014";

/// A connection that is logged in and ready to be asked.
///
/// Dropping it closes the socket and says no farewell. The server then sees the end only when the last copy is closed, that of a command that inherited it;
/// [`Session::close`] ends the connection for all of them. A forked child has no part in it ([`sneck_net::Connection`]).
pub struct Session {
    wire: Wire,
    /// What has arrived of the answer to the open question.
    pending: Option<Answer>,
    /// So many answers come before that one, which nobody waits for any more.
    unwanted: usize,
    key: Key,
    on_standby: bool,
    patience: Duration,
}

/// What entitles to cancel: the number of the server process, and a secret. A server process has
/// no number zero.
#[derive(Default)]
struct Key {
    pid: i32,
    secret: i32,
}

#[derive(Default)]
struct Answer {
    rows: Vec<Row>,
    error: Option<SessionError>,
}

/// A complete answer. Its error is the question's alone; an error around it ends the session.
type Reply = Result<Vec<Row>, SessionError>;

impl Session {
    /// Asks and waits for the answer: the rows of all statements in `sql`, one after the other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Server`] or [`ErrorKind::Refused`] when the server says no, after which the
    /// session can be asked again; the other kinds end the session. No answer within the
    /// patience it was [connected](Session::connect) with ends it too, since nobody knows what
    /// the server did.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, SessionError> {
        let deadline = Deadline::after(self.patience);
        self.ask(sql, &deadline)
    }

    /// Asks by this deadline, behind questions whose answers did not come by theirs: those are read and dropped. None: no answer in time, and the session can be asked again.
    ///
    /// # Errors
    ///
    /// As [`Session::query`].
    pub fn query_by(
        &mut self,
        sql: &str,
        deadline: &Deadline,
    ) -> Result<Option<Vec<Row>>, SessionError> {
        self.wire.usable()?;
        if self.pending.is_some() {
            self.unwanted += 1;
        }
        self.write(sql, deadline)?;
        match self.answer_by(deadline)? {
            Some(reply) => reply.map(Some),
            None => Ok(None),
        }
    }

    /// Looks, without asking and without waiting, whether the session has ended, and why; takes what has come meanwhile.
    pub fn notice(&mut self) -> Option<String> {
        // First what can be seen without taking it: it tells the reason, which may stand before the end.
        if let Some(why) = self.is_closed() {
            return Some(why);
        }
        self.drain().err().map(|error| error.to_string())
    }

    /// Takes what has come, without waiting.
    fn drain(&mut self) -> Result<(), SessionError> {
        loop {
            while self.take_answer()?.is_some() {}
            if !self.wire.more_now()? {
                return Ok(());
            }
        }
    }

    /// Whether it can be asked for something new: it is this process's, nothing has ended it, and no answer is on its way.
    pub fn is_fit(&mut self) -> bool {
        self.is_ours() && self.wire.usable().is_ok() && self.drain().is_ok() && !self.is_busy()
    }

    /// Another server process answers than the one that we began with.
    pub(crate) fn mixed_up(&mut self) -> SessionError {
        self.wire.unexpected("instead of the number of its process: something in between hands us from one server process to another")
    }

    /// Whether a question is open, or answers are on their way that nobody waits for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending.is_some() || self.unwanted > 0
    }

    /// Asks, and leaves the answer to [`Session::try_read`] or [`Session::give_up`].
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
            if !self.wire.more_now()? {
                return Ok(None);
            }
        }
    }

    /// Cancels the open question, over a second connection, and waits, for at most `timeout`, for
    /// its end, so that the server no longer works or waits for it. The request is repeated until
    /// it takes effect.
    ///
    /// Whether the question was answered or cancelled does not tell what became of it: a cancel
    /// can hit a server process that has been granted a lock and has not said so yet, and a
    /// session keeps such a lock whatever is rolled back.
    ///
    /// # Errors
    ///
    /// As [`Session::query`], and when nothing was asked. After [`ErrorKind::Unreachable`] the
    /// session must be closed: the request may yet arrive, and hit a later question.
    pub fn give_up(&mut self, timeout: Duration) -> Result<(), SessionError> {
        self.expect_open_question()?;
        let deadline = Deadline::after(timeout);
        loop {
            let key = (self.key.pid, self.key.secret);
            self.wire.cancel(key, &deadline)?;
            // If it took effect, the end is here or on its way.
            match self.answer_by(&Deadline::after(CANCEL_AGAIN))? {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) if error.sqlstate() == Some(QUERY_CANCELED) => {
                    return Ok(());
                }
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }

    /// Whether the connection has ended, and why, in the server's words if it left any.
    ///
    /// It neither waits nor takes anything from the socket. `None` means that no end was heard
    /// of: a server that lost its power says nothing until the system's keepalive finds out.
    #[must_use]
    pub fn is_closed(&self) -> Option<String> {
        self.wire.is_closed()
    }

    /// Says farewell and ends the connection, for copies of it in forked children too. Whatever
    /// the session held, the server frees.
    pub fn close(self) {
        self.wire.close();
    }

    /// What wakes a sleeper when the server says something; none where sneck polls.
    ///
    /// # Errors
    ///
    /// Mostly when the process has no descriptor left.
    pub fn wake(&self) -> io::Result<Option<Wake>> {
        self.wire.connection.wake()
    }

    /// What keeps the session, and with it what it holds, alive in a command that inherits it. Nothing if it is encrypted.
    #[must_use]
    pub fn carried(&self) -> Option<Borrowed<'_>> {
        self.wire.connection.carried()
    }

    /// Whether what is said is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.wire.connection.is_encrypted()
    }

    /// Whether this is the process that connected, and not one that was forked from it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.wire.connection.is_ours()
    }

    /// The number of the server process that serves this session, as in `pg_locks.pid`.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.key.pid
    }

    /// Whether the server followed another one, when the session began. Advisory locks are not
    /// passed on between servers: one that is held on a standby excludes nobody on the primary.
    #[must_use]
    pub fn on_standby(&self) -> bool {
        self.on_standby
    }

    fn ask(&mut self, sql: &str, deadline: &Deadline) -> Result<Vec<Row>, SessionError> {
        self.put(sql, deadline)?;
        match self.answer_by(deadline)? {
            Some(reply) => reply,
            None => Err(self.wire.too_late(deadline)),
        }
    }

    fn put(&mut self, sql: &str, deadline: &Deadline) -> Result<(), SessionError> {
        self.wire.usable()?;
        if self.pending.is_some() {
            return Err(SessionError::new(
                ErrorKind::Protocol,
                "the question before this one is still open: read its answer first",
            ));
        }
        self.write(sql, deadline)
    }

    fn write(&mut self, sql: &str, deadline: &Deadline) -> Result<(), SessionError> {
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message).map_err(|error| not_sayable(&error))?;
        self.answer();
        self.wire.write(&message, deadline)
    }

    fn expect_open_question(&self) -> Result<(), SessionError> {
        self.wire.usable()?;
        if self.pending.is_some() {
            return Ok(());
        }
        Err(SessionError::new(
            ErrorKind::Protocol,
            "nothing was asked, so there is no answer to read",
        ))
    }

    /// `None` if the answer has not come in time.
    fn answer_by(&mut self, deadline: &Deadline) -> Result<Option<Reply>, SessionError> {
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(Some(answer));
            }
            if !self.wire.more_by(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Goes through the messages that are here, up to the end of the answer if it has come.
    fn take_answer(&mut self) -> Result<Option<Reply>, SessionError> {
        while let Some(message) = self.wire.buffered_message()? {
            match message {
                Message::DataRow(body) => {
                    let row = row(&body).map_err(|error| self.wire.garbled(&error))?;
                    self.answer().rows.push(row);
                }
                Message::ErrorResponse(body) => {
                    let report = Report::read(body.fields());
                    let error = self.wire.complaint(&report);
                    if report.ends_session() {
                        return Err(self.wire.end(error));
                    }
                    self.answer().error.get_or_insert(error);
                }
                Message::ReadyForQuery(_) if self.unwanted > 0 => {
                    self.unwanted -= 1;
                    self.pending = Some(Answer::default());
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
                _ => return Err(self.wire.unexpected("in answer to a plain question")),
            }
        }
        Ok(None)
    }

    fn answer(&mut self) -> &mut Answer {
        self.pending.get_or_insert_default()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.wire.address)
            .field("pid", &self.key.pid)
            .field("open_question", &self.pending.is_some())
            .field("over", &self.wire.over)
            .finish_non_exhaustive()
    }
}

fn row(body: &DataRowBody) -> io::Result<Row> {
    let text = |range| String::from_utf8_lossy(&body.buffer()[range]).into_owned();
    body.ranges().map(|range| Ok(range.map(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::wire::parse;
    use super::wire::tests::framed;
    use super::*;

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
}
