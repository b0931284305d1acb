//! The console: what Ctrl-C and its like do to sneck, and what can be drawn. Not for: ending the command.
//!
//! The console tells everybody who is on it, sneck and the command at once:
//!
//! | event | before the command runs | while it runs |
//! |---|---|---|
//! | Ctrl-C | ends sneck, with status 0xC000013A (STATUS_CONTROL_C_EXIT) | is the command's; passed on as Ctrl-Break to one that has a group of its own, since Windows tells such a group nothing of Ctrl-C |
//! | Ctrl-Break | the same | is the command's |
//! | the window is closed, the user logs off, the machine is shut down | the same | the command has been told too, and has the time that Windows gives: sneck ends after it, or is ended when the time is over |
//!
//! Without us the system would end sneck before the command runs, with that status on Windows and with 0 under wine 8. Whoever starts sneck with Ctrl-C ignored (`start /b`, CREATE_NEW_PROCESS_GROUP) has it ignored by the command too: the system hands that down.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use windows_sys::Win32::Foundation::STATUS_CONTROL_C_EXIT;
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::{ExitProcess, INFINITE, Sleep};
use windows_sys::core::BOOL;

use super::job::check;

/// Whether there is a command that the events are for.
static RUNS: AtomicBool = AtomicBool::new(false);
/// The group that is told of Ctrl-C by us; 0: none.
static GROUP: AtomicU32 = AtomicU32::new(0);

/// From now on events are sneck's business: they end it until there is a command.
pub(super) fn listen() -> io::Result<()> {
    // SAFETY: the handler has the right type, and stays where it is as long as the program is loaded.
    check(unsafe { SetConsoleCtrlHandler(Some(hear), 1) })
}

/// From now on they are the command's, which may have a group of its own.
pub(super) fn command_runs(group: Option<u32>) {
    GROUP.store(group.unwrap_or(0), SeqCst);
    RUNS.store(true, SeqCst);
}

/// Sends a group Ctrl-Break: all of its processes that are on our console.
pub(super) fn send_break(group: u32) -> io::Result<()> {
    // SAFETY: takes numbers. The group is never 0, which would mean everybody on the console.
    check(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) })
}

/// Called by the system in a thread of its own. 1: that was all.
extern "system" fn hear(event: u32) -> BOOL {
    if !RUNS.load(SeqCst) {
        // As the system itself does it. What is held by then is free, or a claim that names nobody who lives.
        // SAFETY: takes a number, and does not come back.
        unsafe { ExitProcess(STATUS_CONTROL_C_EXIT as u32) };
    }
    match event {
        CTRL_C_EVENT => {
            let group = GROUP.load(SeqCst);
            if group != 0 {
                // It has just ended, or is on no console: then there is nobody to tell.
                let _ = send_break(group);
            }
            1
        }
        CTRL_BREAK_EVENT => 1,
        // Windows ends sneck as soon as this returns, or when its time is over. The main thread ends it before, if the command goes in time.
        _ => loop {
            // SAFETY: takes a number.
            unsafe { Sleep(INFINITE) };
        },
    }
}

/// There is no background for jobs of a shell: whoever is on a console may draw on it.
pub(crate) fn in_foreground() -> bool {
    io::stderr().is_terminal()
}

/// A console can; TERM is set only by what came from Unix.
pub(crate) fn can_erase() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
