//! What the command's signals go through: while it runs, what somebody sends to sneck is meant for the command.
//!
//! For: passing signals on, and waiting for the command without polling. Not for: the time before the command is let
//! go; then signals have their usual effect, and one that ends sneck ends the held command with it.
//!
//! # What is passed on
//!
//! sneck and the command are in one process group, as under `env`, `nice` or flock(1), so that the shell's job control
//! and the terminal treat them as one job. That decides who has seen a signal already:
//!
//! | signal | sent by a process | sent by the kernel |
//! |---|---|---|
//! | HUP INT QUIT | passed on | the terminal sent it to the whole group: not passed on |
//! | | | HUP while sneck leads its session was sent to sneck alone: passed on |
//! | TSTP | passed on, and sneck stops too | the whole group got it: sneck stops too |
//! | CONT WINCH | passed on | not passed on |
//! | ALRM | passed on | passed on: an alarm set before sneck was executed |
//! | TERM USR1 USR2 PIPE VTALRM PROF IO, real-time | passed on | not passed on |
//! | any of them, sent by the command or by sneck itself | not passed on | |
//!
//! sneck survives all of them and ends with the command's status. The rest keep their usual effect: KILL and STOP cannot
//! be handled, TTIN and TTOU go to the whole group, and faults are sneck's own.
//!
//! A command that has a group of its own (`--max-hold`) has seen nothing of what sneck was sent, by whomever: `unix_hold.rs` says what it is told.
//!
//! The kernel does not say whether a process sent a signal to sneck or to the whole group (`kill -TERM -- -GROUP`). It is
//! passed on then too, and the command gets it twice: once too often is better than not at all.

use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;

use signal_hook::consts::signal::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP,
    SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;
use signal_hook::low_level::siginfo::Cause;

use super::{Alarm, HeldCommand};
use crate::sys::platform as sys;

/// What is passed on, beside the real-time signals.
const PASSED_ON: [i32; 14] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO,
    SIGPIPE, SIGWINCH, SIGCONT, SIGTSTP,
];

/// The numbers of the real-time signals that are free for use.
#[cfg(target_os = "linux")]
pub(super) fn real_time_signals() -> RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// macOS has none, and those of FreeBSD (65 to 126) keep their usual effect.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::reversed_empty_ranges, reason = "empty is what is meant")]
pub(super) fn real_time_signals() -> RangeInclusive<i32> {
    1..=0
}

/// From its start on, signals are collected instead of having their usual effect.
#[derive(Debug)]
pub(crate) struct Relay {
    signals: SignalDelivery<UnixStream, WithOrigin>,
    own_pid: i32,
    leads_session: bool,
}

impl Relay {
    /// Starts to collect. To be called right before the command is let go: a signal that arrives before that ends sneck
    /// and so the held command, one that arrives after that waits for [`relay_until_end`](Self::relay_until_end).
    pub(crate) fn start() -> io::Result<Self> {
        let mut wanted = PASSED_ON.to_vec();
        wanted.push(SIGCHLD);
        let real_time: Vec<i32> = real_time_signals().collect();
        // A signal that came between the handler and what it is to do would be lost: meanwhile they wait in the kernel.
        sys::block(&wanted)?;
        sys::block(&real_time)?;
        let (ours, theirs) = UnixStream::pair()?;
        let signals = SignalDelivery::with_pipe(ours, theirs, WithOrigin::default(), &wanted)?;
        // Whoever started sneck may have blocked some, too. Without SIGCHLD nothing would wake us; a command that
        // inherits the same mask decides itself when it wants to see the others. The real-time signals, thirty of them,
        // go on waiting in the kernel and are collected when the command runs already.
        sys::unblock(&wanted)?;
        Ok(Relay {
            signals,
            // The kernel's numbers are signed, and positive.
            own_pid: std::process::id() as i32,
            leads_session: sys::leads_session(),
        })
    }

    /// Passes signals on until the command has ended. There is nothing to `_say`: what it left in the background needs no sneck to hold the lock.
    pub(crate) fn relay_until_end(
        &mut self,
        command: &HeldCommand,
        _say: &dyn Fn(&str),
    ) -> io::Result<()> {
        self.collect_real_time_signals()?;
        loop {
            // Looked at first, and after each batch: SIGCHLDs merge, and one may have come before we collected them.
            if command.has_ended()? {
                return Ok(());
            }
            let batch = self.wait()?;
            self.handle(&batch, command)?;
        }
    }

    /// From now on these are collected, too: the command runs.
    pub(crate) fn collect_real_time_signals(&self) -> io::Result<()> {
        let real_time: Vec<i32> = real_time_signals().collect();
        let handle = self.signals.handle();
        for &signal in &real_time {
            handle.add_signal(signal)?;
        }
        sys::unblock(&real_time)
    }

    /// Sleeps until there are signals.
    fn wait(&mut self) -> io::Result<Batch> {
        let mut read = |stream: &mut UnixStream| loop {
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map(|count| count > 0),
            }
        };
        let came = self.signals.poll_pending(&mut read)?;
        Ok(Batch::of(came.into_iter().flatten()))
    }

    /// Sleeps until there are signals or the alarm rings.
    pub(crate) fn wait_with(&mut self, alarm: &Alarm) -> io::Result<Batch> {
        let came = self
            .signals
            .poll_pending(&mut |stream| alarm.wait(&*stream))?;
        Ok(Batch::of(came.into_iter().flatten()))
    }

    /// What has come, without sleeping.
    pub(crate) fn pending(&mut self) -> Batch {
        Batch::of(self.signals.pending())
    }

    fn handle(&self, batch: &Batch, command: &HeldCommand) -> io::Result<()> {
        for received in batch.in_order() {
            if self.is_for_the_command(received, command.pid()) {
                pass_on(received.signal, command);
            }
        }
        if batch.stops() {
            sys::stop_as_asked()?;
        }
        Ok(())
    }

    fn is_for_the_command(&self, received: &Origin, command: i32) -> bool {
        is_for_the_command(
            received.signal,
            Sender::of(received),
            &[self.own_pid, command],
            self.leads_session,
        )
    }
}

/// Signals that were collected together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// In the order of their numbers, not of their arrival.
    signals: Vec<Origin>,
}

impl Batch {
    fn of(signals: impl Iterator<Item = Origin>) -> Batch {
        Batch {
            signals: signals.collect(),
        }
    }

    /// CONT goes last: a job that was stopped and continued has to run.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Origin> {
        let is_last = |received: &&Origin| received.signal == SIGCONT;
        let first = self.signals.iter().filter(move |one| !is_last(one));
        first.chain(self.signals.iter().filter(is_last))
    }

    pub(crate) fn continues(&self) -> bool {
        self.has(SIGCONT)
    }

    /// Whether sneck is to stop, and was not continued meanwhile.
    pub(crate) fn stops(&self) -> bool {
        self.has(SIGTSTP) && !self.continues()
    }

    fn has(&self, signal: i32) -> bool {
        self.signals.iter().any(|one| one.signal == signal)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Sender {
    Kernel,
    /// 0: a process outside our pid namespace.
    Process(i32),
}

impl Sender {
    pub(crate) fn of(received: &Origin) -> Sender {
        match received.cause {
            Cause::Sent(_) => Sender::Process(received.process.map_or(0, |process| process.pid)),
            _ => Sender::Kernel,
        }
    }
}

/// The table above.
fn is_for_the_command(signal: i32, sender: Sender, ourselves: &[i32], leads_session: bool) -> bool {
    match sender {
        _ if signal == SIGCHLD => false,
        Sender::Process(pid) => !ourselves.contains(&pid),
        Sender::Kernel => signal == SIGALRM || (signal == SIGHUP && leads_session),
    }
}

fn pass_on(signal: i32, command: &HeldCommand) {
    if let Err(error) = command.signal(signal) {
        // A command that changed its user, say. Whoever sent it should not believe that it arrived.
        let name = signal_hook::low_level::signal_name(signal)
            .map_or_else(|| format!("signal {signal}"), String::from);
        crate::waiting::tell(&format!(
            "sneck: cannot pass {name} on to the command: {error}"
        ));
    }
}

#[cfg(all(test, not(sneck_unsupported)))]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test may sleep, and look at a lock, as it likes"
    )]

    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::sync::{Arc, Mutex};

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;
    use crate::exit::Exit;
    use crate::plan::Inherit;
    use crate::sys::LetGo;
    use crate::sys::testing::{job, job_arguments, lives, until};
    use crate::variables::Variables;

    const JOB: &str = "sys::platform::signals::tests::job_relay";

    /// Job: does what `sneck run` does with the shell script in SCRIPT. It leaves through `exit`, as the harness would
    /// turn a status into its own.
    #[test]
    #[ignore = "a job that other tests start"]
    fn job_relay() {
        let script: OsString = std::env::var_os("SCRIPT").unwrap();
        let shell = std::env::var_os("SCRIPT_SHELL").unwrap_or("sh".into());
        let mut command =
            HeldCommand::prepare(&shell, &["-c".into(), script], &Variables::default()).unwrap();
        let mut relay = Relay::start().unwrap();
        if std::env::var_os("SIGNAL_EARLY").is_some() {
            // Between the start of the relay and letting go: it waits for the loop.
            let me = std::process::id().to_string();
            let sent = Command::new("kill").args(["-USR1", &me]).status().unwrap();
            assert!(sent.success());
        }
        assert_eq!(
            command.let_go(&[], Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        relay.relay_until_end(&command, &|_| ()).unwrap();
        let ended = command.wait().unwrap();
        std::process::exit(Exit::from(ended).code());
    }

    /// A running job, the lines it prints, and what it printed so far.
    struct Running {
        child: Child,
        lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    }

    impl Running {
        fn start(wrapper: &[&str], script: &str) -> Self {
            let mut child = job(wrapper, JOB)
                .env("SCRIPT", script)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            Running { child, lines }
        }

        /// Reads until a line ends with this; the harness may have printed something before it.
        fn expect(&mut self, end: &str) {
            let found = self.lines.any(|line| line.unwrap().ends_with(end));
            assert!(found, "it ended without printing {end}");
        }

        fn kill(&self, signal: i32) {
            let sent = Command::new("kill")
                .args([format!("-{signal}"), self.child.id().to_string()])
                .status()
                .unwrap();
            assert!(sent.success());
        }

        fn signals_of_each_thread(&self, name: &str) -> Vec<u64> {
            let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            threads
                .map(|thread| {
                    let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
                    let mask = status.lines().find_map(|line| line.strip_prefix(name));
                    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
                })
                .collect()
        }

        fn code(mut self) -> i32 {
            // To the end, so that nobody writes into a closed pipe.
            self.lines.by_ref().for_each(drop);
            let status = self.child.wait().unwrap();
            status
                .code()
                .unwrap_or_else(|| panic!("killed by {:?}", status.signal()))
        }
    }

    /// Prints `ready`, then waits for signals in small steps, for a minute at most.
    const WAIT: &str = "echo ready; for i in $(seq 600); do sleep 0.1; done; exit 99";

    #[test]
    fn the_table_of_what_is_passed_on() {
        let me_and_command = [10, 11];
        let passes =
            |signal, sender, leader| is_for_the_command(signal, sender, &me_and_command, leader);
        for signal in PASSED_ON {
            assert!(passes(signal, Sender::Process(12), false));
            assert!(passes(signal, Sender::Process(0), false), "from outside");
            assert!(!passes(signal, Sender::Process(10), false), "by sneck");
            assert!(!passes(signal, Sender::Process(11), false), "by command");
            assert_eq!(passes(signal, Sender::Kernel, false), signal == SIGALRM);
            assert_eq!(
                passes(signal, Sender::Kernel, true),
                signal == SIGALRM || signal == SIGHUP
            );
        }
        assert!(!passes(SIGCHLD, Sender::Process(12), false));
    }

    #[test]
    fn the_end_of_the_command_is_noticed() {
        assert_eq!(Running::start(&[], "exit 0").code(), 0);
        assert_eq!(Running::start(&[], "sleep 0.1; exit 7").code(), 7);
        assert_eq!(Running::start(&[], "sleep 0.1; kill -9 $$").code(), 137);
    }

    #[test]
    fn its_end_is_noticed_though_every_signal_was_blocked_or_ignored() {
        let blocked = ["env", "--block-signal"];
        assert_eq!(Running::start(&blocked, "sleep 0.1; exit 7").code(), 7);
        let ignored = ["env", "--ignore-signal"];
        assert_eq!(Running::start(&ignored, "sleep 0.1; exit 7").code(), 7);
    }

    #[test]
    fn what_is_sent_to_sneck_reaches_the_command() {
        for signal in PASSED_ON {
            if [SIGTSTP, SIGCONT, SIGCHLD].contains(&signal) {
                continue;
            }
            let script = format!("trap 'exit {}' {signal}; {WAIT}", 20 + signal);
            let mut running = Running::start(&["env", "--default-signal"], &script);
            running.expect("ready");
            running.kill(signal);
            assert_eq!(running.code(), 20 + signal);
        }
    }

    #[test]
    fn real_time_signals_reach_the_command_too() {
        for signal in [*real_time_signals().start(), *real_time_signals().end()] {
            let mut running = Running::start(&[], "echo ready; exec sleep 60");
            running.expect("ready");
            // They wait in the kernel until they are collected, but the harness has another thread, which would take
            // one that comes before that.
            let last = *real_time_signals().end();
            until("all to be collected", || {
                let of_job = |name| running.signals_of_each_thread(name);
                let has = |mask: &u64| mask >> (last - 1) & 1 == 1;
                let handled = of_job("SigCgt:").iter().all(has);
                (handled && !of_job("SigBlk:").iter().any(has)).then_some(())
            });
            running.kill(signal);
            assert_eq!(running.code(), 128 + signal);
        }
    }

    #[test]
    fn what_comes_between_the_start_and_letting_go_is_not_lost() {
        let script = format!("trap 'exit 5' USR1; {WAIT}");
        let mut early = job(&[], JOB);
        early.env("SCRIPT", script).env("SIGNAL_EARLY", "1");
        let status = early.stdout(Stdio::null()).status().unwrap();
        // It came through, whether or not the shell had set its trap by then.
        let usr1 = 128 + signal_hook::consts::SIGUSR1;
        assert!([Some(5), Some(usr1)].contains(&status.code()), "{status}");
    }

    #[test]
    fn what_the_command_sends_to_sneck_does_not_come_back() {
        let script =
            "trap 'exit 9' TERM USR1; kill -TERM $PPID; kill -USR1 $PPID; sleep 0.2; exit 3";
        assert_eq!(Running::start(&[], script).code(), 3);
    }

    #[test]
    fn a_stop_by_kill_stops_both_and_a_continue_resumes_both() {
        let stopped = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().any(|line| line.starts_with("State:\tT"))
        };
        let script =
            "echo $$ pid; trap 'exit 6' TERM; echo ready; for i in $(seq 600); do sleep 0.1; done";
        // In a session of its own a stop would be in vain; a shell with job control makes a group that can be stopped.
        let mut shell = Command::new("bash");
        shell
            .args([
                "-c",
                "set -m; \"$@\" & echo $! job; while kill -0 $! 2> /dev/null; do sleep 0.1; done",
                "bash",
            ])
            .arg(std::env::current_exe().unwrap())
            .args(job_arguments(JOB));
        shell.env("SCRIPT", script).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut numbers = [0, 0];
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        for line in lines.by_ref() {
            for (number, name) in numbers.iter_mut().zip([" job", " pid"]) {
                if let Some(before) = line.strip_suffix(name) {
                    let digits = before.rsplit(' ').next().unwrap();
                    *number = digits.parse().unwrap();
                }
            }
            if line.ends_with("ready") {
                break;
            }
        }
        let [sneck, command] = numbers;
        let kill = |name: &str| {
            let sent = Command::new("kill")
                .args([name, &sneck.to_string()])
                .status();
            assert!(sent.unwrap().success());
        };
        kill("-TSTP");
        until("both to stop", || {
            (stopped(sneck) && stopped(command)).then_some(())
        });
        kill("-CONT");
        until("both to run", || {
            (!stopped(sneck) && !stopped(command)).then_some(())
        });
        kill("-TERM");
        lines.for_each(drop);
        child.wait().unwrap();
        until("both to end", || {
            (!lives(sneck as i32) && !lives(command as i32)).then_some(())
        });
    }

    /// A terminal of its own, with what was printed on it.
    struct Terminal {
        keyboard: File,
        screen: Arc<Mutex<String>>,
        child: Child,
    }

    /// Runs `bash -c shell_script bash job…` as the leader of a session on a new terminal; returns the other side of it.
    fn on_a_terminal(shell_script: &str, job_script: &str) -> (File, Child) {
        // rustix (1.1) does not name the last one on macOS.
        let flags = OpenptFlags::RDWR
            | OpenptFlags::NOCTTY
            | OpenptFlags::from_bits_retain(OFlags::CLOEXEC.bits());
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open = || -> OwnedFd {
            let options = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(&name, options, Mode::empty()).unwrap()
        };
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", "bash", "-c", shell_script, "bash"])
            .arg(std::env::current_exe().unwrap())
            .args(job_arguments(JOB))
            .env("SCRIPT", job_script)
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        (File::from(master), child)
    }

    impl Terminal {
        fn start(shell_script: &str, job_script: &str) -> Self {
            let (keyboard, child) = on_a_terminal(shell_script, job_script);
            let screen = Arc::new(Mutex::new(String::new()));
            let mut output = keyboard.try_clone().unwrap();
            let seen = Arc::clone(&screen);
            std::thread::spawn(move || {
                let mut bytes = [0; 1024];
                // EIO: nobody has the terminal open any more.
                while let Ok(count @ 1..) = output.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..count]);
                    seen.lock().unwrap().push_str(&text);
                }
            });
            Terminal {
                keyboard,
                screen,
                child,
            }
        }

        fn expect(&self, text: &str) {
            until(text, || {
                self.screen.lock().unwrap().contains(text).then_some(())
            });
        }

        fn press(&mut self, key: u8) {
            self.keyboard.write_all(&[key]).unwrap();
        }

        fn screen(&self) -> String {
            self.screen.lock().unwrap().clone()
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    const CTRL_C: u8 = 3;
    const CTRL_BACKSLASH: u8 = 28;
    const CTRL_Z: u8 = 26;

    #[test]
    fn a_key_on_the_terminal_reaches_the_command_once_and_sneck_survives() {
        for (key, name) in [(CTRL_C, "INT"), (CTRL_BACKSLASH, "QUIT")] {
            let script = format!(
                "trap 'echo got-{name}; n=x$n' {name}; n=; echo rea''dy
                 while [ -z \"$n\" ]; do sleep 0.1; done; sleep 0.3; exit 4$(printf $n | wc -c)"
            );
            let mut terminal = Terminal::start("\"$@\"; echo sta''tus $?", &script);
            terminal.expect("ready");
            terminal.press(key);
            terminal.expect("status 41");
        }
    }

    #[test]
    fn a_stop_on_the_terminal_gives_the_shell_its_prompt_back() {
        let script = "echo rea''dy; sleep 0.5; echo go''es on; exit 6";
        let mut terminal = Terminal::start(
            "set -m; \"$@\"; echo stop''ped $?; fg; echo sta''tus $?",
            script,
        );
        terminal.expect("ready");
        terminal.press(CTRL_Z);
        // 128 + SIGTSTP: what bash says of a job that stopped.
        terminal.expect("stopped 148");
        terminal.expect("goes on");
        terminal.expect("status 6");
    }

    #[test]
    fn a_stop_that_nobody_could_undo_stops_nothing() {
        // bash makes way for the job, which leads the session then: its group is an orphan.
        let mut terminal = Terminal::start("exec \"$@\"", "echo rea''dy; sleep 0.5; echo do''ne");
        terminal.expect("ready");
        terminal.press(CTRL_Z);
        terminal.expect("done");
        let screen = terminal.screen();
        assert!(!screen.contains("topped"), "{screen}");
    }

    #[test]
    fn a_hang_up_told_to_the_session_leader_reaches_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let script = format!(
            "trap 'touch {}; exit' HUP; echo rea''dy; for i in $(seq 600); do sleep 0.1; done",
            mark.display()
        );
        let (mut line, mut child) = on_a_terminal("exec \"$@\"", &script);
        let mut seen = Vec::new();
        let mut bytes = [0; 1024];
        while !String::from_utf8_lossy(&seen).contains("ready") {
            let count = line.read(&mut bytes).unwrap();
            seen.extend_from_slice(&bytes[..count]);
        }
        // The line is cut: the kernel tells the session's leader, and nobody else until that has gone.
        drop(line);
        until("the command to be told", || mark.exists().then_some(()));
        child.wait().unwrap();
    }
}
