//! The seam on Linux, macOS and FreeBSD.
//!
//! For: forking a command early, holding it at a socket and letting it go with descriptors; the signal mask, the
//! dispositions and the terminal's foreground. Not for: deciding anything about them.
//!
//! # The held command
//!
//! ```text
//!   sneck                                      the command's process
//!   fork ────────────────────────────────────▶ waits in recvmsg, sneck's end of the socket closed
//!   gets the lock (may take hours)
//!   sendmsg: n, n descriptors ───────────────▶ receives them, open across execve
//!                                              restores what sneck or the Rust runtime had changed
//!   recv ◀──── end of file, the end is CLOEXEC ─ execve
//!        ◀──── the error number ─────────────── execve failed: _exit
//! ```
//!
//! The process is forked first because the program still has one thread then, and because a lock file can only name
//! the command's process when there is one. If sneck ends in whatever way before it lets go, SIGKILL included, the
//! child reads an end of file and leaves without executing anything. Once it is let go the child holds the descriptors
//! itself, so nothing that happens to sneck frees the lock under it.

use std::cell::Cell;
use std::ffi::{OsStr, OsString, c_int};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, recv, recvmsg, send, sendmsg,
};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};
use sneck::Party;

use super::{Ended, LetGo};
use crate::plan::Inherit;
use crate::variables::Variables;

#[cfg_attr(target_os = "linux", path = "linux_process.rs")]
#[cfg_attr(not(target_os = "linux"), path = "bsd_process.rs")]
mod process;
pub(crate) use process::bearer;
use process::others_in_group;
#[cfg_attr(target_os = "linux", path = "linux_alarm.rs")]
#[cfg_attr(not(target_os = "linux"), path = "bsd_alarm.rs")]
mod alarm;
use alarm::Alarm;
#[cfg_attr(target_os = "linux", path = "linux_socket.rs")]
#[cfg_attr(not(target_os = "linux"), path = "bsd_socket.rs")]
mod socket;
use socket::{QUIET, say_received, was_received};
#[path = "unix_program.rs"]
mod program;
pub(crate) use program::is_program;
#[path = "unix_group.rs"]
mod group;
use group::{Terminal, group_of, leads_session, signal_own_group, stop_as_asked, stop_group};
pub(crate) use group::{can_erase, in_foreground};
#[path = "unix_mask.rs"]
mod mask;
pub(crate) use mask::spawn_without_signals;
use mask::{block, unblock};
#[path = "unix_signals.rs"]
mod signals;
pub(crate) use signals::Relay;
#[path = "unix_hold.rs"]
mod hold;
pub(crate) use hold::Leash;
#[path = "unix_image.rs"]
mod image;
use image::Image;
#[path = "unix_keeper.rs"]
mod keeper;
pub(crate) use keeper::Keeper;
#[path = "unix_keeping.rs"]
mod keeping;
#[path = "unix_lease.rs"]
mod lease;
pub(crate) use keeping::keep;

/// As many descriptors as Linux passes in one message (SCM_MAX_FD); the others pass some more.
const MOST_DESCRIPTORS: usize = 253;

// ---- what the process was started with ------------------------------------------------------------------------

/// What this process was started with, and a command must get back.
struct Original {
    mask: libc::sigset_t,
    ignores_sigpipe: bool,
    ignores_sigchld: bool,
    ignores_sigtstp: bool,
}

static ORIGINAL: OnceLock<Original> = OnceLock::new();

/// Rust's runtime ignores SIGPIPE before `main`, so this is read when the program is loaded.
// SAFETY: the section holds pointers to functions of the C ABI without arguments that they need; this is one.
#[used]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static READ_AT_LOAD: extern "C" fn() = read_at_load;

/// Runs before Rust's runtime is set up: system calls and one uncontended `OnceLock` only.
extern "C" fn read_at_load() {
    original();
}

fn original() -> &'static Original {
    ORIGINAL.get_or_init(|| Original {
        mask: change_mask(libc::SIG_SETMASK, None),
        ignores_sigpipe: is_ignored(libc::SIGPIPE),
        ignores_sigchld: is_ignored(libc::SIGCHLD),
        ignores_sigtstp: is_ignored(libc::SIGTSTP),
    })
}

// ---- dispositions and masks: plain system calls, safe in a forked child -------------------------------------------

/// Reads the disposition of a signal and, if there is a new one, replaces it. None: the kernel refused.
fn exchange_action(signal: c_int, new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    let mut old = MaybeUninit::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `new` is null or points to a whole sigaction that outlives the call, `old` has room for one. Every
    // caller passes SIG_DFL, SIG_IGN or what this function returned before, never a handler of its own.
    let done = unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) };
    // SAFETY: a sigaction is made of integers and an optional function, for which the zeroes above are valid too.
    let old = unsafe { old.assume_init() };
    (done == 0).then_some(old)
}

fn is_ignored(signal: c_int) -> bool {
    exchange_action(signal, None).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// Sets a signal to be ignored or to its default; returns what it was.
fn set_ignored(signal: c_int, ignored: bool) -> Option<libc::sigaction> {
    // SAFETY: as in `exchange_action`; zeroes mean SIG_DFL, no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = if ignored {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    exchange_action(signal, Some(&action))
}

/// Reads this thread's signal mask and, if there is a set, changes it by that set.
fn change_mask(how: c_int, set: Option<&libc::sigset_t>) -> libc::sigset_t {
    let mut old = MaybeUninit::zeroed();
    let set = set.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `set` is null or points to a whole set that outlives the call, `old` has room for one. It cannot fail:
    // `how` is one of the three known values everywhere below.
    unsafe { libc::pthread_sigmask(how, set, old.as_mut_ptr()) };
    // SAFETY: a sigset_t is an array of integers, and zeroed above.
    unsafe { old.assume_init() }
}

fn all_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: there is room for one set, which the call fills whole.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: filled by the call, and zeroed before it.
    unsafe { set.assume_init() }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: there is room for one set, which the call fills whole.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for &signal in signals {
        // SAFETY: the set was initialised above; a number that is no signal is refused and changes nothing.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

// ---- the held command ---------------------------------------------------------------------------------------------

/// The thread's error number; allocates nothing.
fn last_error() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// A command that has a process but is not executed yet, and afterwards the running command.
///
/// Dropped before it was let go, it leaves at once and is reaped. Dropped after that, it runs on.
#[derive(Debug)]
pub(crate) struct HeldCommand {
    pid: Pid,
    /// Our end of the socket that holds it; None once it was let go.
    hold: Option<OwnedFd>,
    /// How it ended, once it was reaped: from then on its number may be somebody else's.
    ended: Cell<Option<Ended>>,
}

impl HeldCommand {
    /// Forks the process that will become `program`, with these variables added to (or replacing) what is inherited, and
    /// holds it. To be called while the program has one thread and has installed no signal handler.
    ///
    /// While it is held the process keeps the dispositions it inherits, so that the terminal's Ctrl-C ends both.
    pub(crate) fn prepare(
        program: &OsStr,
        arguments: &[OsString],
        variables: &Variables,
    ) -> io::Result<Self> {
        let image = Image::new(program, arguments, variables)?;
        if original().ignores_sigchld {
            // A parent that ignores SIGCHLD could not learn how the command ended. The command gets it back.
            set_ignored(libc::SIGCHLD, false);
        }
        let (ours, theirs) = socket::pair()?;
        // SAFETY: the child runs `held` only, which is async-signal-safe, so other threads, if there are any, may hold
        // whatever locks they like; it never returns from there into code of the parent.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // Or the child would keep itself waiting when the parent has gone.
                drop(ours);
                held(image, &theirs)
            }
            pid => match Pid::from_raw(pid) {
                Some(pid) => Ok(HeldCommand {
                    pid,
                    hold: Some(ours),
                    ended: Cell::new(None),
                }),
                None => Err(io::Error::other("fork returned no process id")),
            },
        }
    }

    /// The process: the same before and after it is let go.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// In whose name claims are made: the command's, so that they are stale when it ends.
    pub(crate) fn claimant(&self) -> Party {
        u32::try_from(self.pid()).map_or_else(|_| Party::this_process(), Party::process)
    }

    /// Lets the process become its program, which inherits what holds the lock, if it is to (open under whatever numbers the kernel
    /// chooses), beside those descriptors that are inherited anyway; with these values of [`Variables::numbers`]. Returns when the program was executed, or could not be.
    pub(crate) fn let_go(
        &mut self,
        holding: &[BorrowedFd<'_>],
        inherit: Inherit,
        numbers: &[Option<u64>],
    ) -> io::Result<LetGo> {
        let inherited = match inherit {
            Inherit::Yes => holding,
            Inherit::No => &[],
        };
        let Some(hold) = self.hold.take() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the command was let go before",
            ));
        };
        match release(&hold, inherited, numbers) {
            Err(error) => {
                // Nothing was sent, so it is still held.
                self.hold = Some(hold);
                Err(error.into())
            }
            Ok(Reply::Executed) => Ok(LetGo::Started),
            Ok(Reply::Gone) => Ok(LetGo::Died),
            Ok(Reply::Refused(error)) => {
                self.wait()?;
                Ok(match error {
                    libc::ENOENT => LetGo::NotFound(error),
                    _ => LetGo::CannotExecute(error),
                })
            }
        }
    }

    /// Waits until the command has ended; signals that are handled meanwhile do not end the wait.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        loop {
            if let Some(ended) = self.reap(WaitOptions::empty())? {
                return Ok(ended);
            }
        }
    }

    /// Whether the command has ended. It is left to be reaped, so that its number is nobody else's and nobody takes it for long gone.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        if self.ended.get().is_some() {
            return Ok(true);
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(retry_on_intr(|| waitid(WaitId::Pid(self.pid), look))?.is_some())
    }

    fn reap(&self, options: WaitOptions) -> io::Result<Option<Ended>> {
        if self.ended.get().is_none() {
            let status = retry_on_intr(|| waitpid(Some(self.pid), options))?;
            self.ended.set(status.and_then(|(_, status)| {
                let code = status.exit_status().map(Ended::Code);
                code.or(status.terminating_signal().map(Ended::Signal))
            }));
        }
        Ok(self.ended.get())
    }

    /// Sends a signal to the command; does nothing once it was reaped.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        if self.ended.get().is_some() {
            return Ok(());
        }
        // SAFETY: kill touches no memory, and the number is our child's for as long as it is not reaped.
        match unsafe { libc::kill(self.pid(), signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for HeldCommand {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            drop(hold);
            // Closing is enough, unless somebody has stopped the process. It has not executed anything: nothing is lost.
            // An error means that it is gone already.
            let _ = self.signal(libc::SIGKILL);
            let _ = self.wait();
        }
    }
}

/// What came of the message that lets the child go.
enum Reply {
    Executed,
    Refused(c_int),
    Gone,
}

/// Sends the message and reads the answer. An error means that the child got nothing.
fn release(
    hold: &OwnedFd,
    inherited: &[BorrowedFd<'_>],
    numbers: &[Option<u64>],
) -> Result<Reply, Errno> {
    let rights = SendAncillaryMessage::ScmRights(inherited);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if inherited.len() > MOST_DESCRIPTORS || (!inherited.is_empty() && !ancillary.push(rights)) {
        return Err(Errno::INVAL);
    }
    // At most 253.
    let message = image::message(inherited.len() as u8, numbers);
    let message = [IoSlice::new(&message)];
    match retry_on_intr(|| sendmsg(hold, &message, &mut ancillary, QUIET)) {
        Ok(_) => {}
        Err(Errno::PIPE | Errno::CONNRESET) => return Ok(Reply::Gone),
        Err(error) => return Err(error),
    }
    if !was_received(hold) {
        return Ok(Reply::Gone);
    }
    let mut error = [0; size_of::<c_int>()];
    let answer = retry_on_intr(|| recv(hold, &mut error[..], RecvFlags::empty()));
    Ok(match answer {
        Ok((_, 0)) => Reply::Executed,
        Ok(_) => Reply::Refused(c_int::from_ne_bytes(error)),
        // It ended with our message unread.
        Err(Errno::CONNRESET) => Reply::Gone,
        // It was sent, so the child may run: to say anything else would be wrong, and waiting for it says the rest.
        Err(_) => Reply::Executed,
    })
}

/// The life of the child: waits at the socket, then becomes the program or leaves.
///
/// Async-signal-safe only, here and in everything called from here: system calls, no allocation, no lock, nothing that
/// could panic. It is a copy of one thread of a process whose other threads may have held any lock. (rustix's calls are
/// bare system calls with buffers on the stack, and `OwnedFd` closes with close(2).) `image` is never dropped.
fn held(mut image: Image, socket: &OwnedFd) -> ! {
    let received = receive(socket, &mut image);
    if !matches!(received, Received::Stay) {
        say_received(socket);
    }
    let error = match received {
        Received::Go => {
            give_back_signals();
            image.execute()
        }
        Received::Stay => leave(0),
        Received::Failed(error) => error,
    };
    // Nobody listens if sneck has gone meanwhile; the status says it as well.
    let _ = send(socket, &error.to_ne_bytes(), QUIET);
    leave(if error == libc::ENOENT { 127 } else { 126 })
}

enum Received {
    Go,
    Stay,
    Failed(c_int),
}

/// Waits for the message that lets the child go, and keeps the descriptors that come with it. They are received without
/// CLOEXEC, so exactly they, and what was inheritable before, pass on.
///
/// Async-signal-safe only: it runs in the child.
fn receive(socket: &OwnedFd, image: &mut Image) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let answer = retry_on_intr(|| {
        let mut message = [IoSliceMut::new(image.room())];
        recvmsg(socket, &mut message, &mut ancillary, RecvFlags::empty())
    });
    let answer = match answer {
        Ok(answer) if answer.bytes > 0 => answer,
        Ok(_end_of_file) => return Received::Stay,
        Err(error) => return Received::Failed(error.raw_os_error()),
    };
    let mut kept = 0;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                let _open_from_now_on = descriptor.into_raw_fd();
                kept += 1;
            }
        }
    }
    // The kernel leaves out what this process has no room for. Without its lock the command must not run.
    if answer.flags.contains(ReturnFlags::CTRUNC) || kept != image.announced() {
        return Received::Failed(libc::EMFILE);
    }
    image.take_numbers();
    Received::Go
}

/// Async-signal-safe only: it runs in the child.
fn give_back_signals() {
    let original = original();
    set_ignored(libc::SIGPIPE, original.ignores_sigpipe);
    set_ignored(libc::SIGCHLD, original.ignores_sigchld);
    change_mask(libc::SIG_SETMASK, Some(&original.mask));
}

/// Async-signal-safe only: it runs in the child.
fn leave(status: c_int) -> ! {
    // SAFETY: _exit runs no destructors and no exit handlers, which belong to the parent; it cannot fail.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test may sleep, and look at a lock, as it likes"
    )]

    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::super::testing::{alone, job, lives, until};
    use super::image::candidates;
    use super::*;

    const SOME_TIME: Duration = Duration::from_millis(100);
    const JOB: &str = "sys::platform::tests::job_hold";
    const LET_GO: &str = "sys::platform::tests::job_let_go";

    /// Not in a shell, which has its own ideas about SIGCHLD.
    const SHOW: [&str; 2] = ["cat", "/proc/self/status"];

    fn held(program: &str, arguments: &[&str]) -> HeldCommand {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        HeldCommand::prepare(OsStr::new(program), &arguments, &Variables::default()).unwrap()
    }

    /// A shell command that gets its arguments as $1, $2 …
    fn held_script(script: &str, arguments: &[&str]) -> HeldCommand {
        let mut all = vec!["-c", script, "sh"];
        all.extend_from_slice(arguments);
        held("sh", &all)
    }

    fn touching(mark: &Path) -> HeldCommand {
        held("touch", &[mark.to_str().unwrap()])
    }

    /// Job: holds a command that would leave the mark named in MARK, and sleeps until it is killed.
    #[test]
    #[ignore = "a job that other tests start"]
    fn job_hold() {
        let mark = std::env::var("MARK").unwrap();
        let command = touching(Path::new(&mark));
        println!("@{}", command.pid());
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }

    /// Job: runs the shell script in SCRIPT, or else what shows the signals, and ends as it does.
    #[test]
    #[ignore = "a job that other tests start"]
    fn job_let_go() {
        let mut command = match std::env::var("SCRIPT") {
            Ok(script) => held_script(&script, &[]),
            Err(_) => held(SHOW[0], &SHOW[1..]),
        };
        assert_eq!(
            command.let_go(&[], Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        match command.wait().unwrap() {
            Ended::Code(code) => std::process::exit(code),
            Ended::Signal(signal) => std::process::exit(128 + signal),
        }
    }

    #[test]
    fn nothing_is_executed_before_it_is_let_go() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let mut command = touching(&mark);
        std::thread::sleep(SOME_TIME);
        assert!(lives(command.pid()));
        assert!(!command.has_ended().unwrap());
        let same_program = fs::read_link(format!("/proc/{}/exe", command.pid())).unwrap();
        assert_eq!(same_program, std::env::current_exe().unwrap());
        assert!(!mark.exists());
        let pid = command.pid();
        assert_eq!(
            command.let_go(&[], Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        assert_eq!(command.wait().unwrap(), Ended::Code(0));
        assert!(command.has_ended().unwrap());
        assert_eq!(command.wait().unwrap(), Ended::Code(0));
        assert_eq!(command.pid(), pid);
        assert!(mark.exists());
        // Reaped: the number may be anybody's by now.
        command.signal(libc::SIGKILL).unwrap();
        assert!(command.let_go(&[], Inherit::Yes, &[]).is_err());
    }

    #[test]
    fn one_that_is_never_let_go_leaves_and_is_reaped_even_if_stopped() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        for stopped in [false, true] {
            let command = touching(&mark);
            let pid = command.pid();
            if stopped {
                command.signal(libc::SIGSTOP).unwrap();
            }
            drop(command);
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
            assert!(!mark.exists());
        }
    }

    #[test]
    fn killing_the_parent_before_it_lets_go_means_that_nothing_is_executed() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let mut parent = job(&[], JOB)
            .env("MARK", &mark)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = parent.stdout.take().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output));
        let child: i32 = lines
            .find_map(|line| {
                let line = line.unwrap();
                line.rsplit_once('@')?.1.parse().ok()
            })
            .unwrap();
        assert!(lives(child));
        parent.kill().unwrap();
        assert_eq!(parent.wait().unwrap().signal(), Some(libc::SIGKILL));
        until("the held child to leave", || (!lives(child)).then_some(()));
        std::thread::sleep(SOME_TIME);
        assert!(!mark.exists());
    }

    #[test]
    fn one_that_dies_while_held_is_told_apart() {
        let _alone = alone();
        let mut command = held("true", &[]);
        command.signal(libc::SIGKILL).unwrap();
        until("it to die", || (!lives(command.pid())).then_some(()));
        assert_eq!(command.let_go(&[], Inherit::Yes, &[]).unwrap(), LetGo::Died);
        assert_eq!(command.wait().unwrap(), Ended::Signal(libc::SIGKILL));
    }

    #[test]
    fn it_inherits_what_is_passed_and_what_was_inheritable_and_nothing_else() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let create = |name: &str| File::create(directory.path().join(name)).unwrap();
        let inheritable = create("inheritable");
        fcntl_setfd(&inheritable, FdFlags::empty()).unwrap();
        let private = create("private");
        let out = directory.path().join("out");
        let mut command = held_script(
            "for f in /proc/$$/fd/*; do readlink $f; done > \"$1\"",
            &[out.to_str().unwrap()],
        );
        // Opened after the fork: only the message can bring it there.
        let passed = [create("passed"), create("passed too")];
        let passed: Vec<BorrowedFd<'_>> = passed.iter().map(AsFd::as_fd).collect();
        assert_eq!(
            command.let_go(&passed, Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        assert_eq!(command.wait().unwrap(), Ended::Code(0));
        let listed = fs::read_to_string(&out).unwrap();
        let has = |name: &str| listed.lines().any(|line| line.ends_with(name));
        assert!(has("/passed"), "{listed}");
        assert!(has("/passed too"), "{listed}");
        assert!(has("/inheritable"), "{listed}");
        assert!(!has("/private"), "{listed}");
        assert!(!listed.contains("socket:"), "{listed}");
        drop(private);
    }

    #[test]
    fn a_kernel_lock_goes_with_its_descriptor_and_outlives_the_parents_copy() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        let gate = directory.path().join("gate");
        assert!(
            Command::new("mkfifo")
                .arg(&gate)
                .status()
                .unwrap()
                .success()
        );
        // Opening the gate waits for somebody who opens its other side.
        let mut command = held_script(": < \"$1\"; exit 3", &[gate.to_str().unwrap()]);
        assert_eq!(
            command.let_go(&[file.as_fd()], Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        drop(file);
        let other = File::open(&path).unwrap();
        let try_lock =
            || rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockShared);
        assert_eq!(try_lock(), Err(Errno::WOULDBLOCK));
        drop(File::options().write(true).open(&gate).unwrap());
        assert_eq!(command.wait().unwrap(), Ended::Code(3));
        try_lock().unwrap();
    }

    #[test]
    fn too_many_descriptors_are_refused_and_it_stays_held() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let mut command = touching(&mark);
        let one = File::open("/dev/null").unwrap();
        assert!(
            command
                .let_go(&vec![one.as_fd(); MOST_DESCRIPTORS + 1], Inherit::Yes, &[])
                .is_err()
        );
        assert!(lives(command.pid()));
        assert_eq!(
            command
                .let_go(&vec![one.as_fd(); MOST_DESCRIPTORS], Inherit::Yes, &[])
                .unwrap(),
            LetGo::Started
        );
        assert_eq!(command.wait().unwrap(), Ended::Code(0));
        assert!(mark.exists());
    }

    /// What the kernel says of a command's signals: which are blocked, ignored and handled.
    fn signals_seen_by(mut command: Command) -> Vec<u64> {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| {
                let (name, mask) = line.split_once(":\t")?;
                // The C library keeps 32 and 33 to itself, and sets them up when a thread is made.
                const INTERNAL: u64 = 0b11 << 31;
                // What the test harness prints may stand before it on the same line.
                let wanted = ["SigBlk", "SigIgn", "SigCgt"];
                wanted
                    .iter()
                    .any(|wanted| name.ends_with(wanted))
                    .then(|| u64::from_str_radix(mask, 16).unwrap() & !INTERNAL)
            })
            .collect()
    }

    #[test]
    fn mask_and_dispositions_are_those_sneck_was_started_with() {
        let bit = |signal: i32| 1_u64 << (signal - 1);
        let changed = [
            "env",
            "--default-signal",
            "--block-signal=USR1,CHLD",
            "--ignore-signal=PIPE,CHLD,HUP",
        ];
        for wrapper in [&["env", "--default-signal"][..], &changed] {
            let mut bare = Command::new(wrapper[0]);
            bare.args(&wrapper[1..]).args(SHOW);
            let bare = signals_seen_by(bare);
            assert_eq!(signals_seen_by(job(wrapper, LET_GO)), bare);
            // The comparison compares something.
            let [blocked, ignored, 0] = bare[..] else {
                panic!("{bare:?}");
            };
            let as_changed = wrapper == changed;
            assert_eq!(blocked & bit(libc::SIGUSR1) != 0, as_changed);
            assert_eq!(ignored & bit(libc::SIGPIPE) != 0, as_changed);
            assert_eq!(ignored & bit(libc::SIGCHLD) != 0, as_changed);
        }
    }

    #[test]
    fn a_status_is_learnt_though_the_parent_ignores_sigchld() {
        let status = job(&["env", "--ignore-signal=CHLD"], LET_GO)
            .env("SCRIPT", "exit 7")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn how_it_ended() {
        let _alone = alone();
        let run = |script: &str| {
            let mut command = held_script(script, &[]);
            assert_eq!(
                command.let_go(&[], Inherit::Yes, &[]).unwrap(),
                LetGo::Started
            );
            command.wait().unwrap()
        };
        assert_eq!(run("exit 0"), Ended::Code(0));
        assert_eq!(run("exit 255"), Ended::Code(255));
        assert_eq!(run("kill -KILL $$"), Ended::Signal(libc::SIGKILL));
        assert_eq!(run("kill -TERM $$"), Ended::Signal(libc::SIGTERM));
    }

    #[test]
    fn what_cannot_be_executed() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("text"), "no program").unwrap();
        fs::write(path("orphan"), "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(path("orphan"), fs::Permissions::from_mode(0o755)).unwrap();
        let start = |program: &str| {
            let mut command = held(program, &[]);
            let pid = command.pid();
            let start = command.let_go(&[], Inherit::Yes, &[]).unwrap();
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "not reaped");
            start
        };
        assert_eq!(
            start("no-such-program-anywhere"),
            LetGo::NotFound(libc::ENOENT)
        );
        assert_eq!(start(&path("nothing")), LetGo::NotFound(libc::ENOENT));
        assert_eq!(start(""), LetGo::NotFound(libc::ENOENT));
        assert_eq!(start(&path("orphan")), LetGo::NotFound(libc::ENOENT));
        assert_eq!(start(&path("text")), LetGo::CannotExecute(libc::EACCES));
        assert_eq!(start(&path("")), LetGo::CannotExecute(libc::EACCES));
        assert_eq!(
            start(&path("text/below")),
            LetGo::CannotExecute(libc::ENOTDIR)
        );
        let zero =
            HeldCommand::prepare(OsStr::new("a\0b"), &[], &Variables::default()).unwrap_err();
        assert_eq!(zero.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_script_without_interpreter_runs_in_the_shell() {
        let _alone = alone();
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        let mut file = File::create(&script).unwrap();
        file.write_all(b"[ \"$0\" = \"$1\" ] && [ \"$2\" = 'a b' ] && exit 42\n")
            .unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o755))
            .unwrap();
        drop(file);
        let script = script.to_str().unwrap();
        let mut command = held(script, &[script, "a b"]);
        assert_eq!(
            command.let_go(&[], Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        assert_eq!(command.wait().unwrap(), Ended::Code(42));
    }

    #[test]
    fn the_search_goes_on_past_what_cannot_be_executed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for name in ["refused", "good"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(&format!("{name}/tool")), "exit 5\n").unwrap();
        }
        fs::set_permissions(path("good/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        let ends = |search: &str| {
            Command::new("/bin/sh")
                .args([
                    "-c",
                    "PATH=$1; export PATH; shift; exec \"$@\"",
                    "sh",
                    search,
                ])
                .arg(std::env::current_exe().unwrap())
                .args(super::super::testing::job_arguments(
                    "sys::platform::tests::job_run_tool",
                ))
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .code()
        };
        let [refused, good, nothing] = ["refused", "good", "nothing"].map(path);
        assert_eq!(ends(&format!("{nothing}:{refused}:{good}")), Some(5));
        assert_eq!(ends(&format!("{nothing}:{refused}")), Some(126));
        assert_eq!(ends(&nothing), Some(127));
    }

    /// Job: runs `tool`, found through PATH.
    #[test]
    #[ignore = "a job that other tests start"]
    fn job_run_tool() {
        let mut command = held("tool", &[]);
        std::process::exit(match command.let_go(&[], Inherit::Yes, &[]).unwrap() {
            LetGo::NotFound(_) => 127,
            LetGo::CannotExecute(_) => 126,
            LetGo::Started | LetGo::Died => match command.wait().unwrap() {
                Ended::Code(code) => code,
                Ended::Signal(signal) => 128 + signal,
            },
        })
    }

    #[test]
    fn where_a_program_is_looked_for() {
        let paths = |program: &str, path: Option<&str>| -> Vec<String> {
            candidates(OsStr::new(program), path.map(OsStr::new))
                .unwrap()
                .into_iter()
                .map(|path| path.into_string().unwrap())
                .collect()
        };
        assert_eq!(paths("a/b", Some("/x")), ["a/b"]);
        assert_eq!(paths("ls", Some("/x:/y/")), ["/x/ls", "/y//ls"]);
        assert_eq!(paths("ls", Some(":/x:")), ["ls", "/x/ls", "ls"]);
        assert_eq!(paths("ls", None), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(paths("", Some("/x")), Vec::<String>::new());
    }

    #[test]
    fn what_is_added_to_the_environment() {
        let _alone = alone();
        let (name, value) = ("SNECK_TEST_ADDED", "a=b c");
        let script =
            "[ \"$SNECK_TEST_ADDED\" = 'a=b c' ] && [ \"$HOME\" = /nowhere ] && [ -n \"$PATH\" ]";
        let mut command = HeldCommand::prepare(
            OsStr::new("sh"),
            &["-c".into(), script.into()],
            &Variables {
                words: vec![
                    (name.into(), value.into()),
                    ("HOME".into(), "/nowhere".into()),
                ],
                numbers: Vec::new(),
            },
        )
        .unwrap();
        assert_eq!(
            command.let_go(&[], Inherit::Yes, &[]).unwrap(),
            LetGo::Started
        );
        assert_eq!(command.wait().unwrap(), Ended::Code(0));
    }

    #[test]
    fn a_thread_without_signals_has_all_of_them_blocked_and_its_maker_none_more() {
        let mask = || change_mask(libc::SIG_SETMASK, None);
        let has = |set: &libc::sigset_t, signal| {
            // SAFETY: the set was filled by the kernel.
            unsafe { libc::sigismember(set, signal) == 1 }
        };
        let before = has(&mask(), libc::SIGUSR2);
        let (sender, masks) = std::sync::mpsc::channel();
        spawn_without_signals("deaf", move || sender.send(mask()).unwrap())
            .unwrap()
            .join()
            .unwrap();
        let inside = masks.recv().unwrap();
        assert!(has(&inside, libc::SIGINT) && has(&inside, libc::SIGUSR2));
        assert!(has(&inside, *signals::real_time_signals().end()));
        assert_eq!(has(&mask(), libc::SIGUSR2), before);
    }
}
