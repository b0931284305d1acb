//! What commands do in these tests: jobs, each in a process of its own, in the test's folder.

use crate::stage::{PATIENCE, program, until};
use sneck::Mode;
use sneck_testkit::{Journal, sys};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, exit};
use std::thread::sleep;
use std::time::Duration;
use windows_sys::Win32::System::Console::{
    AllocConsole, CTRL_C_EVENT, FreeConsole, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};

fn another(job: &str) -> Command {
    let mut command = Command::new(program());
    command.arg(format!("jobs::job_{job}")).args([
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

fn put(name: &str) {
    fs::write(name, "").expect("written");
}

/// Notes that it is in, counts, and goes.
#[test]
#[ignore = "a job that other tests start"]
fn job_visit() {
    let journal = Journal::open(Path::new("journal"));
    journal.stay(Mode::Exclusive);
    exit(0);
}

/// Says that it is in, and stays until it is told to leave or the folder goes.
#[test]
#[ignore = "a job that other tests start"]
fn job_stay() {
    put("in");
    until("told to leave", || {
        Path::new("leave").exists() || !Path::new("in").exists()
    });
    exit(3);
}

/// Says what time it is, again and again.
#[test]
#[ignore = "a job that other tests start"]
fn job_tick() {
    let mut file = File::create("ticks").expect("made");
    let start = sys::now();
    while sys::now() - start < PATIENCE.as_nanos() as u64 {
        writeln!(file, "{}", sys::now()).expect("written");
    }
}

/// Starts the one that says the time, and waits for it.
#[test]
#[ignore = "a job that other tests start"]
fn job_parent() {
    let mut child = another("tick").spawn().expect("it runs");
    child.wait().expect("reaped");
}

/// Says when it came.
#[test]
#[ignore = "a job that other tests start"]
fn job_come() {
    let came = sys::now();
    // Whoever was to be gone has time to show that it is not.
    sleep(Duration::from_millis(300));
    fs::write("came", came.to_string()).expect("written");
    exit(0);
}

/// Leaves another one behind.
#[test]
#[ignore = "a job that other tests start"]
fn job_background() {
    let child = another("stay").spawn().expect("it runs");
    until("it is in", || Path::new("in").exists());
    drop(child);
    exit(5);
}

/// Ends as a program does that went wrong.
#[test]
#[ignore = "a job that other tests start"]
fn job_crash() {
    let nowhere = std::hint::black_box(8 as *const u8);
    // SAFETY: none, that is the point: the process is to end by a fault, and nothing else is in it.
    let byte = unsafe { nowhere.read_volatile() };
    exit(i32::from(byte));
}

// ---- the console ---------------------------------------------------------------------------------------------------------

extern "system" fn survive(_: u32) -> i32 {
    put("told");
    1
}

/// Survives Ctrl-C, says so, and leaves later.
#[test]
#[ignore = "a job that other tests start"]
fn job_survive() {
    // SAFETY: a function of the right type that stays where it is.
    assert_ne!(unsafe { SetConsoleCtrlHandler(Some(survive), 1) }, 0);
    put("in");
    until("told of Ctrl-C", || Path::new("told").exists());
    until("told to leave", || Path::new("leave").exists());
    exit(7);
}

/// Gets a console of its own, starts the WORDS on it (what they say goes to the file `said`), and sends it Ctrl-C when the file `now` is there. Ends as they do.
#[test]
#[ignore = "a job that other tests start"]
fn job_console() {
    // SAFETY: takes nothing. There may be none to give up.
    unsafe { FreeConsole() };
    // SAFETY: takes nothing.
    assert_ne!(
        unsafe { AllocConsole() },
        0,
        "{}",
        std::io::Error::last_os_error()
    );
    // SAFETY: a function of the right type that stays where it is.
    assert_ne!(unsafe { SetConsoleCtrlHandler(Some(ignore), 1) }, 0);
    let words = std::env::var("WORDS").expect("WORDS");
    let mut words = words.split('\t');
    let mut child = Command::new(words.next().expect("a program"))
        .args(words)
        .stderr(File::create("said").expect("made"))
        .spawn()
        .expect("it runs");
    until("now", || Path::new("now").exists());
    // SAFETY: takes numbers; 0 is everybody on this console.
    let sent = unsafe { GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) };
    assert_ne!(sent, 0, "{}", std::io::Error::last_os_error());
    exit(child.wait().expect("reaped").code().expect("a code"));
}

extern "system" fn ignore(_: u32) -> i32 {
    1
}
