//! Descriptors that a forked child must not keep, and how to tell that one was forked.
//!
//! A child made by fork(2) shares the parent's open file descriptions. If it unlocked one, it would free the
//! parent's lock; if it kept one, the lock would outlive the parent. So a handler that runs in every forked child closes the
//! registered descriptors (close, never unlock) and counts the fork; whoever holds a copy of a guard sees the count
//! and does nothing.
//!
//! Not covered: clone(2) without libc's fork, for which no handler runs; a fork in the few instructions between opening a
//! descriptor and registering it (the child then keeps a copy, which the owner's unlock frees all the same).

use rustix::fd::{AsFd, AsRawFd, RawFd};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

const CHUNK: usize = 1024;
/// One flag a descriptor number: set means "close me in a forked child".
type Chunk = [AtomicBool; CHUNK];
/// Chunks are made when first needed and never freed, so the handler can walk them without a lock. Numbers beyond a
/// million are not registered: their copies stay open in a child, and inert.
static CHUNKS: [AtomicPtr<Chunk>; CHUNK] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNK];

/// How many forks lie between this process and the one that loaded the library.
pub(crate) fn generation() -> u32 {
    // No Once: a child forked while another thread is in it would wait for that thread for ever. Two threads may both come here: the
    // handler then runs twice in a child, which counts two forks and closes nothing twice.
    if !WATCHED.load(Ordering::Acquire) {
        // SAFETY: `in_child` has the C ABI, never unwinds and lives as long as the program; it calls close(2) and touches atomics
        // only, which is allowed in the forked child of a multi-threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        WATCHED.store(true, Ordering::Release);
    }
    GENERATION.load(Ordering::Acquire)
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    for (block, chunk) in CHUNKS.iter().enumerate() {
        // SAFETY: the pointer is null or came from Box::leak in `flag` and is never freed.
        let Some(chunk) = (unsafe { chunk.load(Ordering::Acquire).as_ref() }) else {
            continue;
        };
        for (index, flag) in chunk.iter().enumerate() {
            if flag.swap(false, Ordering::AcqRel) {
                let number = (block * CHUNK + index) as RawFd;
                // SAFETY: the flag says that an `Unshared` of the parent owns this number; its copy in this child checks the
                // generation and will neither use nor close it.
                unsafe { libc::close(number) };
            }
        }
    }
}

fn flag(number: RawFd) -> Option<&'static AtomicBool> {
    let number = usize::try_from(number).ok()?;
    let place = CHUNKS.get(number / CHUNK)?;
    let mut chunk = place.load(Ordering::Acquire);
    if chunk.is_null() {
        let fresh = Box::leak(Box::new([const { AtomicBool::new(false) }; CHUNK]));
        let fresh: *mut Chunk = fresh;
        chunk = match place.compare_exchange(
            ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: `fresh` was leaked three lines above and lost the race: nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                other
            }
        };
    }
    // SAFETY: not null, made by Box::leak, never freed, and only ever shared.
    let chunk: &'static Chunk = unsafe { &*chunk };
    Some(&chunk[number % CHUNK])
}

/// Something with a descriptor that belongs to this process alone: a forked child closes its copy at once and never
/// touches it again, the owner closes it on drop.
#[derive(Debug)]
pub struct Unshared<T: AsFd> {
    inner: ManuallyDrop<T>,
    number: RawFd,
    generation: u32,
}

impl<T: AsFd> Unshared<T> {
    /// Take charge of a descriptor.
    pub fn new(inner: T) -> Self {
        let generation = generation();
        let number = inner.as_fd().as_raw_fd();
        if let Some(flag) = flag(number) {
            flag.store(true, Ordering::Release);
        }
        Unshared {
            inner: ManuallyDrop::new(inner),
            number,
            generation,
        }
    }

    /// Take it back, to be closed or passed on by the caller. None in a forked child, whose copy is closed already.
    pub fn into_inner(self) -> Option<T> {
        let mut own = ManuallyDrop::new(self);
        if !own.is_ours() {
            return None;
        }
        own.unregister();
        // SAFETY: `own` is never dropped and not used again, so this is the only owner from here on.
        Some(unsafe { ManuallyDrop::take(&mut own.inner) })
    }

    /// Once closed or given away, the number may belong to somebody else, whose child must keep it: unregister first.
    fn unregister(&self) {
        if let Some(flag) = flag(self.number) {
            flag.store(false, Ordering::Release);
        }
    }

    /// Whether this is the process that opened it. In a forked child the number may mean another file by now: do not
    /// use it there.
    pub fn is_ours(&self) -> bool {
        self.generation == generation()
    }
}

impl<T: AsFd> Deref for Unshared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsFd> DerefMut for Unshared<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: AsFd> Drop for Unshared<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        self.unregister();
        // SAFETY: `into_inner`, the only one to take `inner`, lets no drop follow; and drop runs once.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
    }
}

/// A value of this process: a forked child gets a fresh one, whatever state the parent's was in. The parent's mutexes may be held by threads that
/// the child does not have.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<(u32, T)>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess {
            current: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The value, made now if this process has none yet. The parent's is left as it was, for good.
    pub(crate) fn get(&self, make: impl Fn() -> T) -> &'static T {
        let generation = generation();
        let mut current = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or leaked below and never freed.
            if let Some((made_in, value)) = unsafe { current.as_ref() } {
                if *made_in == generation {
                    return value;
                }
            }
            let fresh: *mut (u32, T) = Box::into_raw(Box::new((generation, make())));
            match self
                .current
                .compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => current = fresh,
                Err(other) => {
                    // SAFETY: made just above and seen by nobody else.
                    drop(unsafe { Box::from_raw(fresh) });
                    current = other;
                }
            }
        }
    }
}
