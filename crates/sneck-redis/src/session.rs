//! One connection to a server: logging in, questions and answers within deadlines, and what the server says unasked.
//!
//! RESP3 is spoken so that one connection can listen to a channel and ask at the same time (Redis 6 and newer, every Valkey). Each connection listens to one channel, which
//! has its own name in it: by that the server knows whether it is there still, and wakes whoever waits on it.
//!
//! Not for: what is asked (`scripts/`), trying again (`protocol.rs`, `tenure.rs`).

mod refusal;

use crate::config::Config;
use crate::resp::{self, Value};
use crate::scripts::{Names, Script};
use sneck::protocol::{Unshared, Wake};
use sneck::{ErrorKind, text};
use sneck_net::{Connection, Deadline, Received, Tls};
use std::collections::VecDeque;
use std::io;

use refusal::refused;

/// Why an answer is none.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    /// Without the server's name.
    pub(crate) what: String,
    pub(crate) advice: Option<&'static str>,
    pub(crate) heard: Heard,
}

/// Whether the server has heard the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It has answered, and refused.
    Refused,
    /// Nobody knows; the connection is of no more use.
    Unknown,
}

impl Failure {
    fn new(kind: ErrorKind, what: impl Into<String>) -> Failure {
        Failure {
            kind,
            what: what.into(),
            advice: None,
            heard: Heard::Unknown,
        }
    }

    fn silent(deadline: &Deadline) -> Failure {
        Failure::new(ErrorKind::Unreachable, deadline.missed().to_string())
    }
}

impl From<sneck_net::Error> for Failure {
    fn from(error: sneck_net::Error) -> Failure {
        let kind = match error.kind() {
            sneck_net::ErrorKind::Refused => ErrorKind::NoPermission,
            sneck_net::ErrorKind::Protocol => ErrorKind::Foreign,
            sneck_net::ErrorKind::Setup => ErrorKind::Usage,
            _ => ErrorKind::Unreachable,
        };
        Failure::new(kind, error.to_string())
    }
}

/// What the server says unasked, about the claimant of this id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// It may be able to go in.
    Wake(String),
    /// Somebody took from it by force what it held.
    Lost(String),
}

/// A connection that is logged in and listens to its channel.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Unshared<Connection>,
    /// What has come, and is no whole value yet.
    unread: Vec<u8>,
    said: VecDeque<Said>,
    outgoing: Vec<u8>,
    /// How many answers are to come to questions that nobody waits for.
    owed: usize,
}

/// What is asked about a lock, beside the script.
#[derive(Debug)]
pub(crate) struct Keys {
    lock: String,
    family: String,
    queue: String,
    readers: String,
    counter: String,
}

impl Keys {
    pub(crate) fn new(config: &Config) -> Keys {
        let family = config.family();
        Keys {
            lock: config.name().to_owned(),
            queue: format!("{family}queue"),
            readers: format!("{family}readers"),
            counter: format!("{family}token"),
            family,
        }
    }

    /// What a connection of this name listens to.
    pub(crate) fn channel(&self, connection: &str) -> String {
        format!("{}to:{connection}", self.family)
    }
}

impl Session {
    /// Connects, logs in, and listens to the channel.
    pub(crate) fn open(
        config: &Config,
        tls: Option<&Tls>,
        channel: &str,
        deadline: &Deadline,
    ) -> Result<Session, Failure> {
        let mut connection = Connection::dial(config.address(), deadline)?;
        if let (Some(tls), Some(encryption)) = (tls, config.encryption()) {
            connection.start_tls(tls, &encryption.name, deadline)?;
        }
        let mut session = Session {
            connection: Unshared::new(connection),
            unread: Vec::new(),
            said: VecDeque::new(),
            outgoing: Vec::new(),
            owed: 0,
        };
        session.log_in(config, channel, deadline)?;
        Ok(session)
    }

    /// All of it in one go: one round trip.
    fn log_in(
        &mut self,
        config: &Config,
        channel: &str,
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some((user, password)) = config.login() {
            hello.extend([b"AUTH", user.as_bytes(), password.as_bytes()]);
        }
        hello.extend([&b"SETNAME"[..], b"sneck"]);
        resp::write(&mut self.outgoing, &hello);
        let database = config.database().to_string();
        if config.database() != 0 {
            resp::write(&mut self.outgoing, &[b"SELECT", database.as_bytes()]);
        }
        resp::write(&mut self.outgoing, &[b"SUBSCRIBE", channel.as_bytes()]);
        self.flush(deadline)?;

        let hello = self.answer(deadline)?;
        standalone(&hello)?;
        if config.database() != 0 {
            self.answer(deadline)?;
        }
        // Heard by the channel, or refused.
        loop {
            match self.value(deadline)? {
                Value::Error(line) => return Err(refused(&line)),
                Value::Push(words) if words.first().and_then(Value::text) == Some("subscribe") => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Has the server run a script, and gives its answer.
    pub(crate) fn run(
        &mut self,
        names: &Names,
        script: Script,
        keys: &Keys,
        words: &[&str],
        deadline: &Deadline,
    ) -> Result<Value, Failure> {
        question(&mut self.outgoing, "EVALSHA", names.of(script), keys, words);
        self.flush(deadline)?;
        while self.owed > 0 {
            self.value_of_answer(deadline)?;
            self.owed -= 1;
        }
        match self.value_of_answer(deadline)? {
            Value::Error(line) if line.starts_with("NOSCRIPT") => {
                question(&mut self.outgoing, "EVAL", script.text(), keys, words);
                self.flush(deadline)?;
                self.answer(deadline)
            }
            Value::Error(line) => Err(refused(&line)),
            value => Ok(value),
        }
    }

    /// Only asks; the answer comes to [`Session::answer_now`].
    pub(crate) fn ask(
        &mut self,
        names: &Names,
        script: Script,
        keys: &Keys,
        words: &[&str],
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        question(&mut self.outgoing, "EVALSHA", names.of(script), keys, words);
        self.owed += 1;
        self.flush(deadline)
    }

    /// How many replicas have taken note of what was written, once there are so many or the time is over.
    pub(crate) fn replicas(
        &mut self,
        wanted: u32,
        patience: std::time::Duration,
        deadline: &Deadline,
    ) -> Result<i64, Failure> {
        let (wanted, patience) = (wanted.to_string(), patience.as_millis().to_string());
        let words = [&b"WAIT"[..], wanted.as_bytes(), patience.as_bytes()];
        resp::write(&mut self.outgoing, &words);
        self.flush(deadline)?;
        let answer = self.answer(deadline)?;
        Ok(answer.number().unwrap_or(0))
    }

    /// What the server has said unasked, oldest first.
    pub(crate) fn said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// Takes what has come, without waiting: an answer, if there is one. What was said unasked comes to [`Session::said`].
    pub(crate) fn answer_now(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            while let Some(value) = self.next()? {
                if let Some(answer) = self.sorted(value) {
                    self.owed = self.owed.saturating_sub(1);
                    return Ok(Some(answer));
                }
            }
            let mut chunk = [0; 4096];
            match self.connection.read_now(&mut chunk)? {
                Received::Bytes(count) => self.unread.extend_from_slice(&chunk[..count]),
                Received::Nothing => return Ok(None),
                Received::End => return Err(ended()),
            }
        }
    }

    /// What makes a sleeper look.
    pub(crate) fn wake(&self) -> io::Result<Option<Wake>> {
        self.connection.wake()
    }

    /// Whether this is the process that opened it, nothing has ended it, and no answer is on its way.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.said.clear();
        self.is_ours() && self.owed == 0 && self.answer_now().is_ok_and(|left| left.is_none())
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.connection.is_ours()
    }

    /// Ends it for every copy of its socket.
    pub(crate) fn close(self) {
        if let Some(mut connection) = self.connection.into_inner() {
            connection.shutdown();
        }
    }

    fn flush(&mut self, deadline: &Deadline) -> Result<(), Failure> {
        let written = self.connection.write_all(&self.outgoing, deadline);
        self.outgoing.clear();
        Ok(written?)
    }

    fn answer(&mut self, deadline: &Deadline) -> Result<Value, Failure> {
        match self.value_of_answer(deadline)? {
            Value::Error(line) => Err(refused(&line)),
            value => Ok(value),
        }
    }

    fn value_of_answer(&mut self, deadline: &Deadline) -> Result<Value, Failure> {
        loop {
            let value = self.value(deadline)?;
            if let Some(answer) = self.sorted(value) {
                return Ok(answer);
            }
        }
    }

    /// None: it was said unasked, and is kept if it means something.
    fn sorted(&mut self, value: Value) -> Option<Value> {
        let Value::Push(words) = value else {
            return Some(value);
        };
        let words: Vec<&str> = words.iter().filter_map(Value::text).collect();
        if let ["message", _, message] = words[..] {
            match message.split_once(' ') {
                Some(("wake", id)) => self.said.push_back(Said::Wake(id.to_owned())),
                Some(("lost", id)) => self.said.push_back(Said::Lost(id.to_owned())),
                _ => {}
            }
        }
        None
    }

    /// The next value, whatever it is.
    fn value(&mut self, deadline: &Deadline) -> Result<Value, Failure> {
        loop {
            if let Some(value) = self.next()? {
                return Ok(value);
            }
            let mut chunk = [0; 4096];
            match self.connection.read_within(&mut chunk, deadline)? {
                Received::Bytes(count) => self.unread.extend_from_slice(&chunk[..count]),
                Received::Nothing => return Err(Failure::silent(deadline)),
                Received::End => return Err(ended()),
            }
        }
    }

    /// A whole value from what has come.
    fn next(&mut self) -> Result<Option<Value>, Failure> {
        match resp::read(&self.unread) {
            Ok(Some((value, length))) => {
                self.unread.drain(..length);
                Ok(Some(value))
            }
            Ok(None) => Ok(None),
            Err(resp::Nonsense) => {
                let what = "what answers there does not speak as Redis does";
                Err(Failure::new(ErrorKind::Foreign, what))
            }
        }
    }
}

fn ended() -> Failure {
    let what = "the server closed the connection";
    Failure::new(ErrorKind::Unreachable, what)
}

fn question(to: &mut Vec<u8>, command: &str, script: &str, keys: &Keys, words: &[&str]) {
    let head = [
        command,
        script,
        "4",
        &keys.lock,
        &keys.queue,
        &keys.readers,
        &keys.counter,
        &keys.family,
    ];
    let all: Vec<&[u8]> = head
        .iter()
        .chain(words)
        .map(|word| word.as_bytes())
        .collect();
    resp::write(to, &all);
}

/// Whether it is a server of its own: one that its replicas follow, in no cluster, and no sentinel.
fn standalone(hello: &Value) -> Result<(), Failure> {
    let facts = hello.list();
    let fact = |name: &str| {
        let at = facts
            .iter()
            .step_by(2)
            .position(|v| v.text() == Some(name))?;
        facts.get(at * 2 + 1)?.text()
    };
    let unsupported = |what: &str, advice| {
        let mut failure = Failure::new(ErrorKind::Unsupported, what);
        failure.advice = Some(advice);
        Err(failure)
    };
    match (fact("mode"), fact("role")) {
        (None, _) => Err(Failure::new(
            ErrorKind::Foreign,
            format!(
                "what answers there does not greet as Redis does ({})",
                text::clean(hello.text().unwrap_or("another kind of answer"))
            ),
        )),
        (Some("cluster"), _) => unsupported(
            "this server is one of a cluster, which moves keys about",
            "name a server that is alone, or use etcd:// where several servers must agree",
        ),
        (Some("sentinel"), _) => unsupported(
            "this is a sentinel, which holds no keys",
            "name the server that it watches over: redis-cli -p PORT sentinel get-master-addr-by-name NAME",
        ),
        (_, Some("slave" | "replica")) => unsupported(REPLICA, NAME_THE_PRIMARY),
        _ => Ok(()),
    }
}

const REPLICA: &str = "this server is a replica: what is written there is not the lock";
const NAME_THE_PRIMARY: &str = "name the primary";

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(mode: &str, role: &str) -> Value {
        let words = ["server", "redis", "mode", mode, "role", role];
        Value::List(words.iter().map(|w| Value::Text((*w).into())).collect())
    }

    #[test]
    fn only_a_server_of_its_own_will_do() {
        assert!(standalone(&hello("standalone", "master")).is_ok());
        for (mode, role) in [
            ("cluster", "master"),
            ("sentinel", "sentinel"),
            ("standalone", "replica"),
            ("standalone", "slave"),
        ] {
            let failure = standalone(&hello(mode, role)).expect_err("refused");
            assert_eq!(failure.kind, ErrorKind::Unsupported, "{mode} {role}");
        }
        let other = standalone(&Value::Text("OK".into())).expect_err("refused");
        assert_eq!(other.kind, ErrorKind::Foreign);
    }
}
