//! Keeping a lease at a Redis server, and giving it up.
//!
//! The stay hangs on the id, not on the connection: one that breaks is made anew when the next word is due.
//!
//! Not for: when a word is due, and who counts as the holder (`sneck::lease`).

use crate::resp::Value;
use crate::scripts::Script;
use crate::session::{Failure, Heard, Said};
use crate::target::{Line, PATIENCE, Target};
use sneck::lease::{Renewed, Tenure, Terms};
use sneck::protocol::Wake;
use sneck::{ErrorKind, Moment, Result, text};
use sneck_net::Deadline;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Stay {
    target: Arc<Target>,
    id: String,
    /// The connection's, which a second one takes over.
    name: String,
    terms: Terms,
    line: Option<Line>,
}

impl Stay {
    pub(crate) fn new(
        target: Arc<Target>,
        id: &str,
        name: &str,
        terms: Terms,
        line: Option<Line>,
    ) -> Stay {
        Stay {
            target,
            id: id.to_owned(),
            name: name.to_owned(),
            terms,
            line,
        }
    }

    fn question(
        &mut self,
        script: Script,
        word: &str,
        deadline: &Deadline,
    ) -> Result<Value, Failure> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.target.open(self.name.clone(), deadline)?,
        };
        let answer = self
            .target
            .run(&mut line, script, &[&self.id, word], deadline);
        if !matches!(&answer, Err(failure) if failure.heard == Heard::Unknown) {
            self.line = Some(line);
        }
        answer
    }
}

fn until(by: Moment) -> Deadline {
    Deadline::after(by.until().min(PATIENCE))
}

impl Tenure for Stay {
    fn renew(&mut self, by: Moment) -> Result<Renewed> {
        let life = self.terms.on_server().as_millis().to_string();
        let answer = self.question(Script::Renew, &life, &until(by));
        match answer.as_ref().map(Value::list) {
            Ok([Value::Number(1)]) => Ok(Renewed::Kept),
            Ok([_, state, value]) => Ok(Renewed::Gone(gone(state, value))),
            Ok(_) => {
                Err(self
                    .target
                    .error(ErrorKind::Io, "renew", "the server's answer makes no sense"))
            }
            Err(failure) => Err(self.target.failed("renew", failure)),
        }
    }

    fn wakes(&self) -> Vec<Wake> {
        let wake = self.line.as_ref().and_then(|line| line.session.wake().ok());
        wake.flatten().into_iter().collect()
    }

    fn notice(&mut self) -> Option<String> {
        let line = self.line.as_mut()?;
        let broken = line.session.answer_now().is_err();
        let mut lost = None;
        while let Some(said) = line.session.said() {
            if said == Said::Lost(self.id.clone()) {
                lost = Some("somebody took it away by force".to_owned());
            }
        }
        if broken {
            // That ends no lease: the next word goes over another one.
            self.line = None;
        }
        lost
    }

    fn release(&mut self, by: Moment) -> Result<()> {
        let deadline = until(by);
        let mut answer = self.question(Script::Release, "", &deadline);
        let mut again = false;
        if matches!(&answer, Err(failure) if failure.heard == Heard::Unknown) {
            again = true;
            answer = self.question(Script::Release, "", &deadline);
        }
        if let Some(line) = self.line.take() {
            self.target.give_back(line);
        }
        match answer.as_ref().map(Value::number) {
            Ok(Some(1)) => Ok(()),
            // The first question was heard, and its answer lost.
            Ok(_) if again => Ok(()),
            Ok(_) => {
                let what = "the lock was lost while it was held: the server says that it is not ours any more";
                let error = self.target.error(ErrorKind::Lost, "release", what);
                Err(error.advise("what it guards may have been used by two at once: check the fencing token there"))
            }
            Err(failure) => Err(self.target.failed("release", failure)),
        }
    }
}

/// Why it is ours no more.
fn gone(state: &Value, value: &Value) -> String {
    match (state.text(), value.text()) {
        (Some("free"), _) => {
            "the server does not know of it any more: its time was over there, or its data was lost"
                .to_owned()
        }
        (Some("foreign"), Some(value)) => {
            let shown: String = value.chars().take(64).collect();
            format!(
                "another program has it, with the value {}",
                text::clean(&shown)
            )
        }
        _ => "somebody else holds it by now".to_owned(),
    }
}
