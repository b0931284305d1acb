//! One claimant's way to the cluster: its own session (R12: nobody else speaks on it), and the next member when one fails.
//!
//! Not for: what is asked (`protocol.rs`, `tenure.rs`); one connection (`session/`).

use crate::config::{Config, Endpoint, Login};
use crate::session::{Answer, Fault, Kind, Question, Session};
use sneck::Moment;
use sneck::protocol::moment;
use sneck_net::{Deadline, Tls};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long one word may take where no lease is at stake, connecting included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two rounds through the members: an election takes a second or two.
const PAUSE: Duration = Duration::from_millis(50);

/// What all claimants of one place share: what was learned of the cluster.
///
/// Nobody waits for a mutex here: in a forked child it may be held by a thread that is not there, and all of it can be learned again.
#[derive(Debug)]
pub(crate) struct Cluster {
    config: Config,
    /// Its id, as the first member told it. 0: none has.
    id: AtomicU64,
    /// The member that answered last.
    preferred: AtomicUsize,
    /// What shows who we are, on all members.
    token: Mutex<Option<Arc<str>>>,
    tls: Mutex<Option<Tls>>,
}

impl Cluster {
    pub(crate) fn new(config: Config) -> Cluster {
        Cluster {
            config,
            id: AtomicU64::new(0),
            preferred: AtomicUsize::new(0),
            token: Mutex::new(None),
            tls: Mutex::new(None),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    fn members(&self) -> usize {
        self.config.endpoints().len()
    }

    pub(crate) fn endpoint(&self, member: usize) -> &Endpoint {
        &self.config.endpoints()[member % self.members()]
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.config.login()
    }

    /// Whether this is the cluster that answered first.
    pub(crate) fn is_cluster(&self, id: u64) -> bool {
        let first = self
            .id
            .compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire);
        first.is_ok() || first == Err(id)
    }

    pub(crate) fn token(&self) -> Option<Arc<str>> {
        self.token.try_lock().ok()?.clone()
    }

    pub(crate) fn keep_token(&self, token: &Arc<str>) {
        if let Ok(mut kept) = self.token.try_lock() {
            *kept = Some(token.clone());
        }
    }

    pub(crate) fn forget_token(&self) {
        if let Ok(mut kept) = self.token.try_lock() {
            *kept = None;
        }
    }

    /// How to encrypt, if that is wanted; the files are read once, and again after a certificate was refused.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Fault> {
        let Some(encryption) = self.config.encryption() else {
            return Ok(None);
        };
        let kept = self.tls.try_lock().ok();
        if let Some(tls) = kept.as_ref().and_then(|kept| (**kept).clone()) {
            return Ok(Some(tls));
        }
        let tls = Tls::new(&encryption.trust, encryption.credential.as_ref());
        let tls = tls.map_err(|e| Fault::net(&e))?;
        if let Some(mut kept) = kept {
            *kept = Some(tls.clone());
        }
        Ok(Some(tls))
    }

    pub(crate) fn forget_tls(&self) {
        if let Ok(mut kept) = self.tls.try_lock() {
            *kept = None;
        }
    }
}

/// The answers to several questions, and whether they may have been asked twice.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) each: Vec<Answer>,
    pub(crate) asked: Asked,
}

/// Whether an answer is to the first asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Once,
    /// An earlier asking was left without an answer: it may have been heard, or be heard yet.
    Again,
}

/// One claimant's way to the cluster.
#[derive(Debug)]
pub(crate) struct Client {
    cluster: Arc<Cluster>,
    session: Option<Session>,
}

impl Client {
    pub(crate) fn new(cluster: &Arc<Cluster>) -> Client {
        Client {
            cluster: cluster.clone(),
            session: None,
        }
    }

    /// Ask these in one go, by then: the member that is connected, then the others in turn, then all of them again, as long as there is time and it may help.
    ///
    /// What is asked may be heard twice, for an answer can be lost: ask only what changes nothing when it is heard again. All that we ask is so. A claim is made
    /// if it is not there yet, and the answer reads it back either way; a lease that was granted in vain has no key and ends by itself; the rest says that something
    /// is to be kept, or gone.
    ///
    /// # Errors
    /// Nobody knows whether it was heard. A refusal to one of the questions is in its answer.
    pub(crate) fn ask(&mut self, questions: &[Question], by: Moment) -> Result<Answers, Fault> {
        let members = self.cluster.members();
        let mut asked = Asked::Once;
        let mut faults: Vec<Fault> = Vec::new();
        loop {
            // A member that is silent leaves time for those after it; so does a session that nobody knows to be dead.
            let kept = usize::from(self.session.is_some());
            let parts = (members - faults.len()).max(1) + kept;
            let deadline = Deadline::after(by.until() / u32::try_from(parts).unwrap_or(1));
            let fault = match self.ask_one(questions, &deadline) {
                Ok(each) => match each.iter().find_map(|a| passing(a.as_ref().err())) {
                    None => return Ok(Answers { each, asked }),
                    // It says that it cannot, and may have done it all the same.
                    Some(fault) => fault,
                },
                Err(fault) if fault.passes() => fault,
                Err(fault) => {
                    self.close();
                    return Err(fault);
                }
            };
            asked = Asked::Again;
            let only_stale = kept == 1 && members == 1 && fault.kind == Kind::Unreachable;
            self.pass_on();
            if only_stale {
                continue;
            }
            faults.push(fault);
            if faults.len() < members {
                continue;
            }
            // Where nobody listens, nobody will in a moment; an election takes a second or two.
            let all_gone = faults.iter().all(|f| f.kind == Kind::Unreachable);
            if all_gone || by.until() <= PAUSE {
                return Err(summed_up(faults));
            }
            faults.clear();
            moment(PAUSE);
        }
    }

    /// The next one who asks begins with another member.
    fn pass_on(&mut self) {
        let preferred = self.cluster.preferred.load(Ordering::Relaxed);
        let failed = self.member().unwrap_or(preferred);
        self.close();
        let next = (failed + 1) % self.cluster.members();
        self.cluster.preferred.store(next, Ordering::Relaxed);
    }

    /// The same for a single question.
    pub(crate) fn ask_for(&mut self, question: Question, by: Moment) -> Result<Answer, Fault> {
        let mut answers = self.ask(&[question], by)?;
        Ok(answers.each.remove(0))
    }

    /// Ask the member that is connected, or the one that answered last.
    fn ask_one(
        &mut self,
        questions: &[Question],
        deadline: &Deadline,
    ) -> Result<Vec<Answer>, Fault> {
        let session = self.connected(deadline)?;
        let member = session.member();
        let answers = session.ask(questions, deadline)?;
        self.cluster.preferred.store(member, Ordering::Relaxed);
        Ok(answers)
    }

    fn connected(&mut self, deadline: &Deadline) -> Result<&mut Session, Fault> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let member = self.cluster.preferred.load(Ordering::Relaxed);
                Session::open(&self.cluster, member % self.cluster.members(), deadline)?
            }
        };
        Ok(self.session.insert(session))
    }

    /// A second connection to the server that answered, for a watch.
    pub(crate) fn beside(&mut self, by: Moment) -> Result<Session, Fault> {
        let deadline = Deadline::after(by.until());
        self.connected(&deadline)?.again(&deadline)
    }

    /// Give the session to another one of the same claimant.
    pub(crate) fn take(&mut self) -> Option<Session> {
        self.session.take()
    }

    /// The other way round, if there is none yet.
    pub(crate) fn accept(&mut self, session: Option<Session>) {
        if self.session.is_none() {
            self.session = session;
        }
    }

    /// Which member it is connected to.
    pub(crate) fn member(&self) -> Option<usize> {
        self.session.as_ref().map(Session::member)
    }

    pub(crate) fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close();
        }
    }
}

impl Drop for Client {
    /// A sleeper that is still armed may have a copy of the socket.
    fn drop(&mut self) {
        self.close();
    }
}

fn passing(fault: Option<&Fault>) -> Option<Fault> {
    fault.filter(|fault| fault.passes()).cloned()
}

/// One line about all of them: the last word of each.
fn summed_up(mut faults: Vec<Fault>) -> Fault {
    let last = faults.pop();
    faults.reverse();
    match last {
        Some(last) => last.and(&faults),
        None => Fault::new(Kind::Unreachable, "etcd", "nobody answers"),
    }
}
