//! A lock that is come by through something of a test's own: its tries and looks are counted, take longer, or stand in a line of their own.
//!
//! Not for: anything that the lock itself does otherwise; all else goes straight to it.

use sneck::protocol::{
    Attempt, Blocked, Capabilities, Contender, Ground, Mark, Protocol, Removal, Right, Stop, Wake,
};
use sneck::{Claim, Place, Result, Sighting};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How often a lock was tried and looked at.
#[derive(Debug, Default)]
pub struct Counts {
    tries: AtomicUsize,
    looks: AtomicUsize,
}

impl Counts {
    /// How many tries there were so far.
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    /// How many looks there were so far.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

/// A lock that is come by through this.
#[derive(Debug)]
pub struct Through {
    inner: Arc<dyn Protocol>,
    place: Place,
    identity: String,
    counts: Arc<Counts>,
    takes: Duration,
}

impl Through {
    /// To this lock, counted there.
    pub fn new(inner: Arc<dyn Protocol>, counts: &Arc<Counts>) -> Through {
        Through {
            place: inner.place().clone(),
            identity: inner.identity(),
            inner,
            counts: counts.clone(),
            takes: Duration::ZERO,
        }
    }

    /// Through another line than the lock's own, as a stack of several locks comes to it.
    #[must_use]
    pub fn in_a_line_of_its_own(mut self) -> Through {
        self.identity = format!("through {}", self.identity);
        self
    }

    /// By another name.
    #[must_use]
    pub fn called(mut self, place: &Place) -> Through {
        self.place = place.clone();
        self
    }

    /// Each try takes so long: there and back.
    #[must_use]
    pub fn taking(mut self, takes: Duration) -> Through {
        self.takes = takes;
        self
    }
}

impl Protocol for Through {
    fn place(&self) -> &Place {
        &self.place
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn ground(&self) -> Ground {
        self.inner.ground()
    }

    fn parts(&self) -> Vec<Arc<dyn Protocol>> {
        self.inner.parts()
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        Ok(Box::new(Counting {
            inner: self.inner.contend(claim)?,
            counts: self.counts.clone(),
            takes: self.takes,
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        self.counts.looks.fetch_add(1, Ordering::SeqCst);
        self.inner.inspect()
    }

    fn terms(&self) -> sneck::lease::Terms {
        self.inner.terms()
    }

    fn waiters(&self) -> Result<Vec<sneck::Holder>> {
        self.inner.waiters()
    }

    fn wakes(&self, seen: &Sighting) -> Vec<Wake> {
        self.inner.wakes(seen)
    }

    fn remove(&self, seen: &Mark, right: Right) -> Result<Removal> {
        self.inner.remove(seen, right)
    }
}

#[derive(Debug)]
struct Counting {
    inner: Box<dyn Contender>,
    counts: Arc<Counts>,
    takes: Duration,
}

impl Contender for Counting {
    fn attempt(&mut self) -> Result<Attempt> {
        self.counts.tries.fetch_add(1, Ordering::SeqCst);
        // What is decided is known later, and given back later.
        thread::sleep(self.takes / 2);
        let attempt = self.inner.attempt();
        thread::sleep(self.takes / 2);
        attempt
    }

    fn block(&mut self, stop: &Stop) -> Result<Blocked> {
        self.inner.block(stop)
    }
}
