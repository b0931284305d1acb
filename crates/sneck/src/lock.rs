//! The handle: [`Lock`], made by [`LockBuilder`].
//!
//! | file | what it holds |
//! |---|---|
//! | `builder.rs` | how a lock is to be acquired: [`LockBuilder`] |
//! | `parts.rs` | several locks as one |
//! | `clearing.rs` | removing claims without taking the lock |

mod builder;
mod clearing;
mod parts;

pub use builder::LockBuilder;
pub(crate) use builder::Settings;

use crate::acquire::Acquisition;
use crate::drive::{self, future::Acquiring};
use crate::error::Result;
use crate::guard::Guard;
use crate::lease::Terms;
use crate::place::{DEFAULT_SCHEME, Place};
use crate::protocol::memory::Memory;
use crate::protocol::{Capabilities, Ground, Leasing, Protocol, Sighting};
use crate::queue::{self, Acquirer};
use crate::stale::{self, Judge};
use crate::timeout::{Deadline, Moment, Timeout};
use crate::vigil::Vigil;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What happens when an [`Owner`] (usually a thread) acquires a lock that it holds already.
///
/// Others of the process always wait their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reentry {
    /// An error at once ([`ErrorKind::Reentrant`](crate::ErrorKind::Reentrant)), rather than a wait that never ends.
    #[default]
    Refuse,
    /// Wait like everybody else: right where the guard has gone to another thread.
    Wait,
    /// Another guard of the same holding; the last one releases.
    Idempotent,
}

/// Who acquires: whom a [`Reentry`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Owner {
    /// The thread. A task is nobody in particular then, since its thread runs others too: one that acquires what it holds itself waits, without end.
    #[default]
    Thread,
    /// Whoever uses this handle or a clone of it, in any thread or task.
    Handle,
    /// Whoever the program calls by this number: a task, a session, a user.
    Named(u64),
}

/// A lock: a place that at most one party (or many readers) may hold.
///
/// The handle itself holds nothing and opens nothing; share it or make another one, they all mean the same lock.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("app.lock");
/// use sneck::Lock;
/// let lock = Lock::new(&path)?;
/// let guard = lock.acquire()?;
/// let busy = Lock::new(&path)?.try_acquire().unwrap_err();
/// assert!(busy.is_held());
/// assert_eq!(busy.holders()[0].pid, Some(std::process::id()));
/// drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lock {
    handle: Arc<Handle>,
}

static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// What a lock and its clones share.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) id: u64,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) settings: Settings,
    pub(crate) identity: Arc<str>,
    /// As [`Protocol::parts`]; empty: it is one.
    pub(crate) parts: Vec<queue::Part>,
    /// Whether its waits have met a network file system: see [`Handle::lies_on`].
    ground: AtomicU8,
}

const GROUND_LOCAL: u8 = 1;
const GROUND_NETWORK: u8 = 2;

impl Handle {
    /// What kind of ground it lay on when a wait first asked: for how to sleep only, since a file system can be mounted there later. Asking
    /// costs as much as a try, on the way of each hand-over.
    pub(crate) fn lies_on(&self) -> Ground {
        match self.ground.load(Ordering::Relaxed) {
            GROUND_LOCAL => Ground::Local,
            GROUND_NETWORK => Ground::NetworkFiles,
            _ => {
                let ground = self.protocol.ground();
                let known = match ground {
                    Ground::Local => GROUND_LOCAL,
                    Ground::NetworkFiles => GROUND_NETWORK,
                };
                self.ground.store(known, Ordering::Relaxed);
                ground
            }
        }
    }

    /// Whether this process holds it: all of it.
    pub(crate) fn is_held_in_this_process(&self) -> bool {
        let mut parts = self.parts.iter();
        match self.parts.len() {
            0 => queue::held_in_this_process(&self.identity),
            _ => parts.all(|part| queue::held_in_this_process(&part.lock)),
        }
    }
}

impl Lock {
    /// The flock(2) lock at this path, with everything as usual: exclusive, waiting for ever.
    ///
    /// The path is made absolute now. The file is made when the lock is first acquired, and stays.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if the path does not end in a file name.
    pub fn new(path: impl AsRef<Path>) -> Result<Lock> {
        Lock::builder().file(DEFAULT_SCHEME, path)
    }

    /// A lock that is nowhere but in memory, for the threads of this process: where a program wants a [`Lock`] and there is nothing to
    /// guard against other processes. Each call makes another lock; clones mean the same one.
    ///
    /// ```
    /// use sneck::Lock;
    /// let lock = Lock::in_memory();
    /// let guard = lock.acquire()?;
    /// assert!(lock.clone().try_acquire().unwrap_err().is_held());
    /// assert!(Lock::in_memory().try_acquire().is_ok());
    /// # drop(guard);
    /// # Ok::<(), sneck::Error>(())
    /// ```
    pub fn in_memory() -> Lock {
        Lock::builder().of(Arc::new(Memory::new(Place::file("memory", ""))))
    }

    /// Anything else.
    pub fn builder() -> LockBuilder {
        LockBuilder::new()
    }

    /// Acquire, waiting as long as the builder's timeout says (usually for ever).
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut), or [`ErrorKind::Busy`](crate::ErrorKind::Busy) with no time to wait: held by somebody else, who is named.
    /// [`ErrorKind::Reentrant`](crate::ErrorKind::Reentrant): this thread holds it. [`ErrorKind::Foreign`](crate::ErrorKind::Foreign), [`ErrorKind::Damaged`](crate::ErrorKind::Damaged): what stands there is no lock, or makes no
    /// sense. [`ErrorKind::NoPermission`](crate::ErrorKind::NoPermission), [`ErrorKind::CannotCreate`](crate::ErrorKind::CannotCreate), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable), [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub fn acquire(&self) -> Result<Guard> {
        self.acquire_until(self.handle.settings.timeout)
    }

    /// Acquire if it is free right now.
    ///
    /// # Errors
    /// As [`Lock::acquire`]; held by somebody else is [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    pub fn try_acquire(&self) -> Result<Guard> {
        self.acquire_until(Timeout::Once)
    }

    /// Acquire, waiting at most this long. Zero is one try.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn acquire_within(&self, wait: Duration) -> Result<Guard> {
        self.acquire_until(Timeout::from(wait))
    }

    /// Acquire before a moment, or by any other [`Timeout`].
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn acquire_until(&self, deadline: impl Into<Deadline>) -> Result<Guard> {
        let acquirer = self.acquirer(Acquirer::Thread(thread::current().id()));
        let machine = Acquisition::new(self.handle.clone(), acquirer, deadline.into())?;
        drive::block::acquire(machine)
    }

    /// Wait until nobody holds it, *without taking it*, not even for an instant: nobody who tries meanwhile is refused because of this, and nothing is made. By the
    /// time this returns another may hold it: to do something that nobody else does meanwhile, acquire it. [`Timeout::Once`] is one look.
    ///
    /// Free is what one who tried with the same settings would get: in [`Mode::Shared`](crate::Mode::Shared) other shared holders are in nobody's way, and a claim whose holder is
    /// proved gone is no obstacle if the policy ([`LockBuilder::stale`], but never [`Stale::Force`](crate::Stale::Force)) lets the next one remove it. It is left where it is.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("build.lock");
    /// use sneck::{Lock, Timeout};
    /// use std::time::Duration;
    /// let lock = Lock::new(&path)?;
    /// lock.until_free(Timeout::Forever)?;
    /// assert!(!path.exists(), "nothing was made");
    ///
    /// let guard = lock.acquire()?;
    /// let other = std::thread::spawn(move || lock.until_free(Timeout::After(Duration::from_secs(60))));
    /// drop(guard);
    /// other.join().expect("no panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut), or [`ErrorKind::Busy`](crate::ErrorKind::Busy) with no time to wait: still held, by those who are named. [`ErrorKind::Reentrant`](crate::ErrorKind::Reentrant): by this owner itself.
    /// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted): a signal handler ran, and the observer gave up. [`ErrorKind::Damaged`](crate::ErrorKind::Damaged): at the end a claim still made no sense.
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): from here nobody can see whether it is free (inside a pid namespace, say), or the protocol has no shared mode.
    /// Otherwise as [`Lock::holder`], and [`ErrorKind::Foreign`](crate::ErrorKind::Foreign).
    pub fn until_free(&self, deadline: impl Into<Deadline>) -> Result<()> {
        let acquirer = self.acquirer(Acquirer::Thread(thread::current().id()));
        Vigil::new(&self.handle, acquirer, deadline.into())?.keep()
    }

    fn acquirer(&self, usual: Acquirer) -> Acquirer {
        self.called(self.handle.settings.owner, usual)
    }

    fn called(&self, owner: Owner, usual: Acquirer) -> Acquirer {
        match owner {
            Owner::Thread => usual,
            Owner::Handle => Acquirer::Handle(self.handle.id),
            Owner::Named(number) => Acquirer::Named(number),
        }
    }

    /// The same for a task of any async runtime: it waits without keeping a thread asleep, and as long as the builder's timeout says (usually for ever).
    ///
    /// Of all tasks of the process at most one for each contended lock, and 16 in all, stand in the kernel's queue, each with a thread of ours that sleeps for it. Others wait their
    /// turn in the process's own line, first come, first served; and where more than 16 locks are held by other processes at a time, the rest waits on events, which is less
    /// fair: whoever stands in the kernel's queue gets those locks first.
    ///
    /// A task is nobody in particular (see [`Owner`]): one that acquires what it holds itself waits without end, as with a runtime's own mutex. The guard
    /// may be kept across `.await` and dropped anywhere. Dropping it talks to the server where a server keeps the lock. A poll makes the system calls of a try, and gives a holder that has
    /// ended and is about to be reaped a moment (0.1 s at most) to have its symbolic link removed; it never waits for a holder that lives.
    ///
    /// ```
    /// # fn block_on<F: Future>(future: F) -> F::Output { pollster(future) }
    /// # fn pollster<F: Future>(future: F) -> F::Output {
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(out) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) { return out }
    /// #         std::thread::park();
    /// #     }
    /// # }
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("app.lock");
    /// # block_on(async {
    /// use sneck::Lock;
    /// let lock = Lock::new(&path)?;
    /// let guard = lock.acquire_async().await?;
    /// // … .await …
    /// guard.release()?;
    /// # Ok::<(), sneck::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Lock::acquire`]; [`ErrorKind::Usage`](crate::ErrorKind::Usage) for [`Reentry::Idempotent`] without an [`Owner`].
    pub fn acquire_async(&self) -> Acquiring {
        self.acquire_async_until(self.handle.settings.timeout)
    }

    /// The same, waiting at most this long from now. Zero is one try.
    ///
    /// # Errors
    /// As [`Lock::acquire_async`].
    pub fn acquire_async_within(&self, wait: Duration) -> Acquiring {
        self.acquire_async_until(Timeout::from(wait))
    }

    /// The same, before a moment or by any other [`Timeout`], which is counted from now and not from the first poll.
    ///
    /// # Errors
    /// As [`Lock::acquire_async`].
    pub fn acquire_async_until(&self, deadline: impl Into<Deadline>) -> Acquiring {
        let acquirer = self.acquirer(Acquirer::SomeTask);
        Acquiring::new(self.handle.clone(), acquirer, deadline.into())
    }

    /// The same, in the name of this owner, whatever the builder said: for a program that can tell its tasks apart. So one that acquires what it holds itself
    /// gets an error rather than waiting without end, or counts with [`Reentry::Idempotent`].
    ///
    /// # Errors
    /// As [`Lock::acquire_async`], and [`ErrorKind::Reentrant`](crate::ErrorKind::Reentrant).
    pub fn acquire_async_by(&self, owner: Owner, deadline: impl Into<Deadline>) -> Acquiring {
        let acquirer = self.called(owner, Acquirer::SomeTask);
        Acquiring::new(self.handle.clone(), acquirer, deadline.into())
    }

    /// What stands at the place right now, and who holds it. Without side effects: nothing is opened that could disturb a holder, nothing
    /// is tried, nothing is removed. By the time you look at the answer it may be wrong.
    ///
    /// # Errors
    /// The place cannot be looked at.
    pub fn holder(&self) -> Result<Sighting> {
        self.handle
            .protocol
            .inspect()
            .map_err(|e| e.at(self.handle.protocol.place()))
    }

    /// Who waits for it, first the one who is next, where the place shows them: servers with a queue of their own do. Threads of this process that wait in its line are
    /// one there, the one that is first. Nothing is taken or changed.
    ///
    /// # Errors
    /// As [`Lock::holder`].
    pub fn waiters(&self) -> Result<Vec<crate::Holder>> {
        self.handle
            .protocol
            .waiters()
            .map_err(|e| e.at(self.handle.protocol.place()))
    }

    /// What is known about whether the holder of a file claim lives. None where the kernel or a server vouches for the holder.
    ///
    /// # Errors
    /// As [`Lock::holder`].
    pub fn verdict(&self, seen: &Sighting) -> Option<crate::Verdict> {
        stale::judge_sighting(seen, self.handle.protocol.ground(), self.judge())
    }

    fn judge(&self) -> Judge {
        Judge {
            party: self.handle.settings.party,
            holds: self.is_held_in_this_process(),
        }
    }

    /// Whether it is held through this handle or a clone of it, in any thread. One of three questions:
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("app.lock");
    /// use sneck::Lock;
    /// let (lock, other) = (Lock::new(&path)?, Lock::new(&path)?);
    /// let _guard = lock.acquire()?;
    /// assert!(lock.is_held_by_this_handle() && !other.is_held_by_this_handle());
    /// assert!(other.is_held_in_this_process());
    /// // Whoever holds it, of all processes:
    /// assert_eq!(other.holder()?.holders()[0].pid, Some(std::process::id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_held_by_this_handle(&self) -> bool {
        queue::held_by_handle(&self.handle.identity, self.handle.id)
    }

    /// Whether this process holds it, through any handle and in any thread; of several locks that are taken as one, whether it holds each.
    pub fn is_held_in_this_process(&self) -> bool {
        self.handle.is_held_in_this_process()
    }

    /// What the protocol can and cannot promise here.
    pub fn capabilities(&self) -> Capabilities {
        self.handle.protocol.capabilities()
    }

    /// How long it lasts without a word from its holder, and how much longer others are kept out: as asked for, or as the place says. None: nothing is leased here.
    pub fn terms(&self) -> Option<Terms> {
        (self.capabilities().lease != Leasing::None).then_some(self.handle.settings.terms)
    }

    /// Which lock.
    pub fn place(&self) -> &Place {
        self.handle.protocol.place()
    }
}

impl From<Moment> for Timeout {
    /// What is left until then.
    fn from(moment: Moment) -> Timeout {
        Timeout::from(moment.until())
    }
}
