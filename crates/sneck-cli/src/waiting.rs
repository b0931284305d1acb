//! The line that says what is waited for and who holds it, once the wait has lasted a second.
//!
//! For: one live line on a terminal (it moves, counts the time and is erased at the end), or one plain line elsewhere.
//! Not for: errors, and not for waiting itself. The main thread sleeps in the kernel and must not be woken for this, so
//! a thread of its own, to which no signal is delivered, does it all.
//!
//! What is shown was made safe for a terminal by whoever made the text; here it is only cut to the terminal's width.

// A thread that only draws: no signal reaches it, and a suspended machine shows nobody anything.
#![allow(clippy::disallowed_methods)]

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::sys;

/// A wait shorter than this is nobody's business.
const SILENCE: Duration = Duration::from_secs(1);

/// How often the live line moves.
const TICK: Duration = Duration::from_millis(250);

/// How often the live line asks again who holds the lock.
const LOOK: Duration = Duration::from_secs(1);

/// How much sneck says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verbosity {
    /// Errors only (`-q`).
    Quiet,
    #[default]
    Normal,
    /// Each step (`-v`).
    Verbose,
}

/// Prints a line on stderr whole, in one write. There is nothing to be done if that fails.
pub(crate) fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Shows the line from one second after it was made until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    /// None with `-q`.
    shared: Option<Arc<Shared>>,
}

/// Between the thread that waits and the thread that shows it. Whoever writes to stderr holds the mutex; nobody holds it
/// while asking who holds the lock, which may take long.
#[derive(Debug, Default)]
struct Shared {
    shown: Mutex<Shown>,
    over: Condvar,
}

#[derive(Debug, Default)]
enum Shown {
    /// Nothing, or nothing that needs to be erased.
    #[default]
    Nothing,
    Live(ProgressBar),
    /// The wait is over: stderr belongs to others.
    Over,
}

impl WaitingLine {
    /// Begins to wait. `look` says for which lock, and who holds it as far as it knows; it is asked on the thread that shows
    /// the line, and not before there is one to show.
    pub(crate) fn new(
        verbosity: Verbosity,
        look: impl Fn() -> (String, String) + Send + 'static,
    ) -> Self {
        Self::after(SILENCE, verbosity, look)
    }

    fn after(
        silence: Duration,
        verbosity: Verbosity,
        look: impl Fn() -> (String, String) + Send + 'static,
    ) -> Self {
        if verbosity == Verbosity::Quiet {
            return WaitingLine { shared: None };
        }
        let shared = Arc::new(Shared::default());
        let line = Line {
            look,
            since: Instant::now(),
            shared: Arc::clone(&shared),
        };
        // Without a thread to be had nothing is shown, which is no reason not to wait. Nobody waits for its end: it
        // touches nothing once the wait is over.
        let _ = sys::spawn_without_signals("waiting line", move || line.show(silence));
        WaitingLine {
            shared: Some(shared),
        }
    }

    /// Prints a line of its own, without tearing the live one. Nothing with `-q`.
    pub(crate) fn note(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if let Some(shared) = &self.shared {
            match &*shared.shown() {
                Shown::Live(bar) if sys::in_foreground() => bar.suspend(|| tell(line)),
                _ => tell(line),
            }
        }
    }
}

impl Drop for WaitingLine {
    /// The wait is over: erases the live line. When this returns stderr is free for others.
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut shown = shared.shown();
            if let Shown::Live(bar) = std::mem::replace(&mut *shown, Shown::Over) {
                if !sys::in_foreground() {
                    bar.set_draw_target(ProgressDrawTarget::hidden());
                }
                bar.finish_and_clear();
            }
            shared.over.notify_all();
        }
    }
}

impl Shared {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until `end` or until the wait is over, whichever comes first; None: it is over.
    fn sleep_until<'a>(
        &self,
        end: Instant,
        mut shown: MutexGuard<'a, Shown>,
    ) -> Option<MutexGuard<'a, Shown>> {
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            match *shown {
                Shown::Over => return None,
                _ if rest.is_zero() => return Some(shown),
                _ => {}
            }
            let woken = self.over.wait_timeout(shown, rest);
            shown = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What the thread knows.
struct Line<Look> {
    look: Look,
    since: Instant,
    shared: Arc<Shared>,
}

impl<Look: Fn() -> (String, String)> Line<Look> {
    fn show(&self, silence: Duration) {
        let shared = &*self.shared;
        let Some(shown) = shared.sleep_until(self.since + silence, shared.shown()) else {
            return;
        };
        drop(shown);
        let what = self.waited_for();
        let mut shown = shared.shown();
        if let Shown::Over = *shown {
            return;
        }
        if can_be_live() {
            let bar = live_bar();
            *shown = Shown::Live(bar.clone());
            self.keep_alive(&bar, what, shown);
        } else {
            tell(&format!("sneck: waiting for {what}"));
        }
    }

    fn keep_alive<'a>(
        &'a self,
        bar: &ProgressBar,
        mut what: String,
        mut shown: MutexGuard<'a, Shown>,
    ) {
        let mut looked = Instant::now();
        loop {
            // In the background it would be drawn over what somebody types.
            if sys::in_foreground() {
                // The time goes first: the end is what is cut off on a narrow terminal.
                let time = clock(self.since.elapsed());
                bar.set_message(format!("sneck: {time} waiting for {what}"));
                bar.tick();
            }
            match self.shared.sleep_until(Instant::now() + TICK, shown) {
                None => return,
                Some(still) if looked.elapsed() < LOOK => shown = still,
                Some(still) => {
                    drop(still);
                    what = self.waited_for();
                    looked = Instant::now();
                    shown = self.shared.shown();
                    if let Shown::Over = *shown {
                        return;
                    }
                }
            }
        }
    }

    fn waited_for(&self) -> String {
        let (lock, holder) = (self.look)();
        match holder.as_str() {
            "" => lock,
            holder => format!("{lock}, held by {holder}"),
        }
    }
}

fn live_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars("-\\|/-");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style);
    bar
}

/// Whether a line that moves makes sense: on a terminal that can erase, and while it is ours to draw on.
fn can_be_live() -> bool {
    std::io::stderr().is_terminal() && sys::can_erase() && sys::in_foreground()
}

/// `7s`, `1m07s`, `2h01m07s`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds:02}s"),
        _ => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::Stdio;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    use super::*;
    use crate::sys::testing::job;

    const JOB: &str = "waiting::tests::job_wait";
    const LOCK: &str = "/run/some lock";

    /// Job: a wait whose silence is over after MILLISECONDS, and which itself is over a while after that, or at once if
    /// BRIEF is set.
    #[test]
    #[ignore = "a job that other tests start"]
    fn job_wait() {
        let verbosity = match std::env::var("QUIET") {
            Ok(_) => Verbosity::Quiet,
            Err(_) => Verbosity::Normal,
        };
        let brief = std::env::var_os("BRIEF").is_some();
        let silence = Duration::from_millis(if brief { 600_000 } else { 50 });
        let number = Arc::new(AtomicU32::new(7));
        let asked = Arc::clone(&number);
        let stuck = std::env::var_os("STUCK").is_some();
        let line = WaitingLine::after(silence, verbosity, move || {
            if stuck {
                loop {
                    std::thread::park();
                }
            }
            let holder = format!("process {}", asked.load(Relaxed));
            (LOCK.to_owned(), holder)
        });
        if !brief {
            std::thread::sleep(Duration::from_millis(800));
            number.store(8, Relaxed);
            line.note("sneck: a note");
            std::thread::sleep(Duration::from_millis(1200));
        }
        drop(line);
        tell("end of wait");
    }

    fn stderr_of(variables: &[(&str, &str)]) -> String {
        let output = job(&[], JOB)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    #[test]
    fn elsewhere_than_on_a_terminal_there_is_one_line() {
        assert_eq!(
            stderr_of(&[]),
            "sneck: waiting for /run/some lock, held by process 7\nsneck: a note\nend of wait\n"
        );
    }

    #[test]
    fn a_short_wait_says_nothing_and_quiet_says_nothing() {
        assert_eq!(stderr_of(&[("BRIEF", "1")]), "end of wait\n");
        assert_eq!(stderr_of(&[("QUIET", "1")]), "end of wait\n");
    }

    #[test]
    fn an_answer_that_never_comes_holds_nothing_up() {
        let expected = "sneck: a note\nend of wait\n";
        assert_eq!(stderr_of(&[("STUCK", "1")]), expected);
        assert_eq!(
            terminal_of(80, &[("STUCK", "1")]).replace('\r', ""),
            expected
        );
    }

    /// What the job writes to a terminal that is `columns` wide and on which it leads the session.
    fn terminal_of(columns: u16, variables: &[(&str, &str)]) -> String {
        // rustix (1.1) does not name the last one on macOS.
        let flags = OpenptFlags::RDWR
            | OpenptFlags::NOCTTY
            | OpenptFlags::from_bits_retain(OFlags::CLOEXEC.bits());
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let options = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(&name, options, Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let mut child = job(&["setsid", "--ctty", "--wait"], JOB)
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(terminal.try_clone().unwrap())
            .stdout(Stdio::null())
            .stderr(terminal)
            .spawn()
            .unwrap();
        let mut screen = Vec::new();
        let mut bytes = [0; 1024];
        let mut master = File::from(master);
        // EIO: nobody has the terminal open any more.
        while let Ok(count @ 1..) = master.read(&mut bytes) {
            screen.extend_from_slice(&bytes[..count]);
        }
        assert!(child.wait().unwrap().success());
        String::from_utf8(screen).unwrap()
    }

    /// The lines that were drawn, without the terminal's control sequences.
    fn drawn(screen: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut characters = screen.chars();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => {
                    assert_eq!(characters.next(), Some('['));
                    let _ = characters.find(|character| character.is_ascii_alphabetic());
                    lines.push(String::new());
                }
                '\r' | '\n' => lines.push(String::new()),
                _ => lines.last_mut().unwrap().push(character),
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    #[test]
    fn on_a_terminal_the_line_lives_and_is_erased() {
        let screen = terminal_of(80, &[]);
        let lines = drawn(&screen);
        assert!(
            lines[0].contains("sneck: 0s waiting for /run/some lock, held by process 7"),
            "{screen:?}"
        );
        let has = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(
            has("1s waiting for /run/some lock, held by process 8"),
            "{screen:?}"
        );
        assert!(
            lines.iter().any(|line| line == "sneck: a note"),
            "{screen:?}"
        );
        let spinners: std::collections::HashSet<_> = lines
            .iter()
            .filter(|line| line.contains("waiting"))
            .map(|line| line.chars().next())
            .collect();
        assert!(spinners.len() > 1, "it does not move: {screen:?}");
        // Erased before the next writer's turn.
        let (before, _) = screen.split_once("end of wait").unwrap();
        assert!(before.ends_with("\r\u{1b}[2K"), "{screen:?}");
    }

    #[test]
    fn the_live_line_is_cut_to_the_terminals_width() {
        let screen = terminal_of(30, &[]);
        let lines = drawn(&screen);
        assert!(lines[0].contains("0s waiting for /run"), "{screen:?}");
        for line in &lines {
            assert!(line.chars().count() <= 30, "{line:?}");
        }
    }

    #[test]
    fn a_terminal_that_cannot_erase_gets_one_line() {
        let screen = terminal_of(80, &[("TERM", "dumb")]);
        assert_eq!(
            screen.replace('\r', ""),
            "sneck: waiting for /run/some lock, held by process 7\nsneck: a note\nend of wait\n"
        );
    }

    #[test]
    fn clocks() {
        let at = |seconds| clock(Duration::from_secs(seconds));
        assert_eq!(at(0), "0s");
        assert_eq!(at(59), "59s");
        assert_eq!(at(67), "1m07s");
        assert_eq!(at(7267), "2h01m07s");
        assert_eq!(at(360_000), "100h00m00s");
    }
}
