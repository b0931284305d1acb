//! One connection to one member: questions and their answers, each within its deadline; who we are; whose cluster it is.
//!
//! | file | what it holds |
//! |---|---|
//! | `http.rs` | HTTP/1.1, as far as the gateway speaks it |
//! | `fault.rs` | what went wrong, and whether another member may do better |
//! | `watch.rs` | an answer that goes on: a key is waited for |
//!
//! Not for: which member, and the next one (`client.rs`); what the questions are (`protocol.rs`, `tenure.rs`).

mod fault;
mod http;
mod watch;

pub(crate) use fault::{Fault, Kind};
pub(crate) use http::{decoded, encoded};
pub(crate) use watch::{Seen, Watching};

use crate::client::Cluster;
use http::{Broken, Http};
use serde_json::{Value, json};
use sneck_net::{Address, Connection, Deadline};
use std::sync::Arc;

/// A word to the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) path: &'static str,
    pub(crate) body: Value,
}

impl Question {
    pub(crate) fn new(path: &'static str, body: Value) -> Question {
        Question { path, body }
    }
}

/// What was answered to one question.
pub(crate) type Answer = Result<Value, Fault>;

/// A connection to one member, on which nobody else speaks.
#[derive(Debug)]
pub(crate) struct Session {
    http: Http,
    cluster: Arc<Cluster>,
    /// Which of the members it is.
    member: usize,
    /// What shows who we are. None: not asked for yet, or nobody has to be anybody.
    token: Option<Arc<str>>,
    heard: Heard,
}

/// Whether it has ever answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Answers,
}

impl Session {
    /// Connects to this member. Whether etcd is there the first answer shows.
    pub(crate) fn open(
        cluster: &Arc<Cluster>,
        member: usize,
        deadline: &Deadline,
    ) -> Result<Session, Fault> {
        let endpoint = cluster.endpoint(member);
        let address = Address::Tcp {
            host: endpoint.host.clone(),
            port: endpoint.port,
        };
        let connection = Connection::dial(&address, deadline).map_err(|e| Fault::net(&e))?;
        let mut session = Session::on(connection, cluster, member, deadline)?;
        session.log_in(deadline)?;
        Ok(session)
    }

    /// Another connection to the same server.
    pub(crate) fn again(&self, deadline: &Deadline) -> Result<Session, Fault> {
        let connection = self.http.connection().again(deadline);
        let connection = connection.map_err(|e| Fault::net(&e))?;
        let mut session = Session::on(connection, &self.cluster, self.member, deadline)?;
        session.log_in(deadline)?;
        Ok(session)
    }

    fn on(
        mut connection: Connection,
        cluster: &Arc<Cluster>,
        member: usize,
        deadline: &Deadline,
    ) -> Result<Session, Fault> {
        let endpoint = cluster.endpoint(member);
        if let Some(tls) = cluster.tls()? {
            let begun = connection.start_tls(&tls, &endpoint.host, deadline);
            begun.map_err(|error| {
                // Certificates may have been renewed: the next one reads the files again.
                cluster.forget_tls();
                Fault::net(&error)
            })?;
        }
        Ok(Session {
            http: Http::new(connection, endpoint.to_string()),
            cluster: cluster.clone(),
            member,
            token: None,
            heard: Heard::Nothing,
        })
    }

    pub(crate) fn member(&self) -> usize {
        self.member
    }

    /// Ends the connection, for all copies of it.
    pub(crate) fn close(mut self) {
        self.http.shutdown();
    }

    /// Ask these, in one go; one answer to each.
    ///
    /// # Errors
    /// An answer is missing: nobody knows which of them were heard. The session is of no more use.
    pub(crate) fn ask(
        &mut self,
        questions: &[Question],
        deadline: &Deadline,
    ) -> Result<Vec<Answer>, Fault> {
        let answers = self.ask_once(questions, deadline)?;
        // A token that is not known any more (a member was restarted, its time is over) was refused before anything else was done.
        let outdated =
            |answer: &Answer| matches!(answer, Err(fault) if fault.kind == Kind::TokenIsOld);
        if self.cluster.login().is_none() || !answers.iter().any(outdated) {
            return Ok(answers);
        }
        self.cluster.forget_token();
        self.token = None;
        self.log_in(deadline)?;
        // Those before it were done, and doing them again does no harm: see `Client::ask`.
        self.ask_once(questions, deadline)
    }

    fn ask_once(
        &mut self,
        questions: &[Question],
        deadline: &Deadline,
    ) -> Result<Vec<Answer>, Fault> {
        for question in questions {
            self.put(question);
        }
        self.http.send(deadline).map_err(|b| self.broken(b))?;
        questions.iter().map(|_| self.answer(deadline)).collect()
    }

    fn put(&mut self, question: &Question) {
        let body = question.body.to_string();
        // A member that has lost its leader says so at once, and ends its watches, instead of staying silent.
        let mut headers = vec![("Grpc-Metadata-hasleader", "true")];
        if let Some(token) = &self.token {
            headers.push(("Authorization", token));
        }
        self.http
            .put(question.path, &headers, Some(body.as_bytes()));
    }

    fn answer(&mut self, deadline: &Deadline) -> Result<Answer, Fault> {
        let response = self.http.response(deadline).map_err(|b| self.broken(b))?;
        self.heard = Heard::Answers;
        let value: Option<Value> = first_value(&response.body);
        match value {
            Some(value) if response.status == 200 && value.get("error").is_none() => {
                // Streams wrap each of their answers.
                let value = match value.get("result") {
                    Some(result) => result.clone(),
                    None => value,
                };
                self.check_cluster(&value)?;
                Ok(Ok(value))
            }
            Some(error) if error.get("error").is_some() => Ok(Err(self.told(&error))),
            _ if matches!(response.status, 404 | 405 | 501) => Err(self.no_gateway(deadline)),
            // Go's own servers say so on a port that wants TLS.
            _ if response
                .body
                .starts_with(b"Client sent an HTTP request to an HTTPS server") =>
            {
                let what = "it wants an encrypted connection";
                Err(self.fault(Kind::WantsTls, what))
            }
            _ if response.status >= 500 => {
                let what = format!("it answers with HTTP status {}", response.status);
                Err(self.fault(Kind::Unavailable, what))
            }
            _ => Err(self.fault(Kind::Foreign, "it does not answer as etcd does")),
        }
    }

    /// A member of another cluster must not be taken for one of ours: it knows nothing of our claims.
    fn check_cluster(&self, answer: &Value) -> Result<(), Fault> {
        let Some(id) = number(&answer["header"]["cluster_id"]) else {
            return Err(self.fault(Kind::Foreign, "it does not answer as etcd does"));
        };
        if self.cluster.is_cluster(id) {
            return Ok(());
        }
        let what = "it belongs to another cluster than the member that answered first";
        Err(self.fault(Kind::OtherCluster, what))
    }

    /// It speaks HTTP and knows none of our questions: what is it?
    fn no_gateway(&mut self, deadline: &Deadline) -> Fault {
        self.http.put("/version", &[], None);
        let sent = self.http.send(deadline);
        let response = sent.and_then(|()| self.http.response(deadline));
        let version = response.ok().and_then(|r| first_value(&r.body));
        let version = version.as_ref().and_then(|v| v["etcdserver"].as_str());
        match version {
            Some(version) => {
                let what = format!(
                    "this is etcd {version} without /v3 in its HTTP gateway, which came with 3.4 and can be switched off"
                );
                self.fault(Kind::Unsupported, what)
            }
            None => self.fault(
                Kind::Foreign,
                "there is an HTTP server there that is not etcd",
            ),
        }
    }

    /// Say who we are, if somebody has to be somebody.
    fn log_in(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        let Some(login) = self.cluster.login() else {
            return Ok(());
        };
        if let Some(known) = self.cluster.token() {
            self.token = Some(known);
            return Ok(());
        }
        let question = Question::new(
            "/v3/auth/authenticate",
            json!({"name": login.user, "password": login.password}),
        );
        let mut answers = self.ask_once(&[question], deadline)?;
        match answers.pop() {
            Some(Ok(answer)) => {
                let token: Arc<str> = answer["token"].as_str().unwrap_or_default().into();
                self.cluster.keep_token(&token);
                self.token = Some(token);
                Ok(())
            }
            // As etcdctl does: where nobody is asked who he is, anybody may say it.
            Some(Err(fault)) if fault.kind == Kind::NoUsers => Ok(()),
            Some(Err(fault)) => Err(fault),
            None => Err(self.fault(Kind::Foreign, "it does not answer as etcd does")),
        }
    }

    fn fault(&self, kind: Kind, what: impl Into<String>) -> Fault {
        Fault::new(kind, self.http.connection().place(), what)
    }

    fn broken(&self, broken: Broken) -> Fault {
        match broken {
            Broken::Net(error) => Fault::net(&error),
            // etcd's port for TLS does so with whoever does not speak it.
            Broken::Ended
                if self.heard == Heard::Nothing && !self.http.connection().is_encrypted() =>
            {
                let what = "it closed the connection without an answer; perhaps it wants an encrypted one (etcds://)";
                self.fault(Kind::Unreachable, what)
            }
            Broken::Ended => self.fault(Kind::Unreachable, "the other side closed the connection"),
            Broken::Silent => self.fault(Kind::Silent, "no answer in time"),
            Broken::Foreign(start) => {
                let start = sneck::text::clean(&start);
                let what = format!("what answers there is not HTTP: {start}");
                self.fault(Kind::Foreign, what)
            }
        }
    }

    fn told(&self, error: &Value) -> Fault {
        Fault::told(self.http.connection().place(), error)
    }
}

/// The first JSON value of a body. A keepalive's answer is a stream of one, and ends with a line.
fn first_value(body: &[u8]) -> Option<Value> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    values.next()?.ok()
}

/// A number as the gateway writes those of 64 bits: in quotes. What is zero it leaves out.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}
