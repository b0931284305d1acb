//! The thread that renews one lease, and what it shares with the holder.
//!
//! One thread a lease, once that is old enough to need one (`nursery.rs`): a server that does not answer keeps nobody else's lease waiting. No signal reaches it.

use super::{Outcome, Terms, Watch, nursery};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{Standing, Wake};
use crate::sys::fork::generation;
use crate::text;
use crate::timeout::{Deadline, Moment, Timeout};
use crate::wait::{Armed, Bell, pause_for};
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a release may take.
const RELEASE: Duration = Duration::from_secs(5);

/// One party's stay at a server: how one word is said there.
pub trait Tenure: Debug + Send {
    /// Ask the server to keep it, and come back by then, whatever happens. A connection that broke may be made anew, if the stay is not tied to it.
    ///
    /// # Errors
    /// Nobody knows whether the server heard it: it will be tried again as long as there is time.
    fn renew(&mut self, by: Moment) -> Result<Renewed>;

    /// What shows that there is something to [`Tenure::notice`].
    fn wakes(&self) -> Vec<Wake> {
        Vec::new()
    }

    /// Look, without asking and without waiting, whether the server has ended it, and take what made the hint come. None: nothing says so.
    fn notice(&mut self) -> Option<String> {
        None
    }

    /// Give up this very stay and nothing else, by then.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`]: it was somebody else's already, or nobody's. Otherwise nobody knows; the lease will run out.
    fn release(&mut self, by: Moment) -> Result<()>;
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// It is kept.
    Kept,
    /// It is ours no more, for this reason.
    Gone(String),
}

/// A stay at a server that is renewed in time. Dropping it stops that and says nothing to the server.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Shared {
    terms: Terms,
    watch: Watch,
    state: Mutex<State>,
    /// Rung when the keeper is to stop.
    stop: Bell,
    /// Rung when the stay is back from it.
    home: Bell,
}

#[derive(Debug)]
struct State {
    /// Until when the holder may believe it.
    expires: Moment,
    /// With the keeper while that says a word.
    tenure: Option<Box<dyn Tenure>>,
    stops: bool,
    /// What went wrong when it was last renewed.
    trouble: Option<String>,
    /// Whether a thread listens to what the server says.
    watched: Watched,
    /// What it has said of the end, which nobody has been told yet.
    ended: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    No,
    Yes,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, if it did: by its clock, or because the server said so.
    fn outcome(&self) -> Option<Outcome> {
        if let Some(outcome) = self.watch.outcome() {
            return Some(outcome);
        }
        let state = self.state();
        if let Some(why) = &state.ended {
            return Some(Outcome::Lost(why.clone()));
        }
        if !state.expires.until().is_zero() {
            return None;
        }
        Some(Outcome::Lost(self.not_renewed(state.trouble.as_deref())))
    }

    /// Take note of what the server has said, if nobody else listens.
    fn listen(&self) {
        let mut state = self.state();
        if state.watched == Watched::No && state.ended.is_none() {
            state.ended = state.tenure.as_mut().and_then(|tenure| tenure.notice());
        }
    }

    /// The same, and everybody is told.
    fn lost(&self) -> Option<Outcome> {
        let outcome = self.outcome()?;
        self.watch.end(outcome);
        self.watch.outcome()
    }

    /// There is no thread to do it.
    pub(super) fn is_not_renewed(&self, error: &io::Error) {
        let mut state = self.state();
        state.trouble = Some(format!("no thread to renew it: {error}"));
        state.stops = true;
    }

    fn not_renewed(&self, trouble: Option<&str>) -> String {
        let ttl = text::span(self.terms.ttl());
        match trouble {
            Some(trouble) => format!("it could not be renewed for {ttl}: {trouble}"),
            None => format!(
                "it was not renewed for {ttl}: this process was stopped, or had no time to run"
            ),
        }
    }
}

fn later(moment: Moment, wait: Duration) -> Moment {
    moment.after(wait).unwrap_or(moment)
}

impl Lease {
    /// Keep this stay from now on. `said`: when the last word that the server has heard was *sent*; its answer may have come much later.
    pub fn begin(terms: Terms, said: Moment, tenure: Box<dyn Tenure>) -> Lease {
        let expires = later(said, terms.ttl());
        let watch = Watch::new();
        watch.prolong(expires);
        let shared = Arc::new(Shared {
            terms,
            watch,
            state: Mutex::new(State {
                expires,
                tenure: Some(tenure),
                stops: false,
                trouble: None,
                watched: Watched::No,
                ended: None,
            }),
            stop: Bell::default(),
            home: Bell::default(),
        });
        let keeper = Keeper {
            shared: shared.clone(),
            due: later(said, terms.pace()),
        };
        // Without a thread it ends when its time is over, as the holder will see.
        if let Err(error) = nursery::take(keeper) {
            shared.is_not_renewed(&error);
        }
        Lease {
            shared,
            generation: generation(),
        }
    }

    /// Whether it still holds, by this process's own clock. Asks nobody, and tells nobody.
    // 1. The clock ends it. 2. Before the keeper wakes up somebody asks, with a lock in hand (that of the holding, Python's). 3. Told from here, a callback that wants
    // this lock waits for itself. So the keeper tells.
    pub fn standing(&self) -> Standing {
        if self.generation == generation() {
            self.shared.listen();
        }
        let outcome = self.shared.outcome();
        if outcome.is_some() && self.shared.watch.outcome().is_none() {
            if self.shared.state().stops {
                self.shared.lost();
            } else {
                self.shared.stop.ring();
            }
        }
        match outcome {
            None => Standing::Held,
            Some(Outcome::Lost(why)) => Standing::Lost(why),
            Some(Outcome::Released) => Standing::Released,
        }
    }

    /// Until when it holds if no further word is heard.
    pub fn expires(&self) -> Moment {
        self.shared.state().expires
    }

    /// For whoever wants to be told when it is over.
    pub fn watch(&self) -> Watch {
        self.shared.watch.clone()
    }

    /// End it: the keeper stops, and the server is told.
    ///
    /// # Errors
    /// As [`Tenure::release`].
    pub fn end(self) -> Result<()> {
        // In a forked child there is no keeper, and nothing of ours to give up.
        if self.generation != generation() {
            return Ok(());
        }
        // Losing comes first, though nobody may have been told yet.
        let outcome = self.shared.outcome().unwrap_or(Outcome::Released);
        let Some(mut tenure) = self.stop() else {
            return Ok(());
        };
        self.shared.watch.end(outcome);
        tenure.release(later(Moment::now(), RELEASE))
    }

    /// Stop renewing, and take the stay. None: in a forked child, or where the keeper does not come back.
    pub fn stop(&self) -> Option<Box<dyn Tenure>> {
        if self.generation != generation() {
            return None;
        }
        self.shared.state().stops = true;
        self.shared.stop.ring();
        // It may be in the middle of a word, which takes no longer than its pace.
        let patience = self.shared.terms.pace() + RELEASE;
        let deadline = Deadline::from(Timeout::After(patience));
        loop {
            let wake = self.shared.home.listen();
            if let Some(tenure) = self.shared.state().tenure.take() {
                return Some(tenure);
            }
            if deadline.has_passed() {
                return None;
            }
            pause_for(&wake, deadline);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.generation == generation() {
            let mut state = self.shared.state();
            state.stops = true;
            let tenure = state.tenure.take();
            drop(state);
            self.shared.stop.ring();
            drop(tenure);
        }
    }
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// When the next word is to be said.
    due: Moment,
}

/// The stay, for the length of one word: it comes back however that ends. Between two words it is at home, so that whoever releases need not wait for a thread to wake up.
struct Lent<'a> {
    shared: &'a Shared,
    tenure: Option<Box<dyn Tenure>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.shared.state().tenure = self.tenure.take();
        self.shared.home.ring();
    }
}

/// What the keeper does next.
enum Next {
    Renew,
    Sleep(Moment),
    Leave,
}

impl Keeper {
    /// How long nothing is to be done.
    pub(super) fn leisure(&self) -> Duration {
        self.due.until()
    }

    /// Whether it is still held.
    pub(super) fn is_needed(&self) -> bool {
        !self.shared.state().stops
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(super) fn run(mut self) {
        // What came before nobody is woken for.
        self.shared.listen();
        self.shared.state().watched = Watched::Yes;
        loop {
            // First listen, then look.
            let stop = self.shared.stop.listen();
            match self.next() {
                Next::Leave => return,
                Next::Renew => self.renew(),
                Next::Sleep(until) => self.sleep(stop, until),
            }
        }
    }

    fn next(&self) -> Next {
        // Losing is final: whoever was told so has stopped, and must not be contradicted.
        if self.shared.lost().is_some() {
            return Next::Leave;
        }
        let state = self.shared.state();
        if state.stops {
            Next::Leave
        } else if self.due.until().is_zero() {
            Next::Renew
        } else {
            Next::Sleep(self.due.min(state.expires))
        }
    }

    fn renew(&mut self) {
        let terms = self.shared.terms;
        let said = Moment::now();
        let mut state = self.shared.state();
        let by = later(said, terms.pace()).min(state.expires);
        // Not there: somebody releases it.
        let Some(tenure) = state.tenure.take() else {
            return;
        };
        drop(state);
        let mut lent = Lent {
            shared: &self.shared,
            tenure: Some(tenure),
        };
        let answer = match &mut lent.tenure {
            Some(tenure) => tenure.renew(by),
            None => return,
        };
        // Before it is told: whoever is told may want to release.
        drop(lent);
        match answer {
            Ok(Renewed::Kept) => {
                let mut state = self.shared.state();
                // 1. We say a word. 2. This process is stopped. 3. Our time is over, and the holder is told. 4. The answer is read: it comes too late.
                if state.expires.until().is_zero() {
                    return;
                }
                let expires = later(said, terms.ttl());
                state.expires = expires;
                state.trouble = None;
                self.due = later(said, terms.pace());
                drop(state);
                self.shared.watch.prolong(expires);
            }
            Ok(Renewed::Gone(why)) => {
                self.shared.watch.end(Outcome::Lost(why));
            }
            Err(error) if error.kind() == ErrorKind::Lost => {
                self.shared.watch.end(Outcome::Lost(told(&error)));
            }
            Err(error) => {
                self.shared.state().trouble = Some(told(&error));
                self.due = later(Moment::now(), terms.ttl() / 20);
            }
        }
    }

    fn sleep(&mut self, stop: Wake, until: Moment) {
        let hints = self.shared.state().tenure.as_ref().map(|t| t.wakes());
        let hints = hints.unwrap_or_default();
        let quiet = hints.is_empty();
        let wakes = hints.into_iter().chain([stop, Wake::At(until)]).collect();
        Armed::new(wakes).sleep(until.until());
        if quiet {
            return;
        }
        // The mutex is free again before anybody is told.
        let noticed = self.shared.state().tenure.as_mut().and_then(|t| t.notice());
        if let Some(why) = noticed {
            self.shared.watch.end(Outcome::Lost(why));
        }
    }
}

fn told(error: &Error) -> String {
    text::clean(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread::sleep;

    /// A server on the other side of two channels: it is asked, and the test answers.
    #[derive(Debug)]
    struct Far {
        asked: Sender<Question>,
        answers: Receiver<Result<Renewed>>,
        bell: Bell,
        heard: u32,
        ended: Arc<Mutex<Option<String>>>,
    }

    #[derive(Debug, PartialEq)]
    enum Question {
        Renew,
        Release,
    }

    struct Server {
        asked: Receiver<Question>,
        answers: Sender<Result<Renewed>>,
        bell: Bell,
        ended: Arc<Mutex<Option<String>>>,
    }

    fn server() -> (Box<Far>, Server) {
        let (asked, questions) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let (bell, ended) = (Bell::default(), Arc::default());
        let Wake::Rung(_, heard) = bell.listen() else {
            panic!("a bell rings");
        };
        let far = Far {
            asked,
            answers,
            bell: bell.clone(),
            heard,
            ended: Arc::clone(&ended),
        };
        let server = Server {
            asked: questions,
            answers: answer,
            bell,
            ended,
        };
        (Box::new(far), server)
    }

    impl Tenure for Far {
        fn renew(&mut self, by: Moment) -> Result<Renewed> {
            self.asked.send(Question::Renew).expect("the test listens");
            let silent = || Error::new(ErrorKind::Unreachable, "ask", "no answer");
            self.answers
                .recv_timeout(by.until())
                .unwrap_or_else(|_| Err(silent()))
        }

        fn wakes(&self) -> Vec<Wake> {
            vec![Wake::Rung(self.bell.clone(), self.heard)]
        }

        fn notice(&mut self) -> Option<String> {
            if let Wake::Rung(_, heard) = self.bell.listen() {
                self.heard = heard;
            }
            self.ended.lock().expect("whole").clone()
        }

        fn release(&mut self, _: Moment) -> Result<()> {
            self.asked.send(Question::Release).expect("it listens");
            Ok(())
        }
    }

    const TTL: Duration = Duration::from_millis(300);

    fn lease(far: Box<Far>) -> Lease {
        let terms = Terms::new(TTL, Duration::ZERO).expect("they make sense");
        Lease::begin(terms, Moment::now(), far)
    }

    fn kept() -> Result<Renewed> {
        Ok(Renewed::Kept)
    }

    #[test]
    fn as_long_as_the_server_answers_it_is_kept_and_released_at_the_end() {
        let (far, server) = server();
        let lease = lease(far);
        for _ in 0..6 {
            assert_eq!(server.asked.recv(), Ok(Question::Renew));
            let before = lease.expires();
            server.answers.send(kept()).expect("it asks");
            while lease.expires() == before {
                sleep(Duration::from_millis(1));
                assert_eq!(lease.standing(), Standing::Held);
            }
            assert!(lease.expires() > before);
        }
        lease.end().expect("it is kept");
        // One more word may have been on its way.
        let rest: Vec<Question> = server.asked.iter().collect();
        assert_eq!(rest.last(), Some(&Question::Release));
    }

    #[test]
    fn a_server_that_falls_silent_is_asked_again_and_the_holders_own_clock_ends_it() {
        let (far, server) = server();
        let begun = Moment::now();
        let lease = lease(far);
        let Some(Outcome::Lost(why)) = lease.watch().wait(Timeout::Forever) else {
            panic!("nobody released it");
        };
        assert!(begun.elapsed() >= TTL, "it believed it for too short");
        assert!(why.contains("no answer"), "{why}");
        assert!(matches!(lease.standing(), Standing::Lost(_)));
        // Losing is final, and what the server may have still is given back.
        lease.end().expect("it is told");
        let asked: Vec<Question> = server.asked.iter().collect();
        assert_eq!(asked.last(), Some(&Question::Release));
        assert!(asked.len() >= 3, "asked again: {asked:?}");
    }

    #[test]
    fn an_answer_that_comes_too_late_keeps_nothing() {
        let (far, server) = server();
        let terms = Terms::new(TTL, Duration::ZERO).expect("they make sense");
        // Granted long ago: its answer took nearly all of the lease.
        let said = Moment::now();
        sleep(TTL);
        let lease = Lease::begin(terms, said, far);
        assert!(matches!(lease.standing(), Standing::Lost(_)));
        let _ = server.answers.send(kept());
        sleep(Duration::from_millis(50));
        assert!(matches!(lease.standing(), Standing::Lost(_)));
    }

    #[test]
    fn the_time_counts_from_the_sending_and_not_from_the_answer() {
        let (far, server) = server();
        let lease = lease(far);
        assert_eq!(server.asked.recv(), Ok(Question::Renew));
        let asked = Moment::now();
        sleep(Duration::from_millis(60));
        let before = lease.expires();
        server.answers.send(kept()).expect("it asks");
        while lease.expires() == before {
            sleep(Duration::from_millis(1));
        }
        assert!(lease.expires() <= later(asked, TTL));
    }

    #[test]
    fn what_the_server_says_counts_at_once() {
        let (far, server) = server();
        let lease = lease(far);
        assert_eq!(server.asked.recv(), Ok(Question::Renew));
        let gone = Renewed::Gone("somebody took it".into());
        server.answers.send(Ok(gone)).expect("it asks");
        let lost = Outcome::Lost("somebody took it".into());
        assert_eq!(lease.watch().wait(Timeout::Forever), Some(lost));
    }

    #[test]
    fn a_hint_that_the_server_ended_it_is_looked_at_between_two_words() {
        let (far, server) = server();
        let terms = Terms::new(Duration::from_secs(3600), Duration::ZERO).expect("sense");
        let lease = Lease::begin(terms, Moment::now(), far);
        // A hint without a meaning changes nothing.
        server.bell.ring();
        assert_eq!(lease.watch().wait(Duration::from_millis(20)), None);
        *server.ended.lock().expect("whole") = Some("the connection broke".into());
        server.bell.ring();
        let lost = Outcome::Lost("the connection broke".into());
        assert_eq!(lease.watch().wait(Timeout::Forever), Some(lost));
    }

    #[test]
    fn whoever_looks_sees_at_once_what_the_server_said_and_all_are_told_soon() {
        for _ in 0..20 {
            let (far, server) = server();
            let terms = Terms::new(Duration::from_secs(3600), Duration::ZERO).expect("sense");
            let lease = Lease::begin(terms, Moment::now(), far);
            // No thread may be there to hear it.
            *server.ended.lock().expect("whole") = Some("the connection broke".into());
            server.bell.ring();
            if lease.shared.state().watched == Watched::No {
                assert!(matches!(lease.standing(), Standing::Lost(_)));
            }
            let lost = Outcome::Lost("the connection broke".into());
            assert_eq!(lease.watch().wait(Timeout::Forever), Some(lost));
        }
    }

    #[test]
    fn whoever_asks_is_not_the_one_who_tells() {
        for _ in 0..10 {
            let (far, _server) = server();
            let terms = Terms::new(Duration::from_millis(100), Duration::ZERO).expect("sense");
            let lease = Lease::begin(terms, Moment::now(), far);
            let (sender, told) = mpsc::channel();
            lease.watch().call(move |outcome| {
                let by = std::thread::current().id();
                sender.send((by, outcome.clone())).expect("it listens");
            });
            while lease.standing() == Standing::Held {}
            let (by, outcome) = told.recv().expect("it is told");
            assert_ne!(by, std::thread::current().id());
            assert!(matches!(outcome, Outcome::Lost(_)));
            // A release that follows changes nothing about it.
            lease.end().expect("it is told");
        }
    }

    #[test]
    fn one_that_is_dropped_is_not_released() {
        let (far, server) = server();
        drop(lease(far));
        let asked: Vec<Question> = server.asked.iter().collect();
        assert!(!asked.contains(&Question::Release), "{asked:?}");
    }
}
