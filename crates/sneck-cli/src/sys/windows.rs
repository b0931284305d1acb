//! The seam on Windows.
//!
//! For: a command whose processes live no longer than the lock under which they run. Not for: jobs (`windows_job.rs`), console events
//! (`windows_console.rs`), how long it may hold the lock (`windows_hold.rs`).
//!
//! # The command
//!
//! A kernel lock belongs to the process that took it: another one can be given the open file, and has no lock then. So sneck itself keeps the lock, and the
//! command hangs on sneck:
//!
//! ```text
//!   sneck                                     the command
//!   joins a job of its own (the tie)
//!   gets the lock (may take hours)
//!   starts the command, suspended ──────────▶ is born in the tie
//!   takes it into a second job, and resumes ▶ runs; what it starts is in both jobs
//!   waits until it has ended, and until the second job is empty
//!   releases the lock
//! ```
//!
//! - If sneck ends before that, however, its handles are closed, and with the last handle of the tie Windows ends whatever is in it.
//! - The program is not opened before the lock is held: it may be what the lock guards, and a running program's file cannot be replaced. So claims are made
//!   in sneck's name, and are stale when sneck has gone.
//! - Without inheritance (`-o`) nothing is ended with sneck, and nothing but the command itself is waited for.
//!
//! # When sneck is killed
//!
//! Windows closes the handles of a process that ends one after the other, in an order that is not documented, and both the job and the lock go with them.
//! Ending the job's processes is begun then and not awaited, so a thread of the command may finish the system call that it is in when somebody else has the lock
//! already. What can be done is done: the tie is older than the lock's handle (handles have been closed in the order of their numbers as far as is known), and a
//! claim in sneck's name is stale only when sneck's process has gone as a whole. It is no proof as on Linux, where the lock itself lives in the command.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use sneck::{Moment, Party};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_ARGUMENTS, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_SUSPENDED, GetExitCodeProcess, INFINITE, WaitForSingleObject,
};

use super::{Ended, LetGo};
use crate::plan::Inherit;
use crate::variables::{self, Variables};

#[path = "windows_console.rs"]
mod console;
#[path = "windows_hold.rs"]
mod hold;
#[path = "windows_job.rs"]
mod job;
#[path = "windows_process.rs"]
mod process;
#[path = "windows_program.rs"]
mod program;

pub(crate) use console::{can_erase, in_foreground};
pub(crate) use hold::{Keeper, Leash, Relay, keep};
pub(crate) use process::bearer;
pub(crate) use program::is_program;

use job::Job;

/// As long as one wait for a deadline may last. Since Windows 8 a wait stands still while the machine sleeps, and deadlines do not.
const NAP: Duration = Duration::from_secs(10);

/// A command that is not started yet, and afterwards the running command.
#[derive(Debug)]
pub(crate) struct HeldCommand {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    /// Those whose value is told when it is let go.
    numbers: Vec<OsString>,
    group: Cell<Group>,
    /// The job that sneck itself is in. None: it may not be in one; then only one that is killed right between starting the command and taking it
    /// into its job leaves something, a process that never runs.
    tie: Option<Job>,
    running: Option<Running>,
}

/// The process group that the command is in: those on a console that Ctrl-Break can be sent to as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// sneck's.
    Shared,
    /// Its own. To such a group Windows sends no Ctrl-C.
    Own,
}

#[derive(Debug)]
struct Running {
    child: Child,
    job: Job,
    inherit: Inherit,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The command.
    OfCommand,
    /// The command and all that it has started.
    OfAll,
}

impl HeldCommand {
    /// Prepares it, with these variables added to (or replacing) what is inherited. To be called before there are handles that must be closed after the tie.
    pub(crate) fn prepare(
        program: &OsStr,
        arguments: &[OsString],
        variables: &Variables,
    ) -> io::Result<Self> {
        console::listen()?;
        let tie = Job::new()?;
        Ok(HeldCommand {
            program: program.to_owned(),
            arguments: arguments.to_owned(),
            variables: variables.words.clone(),
            numbers: variables.numbers.clone(),
            group: Cell::new(Group::Shared),
            tie: tie.take_ourselves().is_ok().then_some(tie),
            running: None,
        })
    }

    /// In whose name claims are made: ours. There is no other process yet, and none outlives this one.
    pub(crate) fn claimant(&self) -> Party {
        Party::this_process()
    }

    /// Starts the command. What holds the lock cannot be inherited: if it should be, the command ends with us instead.
    pub(crate) fn let_go<Descriptor>(
        &mut self,
        _holding: &[Descriptor],
        inherit: Inherit,
        numbers: &[Option<u64>],
    ) -> io::Result<LetGo> {
        for (name, number) in self.numbers.iter().zip(numbers) {
            let number = number.map(|number| (name.clone(), number.to_string().into()));
            self.variables.extend(number);
        }
        let job = Job::new()?;
        if inherit == Inherit::Yes {
            job.end_with_us()?;
            self.tie.as_ref().map_or(Ok(()), Job::end_with_us)?;
        }
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => return Ok(not_started(&error)),
        };
        let resumed = job.take(&child).and_then(|()| {
            console::command_runs(match self.group.get() {
                Group::Shared => None,
                Group::Own => Some(child.id()),
            });
            process::resume(child.id())
        });
        if let Err(error) = resumed {
            // It never ran. It is ours, so nothing keeps us from ending it.
            let _ = child.kill();
            return Err(error);
        }
        self.running = Some(Running {
            child,
            job,
            inherit,
        });
        Ok(LetGo::Started)
    }

    fn start(&self) -> io::Result<Child> {
        let group = match self.group.get() {
            Group::Shared => 0,
            Group::Own => CREATE_NEW_PROCESS_GROUP,
        };
        let start = |program: &OsStr| {
            let mut command = Command::new(program);
            variables::inherited_of_ours().for_each(|name| {
                command.env_remove(name);
            });
            command
                .args(&self.arguments)
                .envs(self.variables.iter().cloned())
                .creation_flags(CREATE_SUSPENDED | group)
                .spawn()
        };
        if self.program.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let first = start(&self.program);
        match &first {
            // The library looks for programs whose name ends with .exe only; a shell goes on.
            Err(error) if is_missing(error) => match program::find(&self.program) {
                Some(found) => start(found.as_os_str()),
                None => first,
            },
            _ => first,
        }
    }

    /// How the command ended; waits until it has.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        self.until_command_ended(None)?;
        let mut code = 0;
        // SAFETY: the handle is the child's, open as long as `self`; `code` has room for what is written.
        let told = unsafe { GetExitCodeProcess(self.running()?.child.as_raw_handle(), &mut code) };
        job::check(told)?;
        // The same 32 bits: std::process::exit takes them signed.
        Ok(Ended::Code(code as i32))
    }

    /// Waits for this end, or until then; whether it has come.
    fn until(&self, end: End, due: Option<Moment>) -> io::Result<bool> {
        Ok(self.until_command_ended(due)?
            && (end == End::OfCommand || self.running()?.job.until_empty(due)?))
    }

    fn until_command_ended(&self, due: Option<Moment>) -> io::Result<bool> {
        let child = self.running()?.child.as_handle();
        loop {
            let rest = due.map(Moment::until);
            let wait = rest.map_or(INFINITE, milliseconds);
            // SAFETY: the handle is the child's, open as long as `self`.
            match unsafe { WaitForSingleObject(child.as_raw_handle(), wait) } {
                WAIT_OBJECT_0 => return Ok(true),
                WAIT_TIMEOUT if rest.is_some_and(|rest| rest.is_zero()) => return Ok(false),
                WAIT_TIMEOUT => {}
                _ => return Err(io::Error::last_os_error()),
            }
        }
    }

    /// The end up to which the lock has to be held.
    fn end(&self) -> End {
        match &self.running {
            Some(running) if running.inherit == Inherit::Yes => End::OfAll,
            _ => End::OfCommand,
        }
    }

    /// Its process; to be asked once it runs.
    fn id(&self) -> u32 {
        self.running
            .as_ref()
            .map_or(0, |running| running.child.id())
    }

    /// What it has started, and itself, as long as they have not ended.
    fn processes(&self) -> Vec<u32> {
        let job = self.running.as_ref().map(|running| &running.job);
        job.and_then(|job| job.processes().ok()).unwrap_or_default()
    }

    /// Ends it and all that it has started, at once.
    fn end_all(&self, status: u32) -> io::Result<()> {
        self.running()?.job.end_all(status)
    }

    fn running(&self) -> io::Result<&Running> {
        let missing = || io::Error::new(io::ErrorKind::InvalidInput, "the command was not started");
        self.running.as_ref().ok_or_else(missing)
    }
}

impl Drop for HeldCommand {
    /// Closing the tie would end this very process, which is in it. What is left of the command ends with its own job.
    fn drop(&mut self) {
        if let Some(tie) = &self.tie {
            if tie.outlive_us().is_err() {
                // Then it is never closed before the end.
                std::mem::forget(self.tie.take());
            }
        }
    }
}

/// As a wait takes it: rounded up, so that what was to be waited for is over then, and never without end.
fn milliseconds(rest: Duration) -> u32 {
    let rest = rest.min(NAP);
    let whole = rest.as_millis() as u32;
    whole + u32::from(rest > Duration::from_millis(u64::from(whole)))
}

fn is_missing(error: &io::Error) -> bool {
    let missing = [ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND];
    let code = error.raw_os_error().map(|code| code as u32);
    // The library says that of a program that it looked for itself, without a number.
    error.kind() == io::ErrorKind::NotFound || code.is_some_and(|code| missing.contains(&code))
}

fn not_started(error: &io::Error) -> LetGo {
    if is_missing(error) {
        return LetGo::NotFound(error.raw_os_error().unwrap_or(ERROR_FILE_NOT_FOUND as i32));
    }
    // Without a number: an argument contains a zero, or cannot be written so that cmd.exe hands it to a batch file unchanged.
    LetGo::CannotExecute(error.raw_os_error().unwrap_or(ERROR_BAD_ARGUMENTS as i32))
}

/// A thread; there are no signals to keep from it.
pub(crate) fn spawn_without_signals(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test may sleep, and write what it likes"
    )]

    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::Stdio;

    use super::super::Bearer;
    use super::super::testing::{job, until};
    use super::*;

    const HOLDER: &str = "sys::platform::tests::job_hold";

    fn shell(script: &str) -> HeldCommand {
        let words: Vec<OsString> = ["/d", "/c", script].map(OsString::from).to_vec();
        HeldCommand::prepare(OsStr::new("cmd"), &words, &Variables::default()).unwrap()
    }

    fn ended(mut command: HeldCommand, inherit: Inherit) -> Ended {
        assert_eq!(
            command.let_go::<()>(&[], inherit, &[]).unwrap(),
            LetGo::Started
        );
        command.wait().unwrap()
    }

    /// Job: runs the SCRIPT, tells its number and those of all that it has started after a while, and sleeps until it is killed.
    #[test]
    #[ignore = "a job that other tests start"]
    fn job_hold() {
        let script = std::env::var("SCRIPT").unwrap();
        let inherit = match std::env::var("CLOSE") {
            Ok(_) => Inherit::No,
            Err(_) => Inherit::Yes,
        };
        let mut command = shell(&script);
        assert_eq!(
            command.let_go::<()>(&[], inherit, &[]).unwrap(),
            LetGo::Started
        );
        let many = until("it has started them", || {
            let processes = command.processes();
            (processes.len() > 1).then_some(processes)
        });
        let numbers: Vec<String> = many.iter().map(ToString::to_string).collect();
        println!("@{}", numbers.join(" "));
        std::io::stdout().flush().unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }

    fn killed_holder(close: &[(&str, &str)]) -> Vec<u32> {
        let mut holder = job(&[], HOLDER)
            .env("SCRIPT", "ping -n 60 127.0.0.1 > nul")
            .envs(close.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let numbers: Vec<u32> = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, numbers) = line.rsplit_once('@')?;
                numbers.split(' ').map(|n| n.parse().ok()).collect()
            })
            .unwrap();
        assert!(numbers.iter().all(|&pid| bearer(pid) == Bearer::Process));
        holder.kill().unwrap();
        holder.wait().unwrap();
        numbers
    }

    #[test]
    fn a_killed_holder_takes_the_command_and_what_it_started_with_it() {
        for pid in killed_holder(&[]) {
            until("it has gone", || {
                (bearer(pid) == Bearer::Nobody).then_some(())
            });
        }
    }

    #[test]
    fn nothing_is_taken_along_that_was_to_inherit_nothing() {
        for pid in killed_holder(&[("CLOSE", "1")]) {
            assert_eq!(bearer(pid), Bearer::Process);
            let killed = Command::new("taskkill")
                .args(["/f", "/pid", &pid.to_string()])
                .stdout(Stdio::null())
                .status();
            assert!(killed.unwrap().success());
        }
    }

    #[test]
    fn nothing_runs_before_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let command = shell(&format!("type nul > {}", mark.display()));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!mark.exists());
        assert_eq!(ended(command, Inherit::Yes), Ended::Code(0));
        assert!(mark.exists());
    }

    #[test]
    fn its_status_is_told_whole() {
        for status in [0, 1, 255, 256, 70_000, -1, 0xC000_0005_u32 as i32] {
            assert_eq!(
                ended(shell(&format!("exit {status}")), Inherit::Yes),
                Ended::Code(status)
            );
        }
    }

    #[test]
    fn what_it_left_in_the_background_is_waited_for() {
        let mut command = shell("start /b ping -n 2 127.0.0.1 > nul");
        let started = command.let_go::<()>(&[], Inherit::Yes, &[]);
        assert_eq!(started.unwrap(), LetGo::Started);
        assert!(command.until(End::OfCommand, None).unwrap());
        let left = command.processes();
        assert!(!left.is_empty());
        assert!(
            !command
                .until(End::OfAll, Moment::now().after(Duration::ZERO))
                .unwrap()
        );
        assert!(command.until(End::OfAll, None).unwrap());
        assert!(left.iter().all(|&pid| bearer(pid) == Bearer::Nobody));
        assert!(command.processes().is_empty());
    }

    #[test]
    fn all_of_it_is_ended_at_once() {
        let mut command = shell("start /b ping -n 60 127.0.0.1 > nul & ping -n 60 127.0.0.1 > nul");
        command.let_go::<()>(&[], Inherit::Yes, &[]).unwrap();
        let all = until("it has started them", || {
            let all = command.processes();
            (all.len() > 2).then_some(all)
        });
        command.end_all(124).unwrap();
        assert!(command.until(End::OfAll, None).unwrap());
        assert!(all.iter().all(|&pid| bearer(pid) == Bearer::Nobody));
        assert_eq!(command.wait().unwrap(), Ended::Code(124));
    }

    fn start(program: &str, arguments: &[&str]) -> (io::Result<LetGo>, HeldCommand) {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let mut command =
            HeldCommand::prepare(OsStr::new(program), &arguments, &Variables::default()).unwrap();
        (command.let_go::<()>(&[], Inherit::Yes, &[]), command)
    }

    #[test]
    fn what_cannot_be_run_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.exe");
        std::fs::write(&text, "no program").unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        for missing in [
            "no-such-program",
            "",
            &path(&folder.path().join("none.exe")),
        ] {
            let (started, _) = start(missing, &[]);
            assert!(
                matches!(started, Ok(LetGo::NotFound(_))),
                "{missing}: {started:?}"
            );
        }
        for bad in [&text, folder.path()] {
            let (started, _) = start(&path(bad), &[]);
            assert!(
                matches!(started, Ok(LetGo::CannotExecute(_))),
                "{bad:?}: {started:?}"
            );
        }
    }

    #[test]
    fn a_batch_file_is_run_by_its_name_without_the_end_and_gets_its_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("two words.cmd");
        let out = folder.path().join("out");
        std::fs::write(
            &file,
            format!("@echo \"%~1-%~2\"> \"{}\"\r\n@exit /b 9\r\n", out.display()),
        )
        .unwrap();
        let name = folder.path().join("two words");
        let (started, command) = start(name.to_str().unwrap(), &["a b", "c&d"]);
        assert_eq!(started.unwrap(), LetGo::Started);
        assert_eq!(command.wait().unwrap(), Ended::Code(9));
        assert_eq!(std::fs::read_to_string(&out).unwrap().trim(), "\"a b-c&d\"");
        assert!(is_program(&name) && is_program(&file) && !is_program(&out));
    }

    #[test]
    fn a_number_is_a_processs_as_long_as_it_runs() {
        let me = std::process::id();
        assert_eq!(bearer(me), Bearer::Process);
        assert_eq!(bearer(me + 1), Bearer::Nobody);
        let mut child = Command::new("cmd").args(["/c", "exit"]).spawn().unwrap();
        child.wait().unwrap();
        // Still open in `child`, and so nobody else's.
        assert_eq!(bearer(child.id()), Bearer::Nobody);
    }
}
