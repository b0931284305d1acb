//! What the console sends (Ctrl-C, Ctrl-Break, the window's closing) ends every sleep, as a signal does elsewhere, so that observers are asked.
//!
//! There are no signals on Windows; a handler for the console runs in a thread of the system's own. Ours is called after those that were added later and before
//! those that were added earlier, says that it has handled nothing, and so changes nothing for them: a program that has none of its own ends, as ever.
//! Not for: deciding what an interrupt means.

use super::handle::Event;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use windows_sys::Win32::Foundation::{FALSE, HANDLE, TRUE};
use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
use windows_sys::Win32::System::Threading::{SetEvent, WakeByAddressAll};
use windows_sys::core::BOOL;

/// How often something came.
static CAME: AtomicU32 = AtomicU32::new(0);
static LISTENS: AtomicBool = AtomicBool::new(false);
static ASLEEP: Mutex<Asleep> = Mutex::new(Asleep {
    next: 0,
    all: Vec::new(),
});

/// How often, and at which intervals, those who were about to sleep are woken again.
const REPEATS: usize = 200;
const REPEAT: Duration = Duration::from_millis(5);

struct Asleep {
    next: u64,
    all: Vec<Entry>,
}

struct Entry {
    number: u64,
    /// What had come when it went to sleep.
    before: u32,
    on: On,
}

#[derive(Clone, Copy)]
enum On {
    Word(*mut u32),
    Event(HANDLE),
}

// SAFETY: only the address of the word counts, and a handle belongs to the whole process.
unsafe impl Send for On {}

fn asleep() -> MutexGuard<'static, Asleep> {
    ASLEEP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread that is about to sleep.
#[derive(Debug)]
pub(crate) struct Sleeper {
    number: u64,
    before: u32,
}

impl Sleeper {
    /// On a word, until it is dropped.
    pub(crate) fn on_word(word: &AtomicU32) -> Sleeper {
        Sleeper::on(On::Word(word.as_ptr()))
    }

    /// On an event among others, which is set then.
    pub(crate) fn on_event(event: &Event) -> Sleeper {
        Sleeper::on(On::Event(event.raw()))
    }

    fn on(on: On) -> Sleeper {
        if !LISTENS.swap(true, Ordering::AcqRel) {
            // SAFETY: the handler has the right type and lives as long as the program. Without a console it is never called.
            unsafe { SetConsoleCtrlHandler(Some(came), TRUE) };
        }
        let before = CAME.load(Ordering::Acquire);
        let mut asleep = asleep();
        asleep.next += 1;
        let number = asleep.next;
        asleep.all.push(Entry { number, before, on });
        Sleeper { number, before }
    }

    /// Whether something came since.
    pub(crate) fn is_interrupted(&self) -> bool {
        CAME.load(Ordering::Acquire) != self.before
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let mut asleep = asleep();
        if let Some(at) = asleep.all.iter().position(|e| e.number == self.number) {
            asleep.all.swap_remove(at);
        }
    }
}

/// Wake all who sleep, and go on until all of them are awake: 1. A looks whether something came. 2. It comes, and wakes all who sleep. 3. A sleeps.
// SAFETY: the system calls it with a number, in a thread of its own; it does not unwind.
unsafe extern "system" fn came(_: u32) -> BOOL {
    let now = CAME.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    for _ in 0..REPEATS {
        let asleep = asleep();
        let mut left = false;
        for entry in asleep.all.iter().filter(|entry| entry.before != now) {
            left = true;
            match entry.on {
                // SAFETY: whoever is on the list sleeps on this word still, or is about to take itself off; only the address counts.
                On::Word(word) => unsafe { WakeByAddressAll(word.cast_const().cast()) },
                // SAFETY: the event is open as long as its sleeper is on the list, which our mutex keeps it on.
                On::Event(event) => unsafe {
                    SetEvent(event);
                },
            }
        }
        drop(asleep);
        if !left {
            break;
        }
        thread::sleep(REPEAT);
    }
    FALSE
}
