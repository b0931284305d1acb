//! How a lock is to be acquired: [`LockBuilder`], and the [`Settings`] that it makes.
//!
//! Not for: several locks as one (`parts.rs`).

use super::{Handle, Lock, NEXT_HANDLE, Owner, Reentry};
use crate::claim::{Mode, Party};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Terms;
use crate::observer::Observer;
use crate::place::{DEFAULT_SCHEME, Place, Registry};
use crate::protocol::{Leasing, Protocol, Record, Requirement, flock};
use crate::queue;
use crate::stale::Stale;
use crate::text;
use crate::timeout::Timeout;
use crate::wait::Waiting;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How a lock is to be acquired.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) timeout: Timeout,
    pub(crate) stale: Stale,
    pub(crate) reentry: Reentry,
    pub(crate) owner: Owner,
    pub(crate) waiting: Waiting,
    pub(crate) label: Option<String>,
    pub(crate) party: Party,
    pub(crate) terms: Terms,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// Makes a [`Lock`] that differs from the usual.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("job.lock");
/// use sneck::{Lock, Stale};
/// use std::time::Duration;
/// let lock = Lock::builder()
///     .timeout(Duration::from_secs(30))
///     .stale(Stale::Dead)
///     .label("nightly backup")
///     .observer(|event: &sneck::Event<'_>| eprintln!("{event:?}"))
///     .file("symlink", &path)?;
/// let guard = lock.acquire()?;
/// # drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct LockBuilder {
    pub(super) settings: Settings,
    /// As asked for; usual ones are no wish for a lease.
    ttl: Option<Duration>,
    delay: Option<Duration>,
    required: Vec<Requirement>,
    registry: Registry,
    record: Record,
}

impl LockBuilder {
    pub(super) fn new() -> LockBuilder {
        LockBuilder {
            settings: Settings {
                mode: Mode::Exclusive,
                timeout: Timeout::Forever,
                stale: Stale::Dead,
                reentry: Reentry::Refuse,
                owner: Owner::Thread,
                waiting: Waiting::Best,
                label: None,
                party: Party::this_process(),
                terms: Terms::USUAL,
                observer: None,
            },
            ttl: None,
            delay: None,
            required: Vec::new(),
            registry: Registry::local(),
            record: Record::None,
        }
    }

    /// Where the names of protocols are looked up. Usual: [`Registry::local`].
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = registry.clone();
        self
    }

    /// Exclusive (usual) or shared.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// How long [`Lock::acquire`] waits. Usual: for ever. Zero: one try.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.settings.timeout = timeout.into();
        self
    }

    /// Which claims of others may be removed. Usual: those whose holder is proved gone.
    pub fn stale(mut self, stale: Stale) -> Self {
        self.settings.stale = stale;
        self
    }

    /// What happens when an owner acquires what it holds already. Usual: an error.
    pub fn reentry(mut self, reentry: Reentry) -> Self {
        self.settings.reentry = reentry;
        self
    }

    /// Who acquires, as far as re-entry goes. Usual: the thread.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("session.lock");
    /// use sneck::{Lock, Owner, Reentry};
    /// let of = |session| {
    ///     let owner = Owner::Named(session);
    ///     Lock::builder().owner(owner).reentry(Reentry::Idempotent).file("flock", &path)
    /// };
    /// let _guard = of(7)?.acquire()?;
    /// let _again = of(7)?.acquire()?; // the same holding, whichever thread asks
    /// assert!(of(8)?.try_acquire().unwrap_err().is_held());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn owner(mut self, owner: Owner) -> Self {
        self.settings.owner = owner;
        self
    }

    /// How waiting is done. Usual: the best there is.
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.settings.waiting = waiting;
        self
    }

    /// A word for those who look, where the protocol has room for it.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.settings.label = Some(label.into());
        self
    }

    /// In whose name to claim. Usual: this process.
    pub fn party(mut self, party: Party) -> Self {
        self.settings.party = party;
        self
    }

    /// How long it lasts without a word from us, at a place that is leased (a server): then others may get it, after the lock delay. Usual: what the place says, else 15 seconds. Between is renewed three times
    /// by a thread of the library.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How much longer others are kept out after a lease has ended without a release, so that whoever lost it has time to stop. Usual: what the place says, else 5 seconds.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// What the place must be able to promise; one that cannot is refused. Usual: nothing.
    pub fn require(mut self, required: impl IntoIterator<Item = Requirement>) -> Self {
        self.required.extend(required);
        self
    }

    /// `flock` only: whether to write our number into the lock file while it is held. Usual: the content is left alone.
    pub fn record(mut self, record: Record) -> Self {
        self.record = record;
        self
    }

    /// Who is told of waiting, breaking and acquiring.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// The lock of this protocol at this path.
    ///
    /// # Errors
    /// As [`LockBuilder::at`].
    pub fn file(self, scheme: &str, path: impl AsRef<Path>) -> Result<Lock> {
        self.at(&Place::file(scheme, path))
    }

    /// The lock at this place. Its folder is looked at, nothing is opened yet.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: the protocol is unknown, the place makes no sense to it, or it has no records; a lease that makes no sense. [`ErrorKind::Unsupported`]: the place is not leased
    /// and a lease is asked for, or it lacks what is required.
    pub fn at(mut self, place: &Place) -> Result<Lock> {
        let protocol: Arc<dyn Protocol> = match self.record {
            Record::None => self.registry.protocol(place)?,
            record if place.scheme() == DEFAULT_SCHEME => {
                Arc::new(flock::at(place.clone(), record)?)
            }
            _ => {
                let what = format!("only flock can write a record, not {}", place.scheme());
                return Err(Error::new(ErrorKind::Usage, "read the settings", what).at(place));
            }
        };
        self.fit(&*protocol)?;
        Ok(self.of(protocol))
    }

    /// What depends on what the place can do.
    pub(super) fn fit(&mut self, protocol: &dyn Protocol) -> Result<()> {
        self.settings.terms = self.terms(protocol)?;
        self.must_meet(protocol)
    }

    fn terms(&self, protocol: &dyn Protocol) -> Result<Terms> {
        let place = protocol.place();
        let usual = protocol.terms();
        let ttl = self.ttl.unwrap_or(usual.ttl());
        let delay = self.delay.unwrap_or(usual.delay());
        let terms = Terms::new(ttl, delay).map_err(|e| e.at(place))?;
        let asked = self.ttl.or(self.delay).is_some();
        let unsupported =
            |what: String| Error::new(ErrorKind::Unsupported, "read the settings", what).at(place);
        match protocol.capabilities().lease {
            Leasing::None if asked => Err(unsupported(format!(
                "a lock of protocol {} has no lease: it is held until it is released or its holder is gone",
                place.scheme()
            ))
            .advise("leave the times out, or name a place at a server")),
            Leasing::Leased { shortest, .. } if terms.on_server() < shortest => {
                Err(unsupported(format!(
                    "this server holds for {} at least, not for {}",
                    text::span(shortest),
                    text::span(terms.on_server())
                ))
                .advise("ask for longer times"))
            }
            _ => Ok(terms),
        }
    }

    fn must_meet(&self, protocol: &dyn Protocol) -> Result<()> {
        let can = protocol.capabilities();
        let mut lacking = self
            .required
            .iter()
            .filter(|r| !r.is_met_by(&can))
            .peekable();
        if lacking.peek().is_none() {
            return Ok(());
        }
        let lacking: Vec<String> = lacking.map(ToString::to_string).collect();
        let what = format!(
            "this place cannot promise what is required: {}",
            lacking.join(", ")
        );
        Err(
            Error::new(ErrorKind::Unsupported, "read the settings", what)
                .at(protocol.place())
                .advise("name another place: `sneck protocols` shows what each can promise"),
        )
    }

    pub(super) fn of(self, protocol: Arc<dyn Protocol>) -> Lock {
        let mode = self.settings.mode;
        let part = |part: Arc<dyn Protocol>| queue::Part {
            lock: part.identity().into(),
            mode,
        };
        let parts = protocol.parts().into_iter().map(part).collect();
        self.made(protocol, parts)
    }

    pub(super) fn made(self, protocol: Arc<dyn Protocol>, parts: Vec<queue::Part>) -> Lock {
        // Now, and not at first use: a child forked while another thread finds it out would wait for that thread for ever.
        let identity = protocol.identity().into();
        Lock {
            handle: Arc::new(Handle {
                id: NEXT_HANDLE.fetch_add(1, Ordering::Relaxed),
                protocol,
                settings: self.settings,
                identity,
                parts,
                ground: AtomicU8::new(0),
            }),
        }
    }
}
