//! A stack: several locks taken as one, all or nothing. `flock+fcntl:path` is one at one path; [`crate::Lock::all`] makes one of any locks.
//!
//! For: trying all, giving back what was had when one is busy, holding and releasing all. Not for: how a `+` in a place is read
//! (`stack/written.rs`), what is said of several places at once (`stack/seen.rs`), waiting, and judging: the loop does both, of the part that is in the way.
//!
//! Downsides. No order: whoever waits for several gets them when all happen to be free together. Parts that are always held by one or the other, without a
//! gap that is common to all, keep a stack waiting for ever. Whoever is refused has held parts for an instant, in which a single try of somebody else's
//! is refused. A crash frees each part as that part's protocol does. A part that is lost is lost for the whole.
//!
//! Bytes: those of the parts.
//!
//! Why nobody waits for each other for ever: nothing is held during a wait. P takes A and then B, Q takes B and then A, in whatever order the programs
//! that wrote them thought right:
//! 1. P has A, Q has B. 2. P finds B busy and gives A back; then it waits for B, in the kernel's queue where there is one. 3. Q finds A free, or busy for the
//!    instant until P has given it back. 4. Q holds both, or has given B back and waits for A: in either case B comes free, and P wakes.
//!
//! Why not for long: 1. P and Q give back at once, and wait for what the other one gave back. 2. Both get it, find the other one's part busy and
//! give back again: in step, this could go on. 3. Each pauses for a time of chance between giving back and trying again, up to 0.1 ms first, up to
//! twice that each time, and in the end up to several times as long as one round takes it: soon one of them is done before the other one begins. The loop pauses (`acquire.rs`), and not this file: that one lets go of
//! its thread.
//!
//! A fixed order of the parts would spare all that among those who keep to it. But the others are programs that know nothing of it: `flock a flock b …` beside
//! `flock b flock a …`, mail software, other libraries.

mod seen;
mod written;

pub(crate) use written::{LINK, at};

use super::{
    Attempt, Blocked, Borrowed, Busy, Capabilities, Clean, Consistency, Contender, Crash, Endures,
    Gave, Ground, Held, Leasing, LiveMark, Mark, Modes, Order, Protocol, Reach, Removable, Removal,
    Restart, Right, Sighting, Standing, Stop, Tokens,
};
use crate::claim::{Claim, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Terms, Watch};
use crate::place::Place;
use crate::timeout::Moment;
use std::sync::Arc;
use std::time::Duration;

/// Several locks as one protocol.
///
/// For a registry that knows a stack by a name of its own; otherwise see [`crate::Lock::all`] and places such as `flock+fcntl:path`.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().to_owned();
/// use sneck::protocol::Stack;
/// use sneck::{Lock, Registry};
/// use std::sync::Arc;
/// let mut registry = Registry::local();
/// registry.register("both", |place| {
///     let part = |name: &str| {
///         let path = std::path::Path::new(place.rest()).join(name);
///         Registry::local().protocol(&sneck::Place::file("flock", path))
///     };
///     Ok(Arc::new(Stack::new(place.clone(), [part("a")?, part("b")?])?))
/// });
/// let place = registry.place(format!("both:{}", path.display()))?;
/// let _guard = Lock::builder().registry(&registry).at(&place)?.acquire()?;
/// assert!(Lock::new(path.join("b"))?.try_acquire().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stack {
    place: Place,
    parts: Arc<[Part]>,
}

/// One lock of a stack.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) mode: PartMode,
}

/// In which mode a part is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartMode {
    /// In that of the whole.
    AsAsked,
    /// In one of its own.
    Own(Mode),
}

impl Part {
    fn mode(&self, asked: Mode) -> Mode {
        match self.mode {
            PartMode::AsAsked => asked,
            PartMode::Own(mode) => mode,
        }
    }
}

impl Stack {
    /// These locks at once, each in the mode that is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: none, one of them twice, or two that cannot stand at the same path. [`ErrorKind::Unsupported`]: two that are one and the same on this file system.
    pub fn new(place: Place, parts: impl IntoIterator<Item = Arc<dyn Protocol>>) -> Result<Stack> {
        let part = |protocol| Part {
            protocol,
            mode: PartMode::AsAsked,
        };
        Stack::of(place, parts.into_iter().map(part).collect())
    }

    pub(crate) fn of(place: Place, parts: Vec<Part>) -> Result<Stack> {
        written::check(&place, &parts)?;
        Ok(Stack {
            place,
            parts: parts.into(),
        })
    }

    fn can(&self) -> impl Iterator<Item = Capabilities> {
        self.parts.iter().map(|part| part.protocol.capabilities())
    }
}

/// A lease that both of them take.
fn longest(one: Leasing, other: Leasing) -> Leasing {
    match (one, other) {
        (Leasing::None, any) | (any, Leasing::None) => any,
        (
            Leasing::Leased {
                shortest: a,
                step: s,
            },
            Leasing::Leased {
                shortest: b,
                step: t,
            },
        ) => Leasing::Leased {
            shortest: a.max(b),
            step: s.max(t),
        },
    }
}

impl Protocol for Stack {
    fn place(&self) -> &Place {
        &self.place
    }

    /// The same for every order of the parts.
    fn identity(&self) -> String {
        let mut identities: Vec<String> = self.parts().iter().map(|part| part.identity()).collect();
        identities.sort();
        // No name holds a zero byte.
        format!("all:{}", identities.join("\0"))
    }

    fn capabilities(&self) -> Capabilities {
        let modes = |can: &Capabilities| can.modes == Modes::SharedToo;
        let removable = |can: &Capabilities| can.removal == Removable::Yes;
        let mut claims = self.can().filter(removable).peekable();
        let some_claims = claims.peek().is_some();
        let tokens = |can: &Capabilities| can.tokens != Tokens::None;
        Capabilities {
            modes: if self.can().all(|can| modes(&can)) {
                Modes::SharedToo
            } else {
                Modes::Exclusive
            },
            // Each part may have one, but who is first in the queue of one part gives it back if another part is busy.
            order: Order::None,
            reach: self
                .can()
                .map(|can| can.reach)
                .max()
                .unwrap_or(Reach::Process),
            crash: if self.can().any(|can| can.crash == Crash::Stale) {
                Crash::Stale
            } else {
                Crash::Free
            },
            removal: if some_claims {
                Removable::Yes
            } else {
                Removable::No
            },
            // That of the claims, if there are any: a kernel lock needs none.
            mark: if some_claims && claims.all(|can| can.mark == LiveMark::Yes) {
                LiveMark::Yes
            } else {
                LiveMark::No
            },
            tokens: self
                .can()
                .find(tokens)
                .map_or(Tokens::None, |can| can.tokens),
            lease: self.can().map(|can| can.lease).fold(Leasing::None, longest),
            // One part that is free is enough to lose the whole.
            restart: if self.can().any(|can| can.restart == Restart::Freed) {
                Restart::Freed
            } else if self.can().all(|can| can.restart == Restart::NoServer) {
                Restart::NoServer
            } else {
                Restart::Survives
            },
            consistency: if self
                .can()
                .all(|can| can.consistency == Consistency::Linearizable)
            {
                Consistency::Linearizable
            } else {
                Consistency::UntilFailover
            },
        }
    }

    /// All parts get the same: the shortest time without a word that one of them asks for, and the longest delay.
    fn terms(&self) -> Terms {
        let leased = |part: &&Part| part.protocol.capabilities().lease != Leasing::None;
        let terms = self.parts.iter().filter(leased);
        let terms = terms.map(|part| part.protocol.terms());
        let shortest = |a: Terms, b: Terms| {
            let (ttl, delay) = (a.ttl().min(b.ttl()), a.delay().max(b.delay()));
            Terms::new(ttl, delay).unwrap_or(a)
        };
        terms.reduce(shortest).unwrap_or_default()
    }

    fn ground(&self) -> Ground {
        let network = |part: &Part| part.protocol.ground() == Ground::NetworkFiles;
        if self.parts.iter().any(network) {
            Ground::NetworkFiles
        } else {
            Ground::Local
        }
    }

    /// Those of a part that is a stack itself are its parts.
    fn parts(&self) -> Vec<Arc<dyn Protocol>> {
        written::flat(&self.parts)
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        let mut seats = Vec::with_capacity(self.parts.len());
        for part in &*self.parts {
            seats.push(Seat::new(part.clone(), claim)?);
        }
        let can_be_left =
            |can: Capabilities| can.crash == Crash::Stale && can.removal == Removable::Yes;
        Ok(Box::new(Claimant {
            seats,
            first: 0,
            endures: if self.can().all(can_be_left) {
                Endures::Yes
            } else {
                Endures::No
            },
        }))
    }

    fn inspect(&self) -> Result<Sighting> {
        seen::all(&self.parts)
    }

    /// The part whose claim it is removes it: to the others it is not what stands there.
    fn remove(&self, seen: &Mark, right: Right) -> Result<Removal> {
        let mut answer = Removal::Unsupported;
        for part in &*self.parts {
            match part.protocol.remove(seen, right)? {
                Removal::Unsupported => {}
                Removal::Changed => answer = Removal::Changed,
                removal => return Ok(removal),
            }
        }
        Ok(answer)
    }
}

/// One claimant of several.
#[derive(Debug)]
struct Claimant {
    seats: Vec<Seat>,
    /// The part that was in the way last: tried first.
    first: usize,
    endures: Endures,
}

/// One claimant of one of them.
#[derive(Debug)]
struct Seat {
    part: Part,
    claim: Arc<Claim>,
    /// None: it was had, and is asked for anew.
    contender: Option<Box<dyn Contender>>,
}

impl Seat {
    fn new(part: Part, whole: &Arc<Claim>) -> Result<Seat> {
        let mode = part.mode(whole.mode());
        if mode == Mode::Shared && part.protocol.capabilities().modes == Modes::Exclusive {
            return Err(Error::no_shared_mode(part.protocol.place()));
        }
        let claim = if mode == whole.mode() {
            whole.clone()
        } else {
            let label = whole.label().map(str::to_owned);
            Arc::new(Claim::new(mode, whole.party(), label, whole.terms()))
        };
        let mut seat = Seat {
            part,
            claim,
            contender: None,
        };
        // All before any is taken: what cannot be opened disturbs nobody.
        seat.contender()?;
        Ok(seat)
    }

    fn contender(&mut self) -> Result<&mut Box<dyn Contender>> {
        let contender = match self.contender.take() {
            Some(contender) => contender,
            None => {
                let contender = self.part.protocol.contend(&self.claim);
                contender.map_err(|e| e.at(self.part.protocol.place()))?
            }
        };
        Ok(self.contender.insert(contender))
    }

    fn attempt(&mut self) -> Result<Attempt> {
        let attempt = self.contender()?.attempt();
        let attempt = attempt.map_err(|e| e.at(self.part.protocol.place()))?;
        if matches!(attempt, Attempt::Held(_)) {
            self.contender = None;
        }
        Ok(attempt)
    }
}

impl Claimant {
    /// Try those that are not had yet, beginning with the one that was in the way last. All are had, or none.
    fn take(&mut self, mut had: Vec<Had>) -> Result<Attempt> {
        let count = self.seats.len();
        for index in (self.first..count).chain(0..self.first) {
            if had.iter().any(|had| had.index == index) {
                continue;
            }
            let seat = &mut self.seats[index];
            let mut busy = match seat.attempt() {
                Ok(Attempt::Held(held)) => {
                    had.push(Had::new(index, &seat.part, held));
                    continue;
                }
                Ok(Attempt::Busy(busy)) => busy,
                Err(error) => {
                    let _ = give_back(had);
                    return Err(error);
                }
            };
            self.first = index;
            if let Some(first) = had.first() {
                busy.gave = Gave::Parts(first.since.elapsed());
            }
            let part = seat.part.protocol.clone();
            give_back(had)?;
            return Ok(Attempt::Busy(Busy {
                // In a stack within a stack it is named already.
                part: busy.part.or(Some(part)),
                ..busy
            }));
        }
        Ok(Attempt::Held(Box::new(Holding {
            had,
            endures: self.endures,
        })))
    }
}

/// What was had is not needed after all. What was taken from us meanwhile need not be given back.
fn give_back(mut had: Vec<Had>) -> Result<()> {
    match release(&mut had) {
        Err(error) if error.kind() == ErrorKind::Lost => Ok(()),
        other => other,
    }
}

/// In reverse: whoever takes them in the same order finds the second free once the first is. All of them, even if one fails.
fn release(had: &mut [Had]) -> Result<()> {
    let mut ended = Ok(());
    for had in had.iter_mut().rev() {
        let released = had.held.release().map_err(|e| e.at(&had.place));
        ended = ended.and(released);
    }
    ended
}

impl Contender for Claimant {
    fn attempt(&mut self) -> Result<Attempt> {
        self.take(Vec::with_capacity(self.seats.len()))
    }

    fn block(&mut self, stop: &Stop) -> Result<Blocked> {
        let seat = &mut self.seats[self.first];
        let place = seat.part.protocol.place();
        let Some(contender) = &mut seat.contender else {
            return Ok(Blocked::Again);
        };
        let held = match contender.block(stop).map_err(|e| e.at(place))? {
            Blocked::Held(held) => held,
            other => return Ok(other),
        };
        seat.contender = None;
        let had = Had::new(self.first, &seat.part, held);
        Ok(match self.take(vec![had])? {
            Attempt::Held(held) => Blocked::Held(held),
            Attempt::Busy(busy) => Blocked::GaveBack(match busy.gave {
                Gave::Parts(after) => after,
                Gave::Nothing => Duration::ZERO,
            }),
        })
    }
}

/// One part that is held.
#[derive(Debug)]
struct Had {
    /// Which one.
    index: usize,
    place: Place,
    held: Box<dyn Held>,
    since: Moment,
    tending: Tending,
}

/// When a part is to be tended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tending {
    At(Moment),
    Never,
}

impl Had {
    fn new(index: usize, part: &Part, held: Box<dyn Held>) -> Had {
        let since = Moment::now();
        Had {
            index,
            place: part.protocol.place().clone(),
            held,
            since,
            tending: Tending::At(since),
        }
    }

    /// How long until it is to be tended again.
    fn tend(&mut self) -> Option<Duration> {
        let Tending::At(due) = self.tending else {
            return None;
        };
        if !due.until().is_zero() {
            return Some(due.until());
        }
        let next = self.held.tend();
        let due = next.and_then(|next| Moment::now().after(next));
        self.tending = due.map_or(Tending::Never, Tending::At);
        next
    }

    fn standing(&self) -> Standing {
        match self.held.standing() {
            Standing::Lost(why) => Standing::Lost(format!("{}: {why}", self.place)),
            other => other,
        }
    }
}

/// All of them, in the order in which they were had.
#[derive(Debug)]
struct Holding {
    had: Vec<Had>,
    /// Whether all of them can be left.
    endures: Endures,
}

impl Held for Holding {
    fn release(&mut self) -> Result<()> {
        release(&mut self.had)
    }

    fn standing(&self) -> Standing {
        let mut standing = Standing::Held;
        for had in &self.had {
            match had.standing() {
                Standing::Held => {}
                Standing::Released => standing = Standing::Released,
                lost @ Standing::Lost(_) => return lost,
            }
        }
        standing
    }

    fn standing_of(&self, part: usize) -> Standing {
        let had = self.had.iter().find(|had| had.index == part);
        had.map_or_else(|| self.standing(), Had::standing)
    }

    fn carry(&self) -> Vec<Borrowed<'_>> {
        self.had.iter().flat_map(|had| had.held.carry()).collect()
    }

    fn token(&self) -> Option<u64> {
        let mut by_part: Vec<&Had> = self.had.iter().collect();
        by_part.sort_by_key(|had| had.index);
        by_part.iter().find_map(|had| had.held.token())
    }

    fn token_of(&self, part: usize) -> Option<u64> {
        let had = self.had.iter().find(|had| had.index == part);
        had.and_then(|had| had.held.token())
    }

    fn watch(&self) -> Option<Watch> {
        let watches: Vec<Watch> = self.had.iter().filter_map(|had| had.held.watch()).collect();
        (!watches.is_empty()).then(|| Watch::first_of(watches))
    }

    fn expires(&self) -> Option<Moment> {
        self.had.iter().filter_map(|had| had.held.expires()).min()
    }

    /// Clean only if every part says so: who holds one part alone leaves no trace at the others.
    fn found(&self) -> Clean {
        let found = |what| move |had: &Had| had.held.found() == what;
        if self.had.iter().any(found(Clean::No)) {
            Clean::No
        } else if self.had.iter().all(found(Clean::Yes)) {
            Clean::Yes
        } else {
            Clean::Unknown
        }
    }

    fn tend(&mut self) -> Option<Duration> {
        self.had.iter_mut().filter_map(Had::tend).min()
    }

    /// None of them unless all go on: what was left cannot be taken back.
    fn leave(&mut self) -> Endures {
        if self.endures == Endures::Yes {
            for had in &mut self.had {
                if had.held.leave() == Endures::No {
                    return Endures::No;
                }
            }
        }
        self.endures
    }
}

#[cfg(test)]
mod tests;
