//! Staying at a PostgreSQL server: the session *is* the holding. As long as the server hears of it in time it keeps it, and when the session ends, the lock is free.
//!
//! So a session that broke is lost for good: there is nothing to make anew.
//!
//! Not for: when a word is due, and who counts as the holder (`sneck::lease`).

use crate::session::SessionError;
use crate::target::{Line, PATIENCE, Target};
use sneck::lease::{Renewed, Tenure};
use sneck::protocol::Wake;
use sneck::{Error, ErrorKind, Mode, Moment, Result};
use sneck_net::Deadline;
use std::sync::Arc;

/// A word that costs the server next to nothing, and whose answer shows that this is the process which was asked for the lock, and nobody that hands us on.
pub(crate) const WORD: &str = "SELECT pg_catalog.pg_backend_pid()";

#[derive(Debug)]
pub(crate) struct Stay {
    pub(crate) target: Arc<Target>,
    pub(crate) mode: Mode,
    /// None: given up.
    pub(crate) line: Option<Line>,
}

impl Line {
    /// Says a word by this deadline. False: no answer in time.
    pub(crate) fn say(&mut self, deadline: &Deadline) -> std::result::Result<bool, SessionError> {
        let Some(rows) = self.session.query_by(WORD, deadline)? else {
            return Ok(false);
        };
        let pid = self.session.pid().to_string();
        if crate::seat::value(&rows) == Some(&*pid) {
            return Ok(true);
        }
        Err(self.session.mixed_up())
    }
}

fn until(by: Moment) -> Deadline {
    Deadline::after(by.until().min(PATIENCE))
}

impl Stay {
    fn lost(&self, why: &str) -> Error {
        let what = format!("the lock was lost while it was held: {why}");
        self.target.error(ErrorKind::Lost, "release", what).advise(
            "what it guards may have been used by two at once: check the fencing token there",
        )
    }
}

impl Tenure for Stay {
    fn renew(&mut self, by: Moment) -> Result<Renewed> {
        let Some(line) = &mut self.line else {
            return Ok(Renewed::Gone("its connection is closed".into()));
        };
        let deadline = until(by);
        match line.say(&deadline) {
            Ok(true) => Ok(Renewed::Kept),
            // Nobody knows: the answer may come yet, and is not counted then.
            Ok(false) => Err(self.target.silent("renew", &deadline)),
            Err(error) if line.session.is_closed().is_some() => {
                Ok(Renewed::Gone(error.to_string()))
            }
            Err(error) => Err(self.target.failed("renew", &error)),
        }
    }

    fn wakes(&self) -> Vec<Wake> {
        let wake = self.line.as_ref().and_then(|line| line.session.wake().ok());
        wake.flatten().into_iter().collect()
    }

    fn notice(&mut self) -> Option<String> {
        self.line.as_mut()?.session.notice()
    }

    fn release(&mut self, by: Moment) -> Result<()> {
        let Some(mut line) = self.line.take() else {
            return Err(self.lost("its connection is closed"));
        };
        let unlock = format!(
            "SELECT {}",
            self.target.call("pg_advisory_unlock", self.mode)
        );
        let deadline = until(by);
        let answer = line.session.query_by(&unlock, &deadline);
        let error = match answer {
            Ok(Some(rows)) if crate::seat::value(&rows) == Some("t") => {
                self.target.give_back(line);
                return Ok(());
            }
            Ok(Some(_)) => self.lost("the server says that this connection did not hold it"),
            Ok(None) => self.target.silent("release", &deadline),
            Err(error) if line.session.is_closed().is_some() => self.lost(&error.to_string()),
            Err(error) => self.target.failed("release", &error),
        };
        // In doubt the session ends, and with it whatever it holds.
        line.session.close();
        Err(error)
    }
}
