//! The side of those who come before the judge: [`Visitor`], a party; [`Note`], the test.
//!
//! Not for: acquiring anything.

use super::log::{Ruling, What};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// A connection to the judge. Its end is seen there, whatever ends it.
#[derive(Debug)]
pub struct Visitor {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

/// Whether a party is to acquire once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// It is.
    GoesOn,
    /// It is not.
    Closes,
}

impl Visitor {
    /// Comes under this name (without blanks).
    ///
    /// # Errors
    /// If the judge is gone.
    pub fn come(port: u16, name: &str) -> io::Result<(Visitor, Session)> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let answers = BufReader::new(stream.try_clone()?);
        let mut visitor = Visitor { stream, answers };
        let session = visitor.session(&format!("hello {name}"))?;
        Ok((visitor, session))
    }

    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }

    fn session(&mut self, line: &str) -> io::Result<Session> {
        Ok(match self.ask(line)?.as_str() {
            "yes" => Session::GoesOn,
            _ => Session::Closes,
        })
    }

    fn ruling(&mut self, line: &str) -> io::Result<Ruling> {
        Ok(match self.ask(line)?.as_str() {
            "ok" => Ruling::Admitted,
            _ => Ruling::Stale,
        })
    }

    fn number(&mut self, line: &str) -> io::Result<u64> {
        self.ask(line)?.parse().map_err(io::Error::other)
    }

    /// About to acquire.
    ///
    /// # Errors
    /// If the judge is gone; so for the others.
    pub fn asks(&mut self) -> io::Result<Session> {
        self.session("asks")
    }

    /// In, with this token.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn enter(&mut self, token: u64) -> io::Result<Ruling> {
        self.ruling(&format!("enter {token}"))
    }

    /// The counter.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn read(&mut self) -> io::Result<u64> {
        self.number("read")
    }

    /// The counter becomes this.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn write(&mut self, token: u64, value: u64) -> io::Result<Ruling> {
        self.ruling(&format!("write {token} {value}"))
    }

    /// Out.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn leave(&mut self, token: u64) -> io::Result<Ruling> {
        self.ruling(&format!("leave {token}"))
    }

    /// The wait was over first.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn gave_up(&mut self) -> io::Result<()> {
        self.ask("gave-up").map(drop)
    }

    /// It was refused, for this reason.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn trouble(&mut self, text: &str) -> io::Result<()> {
        let text = text.replace(['\n', '\r'], " ");
        self.ask(&format!("trouble {text}")).map(drop)
    }

    /// One stay: in; read, think, write, so often, and on as long as the test keeps this party inside; out. `may` is asked before each write, as a careful holder asks its guard; one that cannot ask
    /// says yes. False: it was refused, or stopped by itself.
    ///
    /// # Errors
    /// As [`Visitor::asks`].
    pub fn stay(
        &mut self,
        token: u64,
        writes: u64,
        think: Duration,
        mut may: impl FnMut() -> bool,
    ) -> io::Result<bool> {
        let mut well = self.enter(token)? == Ruling::Admitted;
        let mut written = 0;
        while well && (written < writes || self.ask("stays")? == "yes") {
            let value = self.read()?;
            thread::sleep(think);
            well = may() && self.write(token, value + 1)? == Ruling::Admitted;
            written += 1;
        }
        self.leave(token)?;
        Ok(well)
    }
}

/// The test's own connection.
#[derive(Debug)]
pub struct Note(Visitor);

impl Note {
    /// To the judge at this port.
    ///
    /// # Panics
    /// If it is gone; so for the others.
    #[must_use]
    pub fn to(port: u16) -> Note {
        let (visitor, _) = Visitor::come(port, "test").expect("the judge is there");
        Note(visitor)
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.ask(line).expect("the judge is there")
    }

    /// Written down, about this party (`-`: about nobody).
    pub fn note(&mut self, name: &str, what: &What) {
        assert_eq!(self.ask(&format!("note {name} {what}")), "ok");
    }

    /// Who is inside now.
    #[must_use]
    pub fn inside(&mut self) -> Vec<String> {
        let names = self.ask("inside");
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// Keeps the next one who comes in under a name that begins so inside, until [`Note::let_go`].
    pub fn catch(&mut self, begins: &str) {
        self.ask(&format!("catch {begins}"));
    }

    /// Whom [`Note::catch`] has caught, and who is inside still.
    #[must_use]
    pub fn caught(&mut self) -> Option<String> {
        Some(self.ask("caught")).filter(|name| !name.is_empty())
    }

    /// Whoever was kept inside may go.
    pub fn let_go(&mut self) {
        self.ask("let-go");
    }

    /// How often somebody was let in so far.
    ///
    /// # Panics
    /// As [`Note::to`].
    #[must_use]
    pub fn entries(&mut self) -> u64 {
        self.ask("entries").parse().expect("a number")
    }

    /// The counter.
    ///
    /// # Panics
    /// As [`Note::to`].
    #[must_use]
    pub fn counter(&mut self) -> u64 {
        self.ask("counter").parse().expect("a number")
    }

    /// From now on nobody acquires any more.
    pub fn close(&mut self) {
        self.ask("close");
    }
}
