//! The contract of a sneck protocol, as functions that every protocol runs.
//!
//! ```no_run
//! sneck_testkit::conformance! {
//!     registry = sneck::Registry::local,
//!     place = |folder| format!("symlink:{}/lock", folder.display()),
//! }
//! # fn main() {}
//! ```
//!
//! in a file below `tests/` makes one test of every function in [`mod@conformance`], three times over: with the best way to wait, on events
//! alone, by polling alone. A place is a string and the registry a function, because child processes, which are this
//! very test program run again, must open the same lock.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@conformance`] | what every protocol must keep |
//! | [`child`] | another process that acquires and releases as it is told |
//! | [`block`] | checks that something blocks, and that what blocked ends |
//! | `authority` | certificates, made when a test runs (feature `tls`) |
//! | [`journal`] | who was inside when, written by all parties, and whether they overlapped |
//! | [`claims`] | claims of the file protocols written by hand |
//! | `crash` | a process killed at each system call in turn (Unix) |
//! | [`deeds`] | who made, removed and lost which claim |
//! | [`proxy`] | TCP passed on, and all that a network does to it |
//! | `race` | several processes fall on one dead claim, slowly (Unix) |
//! | [`storm`] | processes killed, stopped and continued at random |
//! | `interrupt` | waits that a signal handler interrupts (Unix) |
//! | [`dice`] | numbers that look random and come back with their seed |
//! | [`judge`] | a resource that a lock guards, with tokens, a log and a verdict |
//! | [`folder`] | a folder of a test's own |
//! | [`planted`] | what may stand where a lock should be, and what must come of it |
//! | [`sys`] | the operating system: the only `unsafe` |
//! | [`task`] | the least of an async runtime |
//! | [`through`] | a lock whose tries are counted, or take long |
//! | `etcd` | a real cluster of a test's own (Unix) |
//! | `example` | example programs, run as their users run them, and what the documentation shows (Unix) |
//! | `postgres`, `redis` | real servers of a test's own (Unix) |
//!
//! No test asserts an absolute time: only order, blocking, counts and lower bounds. [`PATIENCE`] is how long a test waits for
//! what must happen before it says that it does not.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

#[cfg(feature = "tls")]
pub mod authority;
pub mod block;
pub mod child;
pub mod claims;
pub mod conformance;
#[cfg(unix)]
pub mod crash;
pub mod deeds;
pub mod dice;
#[cfg(unix)]
pub mod etcd;
#[cfg(unix)]
pub mod example;
pub mod folder;
#[cfg(unix)]
pub mod interrupt;
pub mod journal;
pub mod judge;
#[cfg(unix)]
mod keeper;
pub mod planted;
#[cfg(unix)]
pub mod postgres;
pub mod proxy;
#[cfg(unix)]
pub mod race;
#[cfg(unix)]
pub mod redis;
pub mod storm;
pub mod sys;
pub mod task;
pub mod through;

pub use block::{Blocked, must_block};
pub use child::{Child, Session, serve, serve_with};
pub use folder::Folder;
pub use journal::Journal;
pub use through::{Counts, Through};

use sneck::protocol::Leasing;
use sneck::{Lock, LockBuilder, Registry, Waiting};
use std::time::Duration;

/// How long a test waits for what must happen. Generous: it is only ever waited for in vain by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Which lock is tested, and how it is waited for.
#[derive(Debug)]
pub struct Setup {
    /// Makes the registry; child processes make the same.
    pub registry: fn() -> Registry,
    /// The place, as a person writes it.
    pub place: String,
    /// How waiting is done.
    pub waiting: Waiting,
    /// The test of this program that is the entry of child processes: it calls [`serve`].
    pub entry: &'static str,
    /// A folder for journals and the like, gone afterwards.
    pub folder: Folder,
}

impl Setup {
    /// A lock of its own for one test. `entry` may be written with the crate's name in front, as `module_path!()` gives it.
    pub fn new(
        registry: fn() -> Registry,
        place: impl Fn(&std::path::Path) -> String,
        waiting: Waiting,
        entry: &'static str,
    ) -> Setup {
        let folder = Folder::new();
        Setup {
            registry,
            place: place(folder.path()),
            waiting,
            entry: entry.split_once("::").map_or(entry, |(_, rest)| rest),
            folder,
        }
    }

    /// A builder with registry and way of waiting set. Leases are short, since those of killed holders are waited for.
    pub fn builder(&self) -> LockBuilder {
        let registry = (self.registry)();
        let builder = Lock::builder().registry(&registry).waiting(self.waiting);
        let place = registry.place(&self.place);
        let lock = place.and_then(|place| Lock::builder().registry(&registry).at(&place));
        match lock.map(|lock| lock.capabilities().lease) {
            Ok(Leasing::Leased { shortest, .. }) => builder
                .ttl(shortest.max(Duration::from_secs(2)))
                .lock_delay(Duration::from_millis(100)),
            _ => builder,
        }
    }

    /// Another handle of the lock.
    pub fn lock(&self) -> Lock {
        self.lock_with(|builder| builder)
    }

    /// Another handle of the lock, with other settings.
    pub fn lock_with(&self, change: impl FnOnce(LockBuilder) -> LockBuilder) -> Lock {
        let place = (self.registry)()
            .place(&self.place)
            .expect("the place of the test can be read");
        change(self.builder())
            .at(&place)
            .expect("the place of the test makes sense to its protocol")
    }

    /// Another process that knows this lock.
    pub fn child(&self) -> Child {
        Child::start(self)
    }
}

/// Makes a test of every function in [`mod@conformance`], for each way of waiting, and the entry of the child processes.
///
/// `registry` is a `fn() -> Registry`; `place` gets a fresh folder (whose name no other test has) and says where the lock is.
#[macro_export]
macro_rules! conformance {
    (registry = $registry:expr, place = $place:expr $(,)?) => {
        $crate::entry!($registry);

        fn conformance_setup(waiting: ::sneck::Waiting) -> $crate::Setup {
            $crate::Setup::new($registry, $place, waiting, CHILD_ENTRY)
        }

        mod best {
            $crate::each_conformance_function!(Best);
        }
        mod events {
            $crate::each_conformance_function!(Events);
        }
        mod polling {
            $crate::each_conformance_function!(Polling);
        }
    };
}

/// Makes the test that child processes enter by, and `CHILD_ENTRY`, its name. `more` are commands beside the usual ones.
#[macro_export]
macro_rules! entry {
    ($registry:expr $(, $more:expr)? $(,)?) => {
        /// The name of the test below.
        pub(crate) const CHILD_ENTRY: &str = concat!(module_path!(), "::is_where_child_processes_enter");

        #[test]
        fn is_where_child_processes_enter() {
            let more: $crate::child::More = { |_, _| false };
            $(let _ = more; let more: $crate::child::More = $more;)?
            $crate::serve_with($registry, more);
        }
    };
}
