//! A terminal of its own for a test: who sits before it types, and reads what is on the screen.

use super::{Place, until};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_Z: &str = "\x1a";

pub(crate) struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// The terminal as programs have it open. Kept open, so that it stays when they are gone.
    line: OwnedFd,
    child: Child,
}

impl Terminal {
    /// Runs this as the leader of a session on a new terminal, in the test's folder; `sneck` is the command.
    pub(crate) fn start(place: &Place, words: &[&str]) -> Terminal {
        Terminal::wide(200, place, words)
    }

    /// The same on a terminal of so many columns.
    pub(crate) fn wide(columns: u16, place: &Place, words: &[&str]) -> Terminal {
        // rustix (1.1) does not name the last one on macOS.
        let flags = OpenptFlags::RDWR
            | OpenptFlags::NOCTTY
            | OpenptFlags::from_bits_retain(OFlags::CLOEXEC.bits());
        let master = openpt(flags).expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let open = || -> OwnedFd {
            let options = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(&name, options, Mode::empty()).expect("the other side")
        };
        let line = open();
        let size = Winsize {
            ws_row: 40,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&line, size).expect("set");
        let folders = std::env::var("PATH").unwrap_or_default();
        let sneck = Path::new(env!("CARGO_BIN_EXE_sneck")).parent();
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .args(words)
            .current_dir(place.path())
            .env("TERM", "dumb")
            .env(
                "PATH",
                format!("{}:{folders}", sneck.expect("a folder").display()),
            )
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("setsid(1) of util-linux");
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let mut output = keyboard.try_clone().expect("a copy");
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // EIO: nobody has the terminal open any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push_str(&text);
            }
        });
        Terminal {
            keyboard,
            screen,
            line,
            child,
        }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    pub(crate) fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.clone()
    }

    /// Waits until this stands there.
    pub(crate) fn shows(&self, text: &str) {
        let mut last = String::new();
        until(text, || {
            last = self.screen();
            last.contains(text)
        });
    }

    /// Whether what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("a terminal");
        modes
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO)
    }

    /// All that is shown until the session's leader ends well.
    pub(crate) fn whole(mut self) -> String {
        const END: &str = "that was all";
        let mut ended = None;
        until("the session's leader to end", || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        assert_eq!(ended.and_then(|status| status.code()), Some(0));
        // What it wrote may not have been read yet; what is written now comes after it.
        rustix::io::write(&self.line, END.as_bytes()).expect("written");
        self.shows(END);
        let screen = self.screen();
        let (screen, _) = screen.split_once(END).unwrap_or_default();
        screen.replace("\r\n", "\n")
    }

    /// How the session's leader ended.
    pub(crate) fn code(mut self) -> Option<i32> {
        let mut ended = None;
        until("the session's leader to end", || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        ended.and_then(|status| status.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
