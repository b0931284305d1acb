//! One lock for every lock file.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(&folder)?;
//! use sneck::Lock;
//! use std::time::Duration;
//!
//! let lock = Lock::new("app.lock")?;
//! match lock.acquire_within(Duration::from_secs(5)) {
//!     Ok(_guard) => println!("at most one process is here"),
//!     Err(error) if error.is_held() => println!("{error}"), // … held by pid 812 (make -j4), user ada, …
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | **lock** | a place that at most one party (or many readers) may hold: [`Lock`], [`Place`] |
//! | **protocol** | how holding is written down at one place, and how to try for it: [`protocol`] |
//! | **claim** | one party's wish to hold: [`Claim`] |
//! | **holder** | who holds: [`Holder`] |
//! | **guard** | proof of holding; dropping it releases: [`Guard`] |
//! | **mode** | exclusive or shared: [`Mode`] |
//! | **timeout** | none, a duration, or for ever: [`Timeout`] |
//! | **stale** | a claim whose holder is proved gone: [`Stale`], [`Verdict`]; to **break** is to remove it |
//! | **lease** | holding that ends unless it is renewed: [`lease`]; **lost**: it ended behind the holder's back |
//! | **lock delay** | how much longer others are kept out after a lease has ended: [`LockBuilder::lock_delay`] |
//! | **fencing token** | a number that only grows from holder to holder: [`Guard::token`], [`fence`] |
//!
//! # Protocols
//!
//! | place | written down as | also spoken by | a crash leaves |
//! |---|---|---|---|
//! | `path` | flock(2) on the file | flock(1), setlock, locket, cargo, uv, filelock | a free lock |
//! | `pidfile:path` | a file with the holder's pid | caterpillar, pylockfile, daemons | a stale file that the next one breaks |
//! | `shlock:path` | the same, as shlock(1) made it | PEAK, INN, UUCP | the same |
//! | `dotlock:path` | the lock file of mailboxes | dotlockfile, lockfile-create, mutt, procmail | the same, if it names its holder |
//! | `labm8:path` | a file with pid and time | labm8 | the same |
//! | `mkdir:path` | a directory | pylockfile, proper-lockfile, shell scripts | the same, if it names its holder |
//! | `fcntl:path` | an OFD lock on the whole file | POSIX record locks: lckdo, with-lock-ex, runlock, fasteners, apt | a free lock |
//! | `symlink:path` | a symbolic link to the holder's pid | Twisted | a stale link that the next one breaks |
//! | `flock+fcntl:path` | both at once | all of both | a free lock |
//! | `fcntl+dotlock:path`, `flock+pidfile:path`, … | a kernel lock on the file, and a claim at `path.lock` | mail software | what the claim leaves |
//! | `memory:name`, `memory:` | nothing: threads of this process only; see [`Lock::in_memory`] | nobody | nothing |
//! | `postgres://…` (crate `sneck-postgres`) | an advisory lock | `pg_advisory_lock` | a free lock |
//! | `etcd://…` (crate `sneck-etcd`) | a key on a lease | `etcdctl lock` | a lock that is free when its lease has ended |
//! | `redis://…` (crate `sneck-redis`) | a key that expires | redis-py, Redlock | a lock that is held until its lease is over |
//!
//! # Tasks
//!
//! [`Lock::acquire_async`] is a future for any runtime (tokio, smol, a loop of your own) and needs no feature of this crate. It keeps no thread of the runtime asleep, may
//! be dropped at any point, and stands in the same line as threads do.
//!
//! # Leases and tokens
//!
//! A lock at a server is held on a lease: the server lets others in when it has not heard of the holder for `ttl` and the lock delay. A thread of the library says a word three times within the `ttl`
//! ([`LockBuilder::ttl`], usually 15 seconds). Dropping the guard ends the lease at once; a crash leaves the lock to its end.
//!
//! A holder that was stopped, or cut off, **loses** it: by its own clock, which counts suspend, when `ttl` has passed since it *sent* the last word that was heard, whatever the server says or does not say; that is the lock delay
//! before anybody else can get in ([`LockBuilder::lock_delay`], usually 5 seconds), and the time there is to stop. Losing is final. Who wants to know:
//!
//! | call | tells |
//! |---|---|
//! | [`Guard::standing`], [`Guard::ensure_held`] | now; asks no server |
//! | [`Guard::expires`] | until when it is sure |
//! | [`Guard::lost`] | a task |
//! | [`Guard::until_lost`] | a thread that waits |
//! | [`Guard::on_lost`] | a callback |
//! | [`Guard::release`] | at the end: [`ErrorKind::Lost`] |
//!
//! None of it is proof. Whoever is stopped between the last look and the write, and goes on an hour later, writes. Only what is written to can tell, by the **token**: it is higher with each holder, so a resource that
//! refuses lower ones than it has seen refuses whoever comes late. [`fence`] does that for files and for what is in memory, PROTOCOLS.md has it for SQL, etcd and Redis. *Without a check at the resource a lock with a
//! lease saves work, and prevents no mistake.* How good the tokens are differs: [`Requirement::DurableFencing`] refuses a place whose tokens may not survive its server ([`LockBuilder::require`]).
//!
//! # Who holds what
//!
//! [`Lock::holder`] tells who holds one lock, by its protocol. [`inspect`] tells everything that is held at a path, on the machine or below folders, whatever the protocol, and who waits for whom.
//!
//! # Pitfalls
//!
//! - `let _ = lock.acquire()` releases at once; `let _guard = …` holds.
//! - flock(2) and fcntl(2) locks do not see each other: all parties must use one family, or `flock+fcntl:path`, which excludes both.
//! - Whoever holds one lock and waits for another can wait for ever for somebody who does it the other way round. [`Lock::all`] takes several as one, and holds none
//!   while it waits.
//! - A process must not guard a file with POSIX record locks of its own and name it as a lock here: closing it drops them. Looking opens nothing.
//! - Removing a lock file while it is held lets a second party in. [`Guard::standing`] tells; better, never remove it.
//! - A number in a lock file means something on one machine and in one pid namespace only.
//! - A thread that acquires what it holds gets an error, not a deadlock: [`Reentry`]. A task waits for itself, unless it has an [`Owner`].
//! - A future that is neither polled nor dropped may hold the lock without knowing: [`Acquiring`].
//! - [`Lock::until_free`] says that a lock was free, not that it is: whoever must not be disturbed acquires it.
//! - A lock says who may go in now. It cannot stop somebody who believes to be in still: for that, check a fencing token at the resource.

// Tests may sleep, and write what they like.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod acquire;
mod breaking;
mod claim;
mod drive;
mod error;
pub mod fence;
mod guard;
mod hidden;
mod holder;
pub mod inspect;
pub mod lease;
mod lock;
mod observer;
mod place;
pub mod protocol;
mod queue;
mod stale;
mod sys;
mod tend;
pub mod text;
mod timeout;
mod vigil;
mod wait;

pub use breaking::Cleared;
pub use claim::{Claim, Mode, Party};
pub use drive::future::Acquiring;
pub use error::{Error, ErrorKind, Result};
pub use guard::Guard;
pub use holder::{Birth, Holder, Marked, Source};
pub use lock::{Lock, LockBuilder, Owner, Reentry};
pub use observer::{Event, Interrupt, Observer};
pub use place::{Place, Registry};
pub use protocol::{Clean, Record, Requirement, Sighting, Standing};
pub use stale::{Grounds, Stale, Verdict};
pub use timeout::{Deadline, Moment, Timeout};
pub use wait::Waiting;
