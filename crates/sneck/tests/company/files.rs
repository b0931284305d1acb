//! Programs that make a file under the lock's name and remove it afterwards: whoever dies leaves it behind. Not for: libraries for Python (`python.rs`).
//!
//! None of them waits by itself in less than a second, so the scripts try again and again.

use super::*;
use sneck::ErrorKind;

/// `dotlockfile -p` writes the pid of whoever started it, here the shell.
const DOTLOCKFILE_WITH_PID: Company = Company {
    scheme: "dotlock",
    hold: |path| dotlockfile("-p", "wait_for 4; stay; dotlockfile -u \"$path\"", path),
    once: |path| dotlockfile("-p", "try || exit; dotlockfile -u \"$path\"", path),
    refused: 4,
    named: true,
    leaves: Leaves::Stale,
    breaks: true,
    ripe: Duration::ZERO,
    stays: &[],
};

/// Without `-p` it writes `0`, and reads nobody's pid.
pub(super) const DOTLOCKFILE: Company = Company {
    hold: |path| dotlockfile("", "wait_for 4; stay; dotlockfile -u \"$path\"", path),
    once: |path| dotlockfile("", "try || exit; dotlockfile -u \"$path\"", path),
    named: false,
    leaves: Leaves::Claim,
    breaks: false,
    ..DOTLOCKFILE_WITH_PID
};

fn dotlockfile(option: &str, script: &str, path: &Path) -> Command {
    program("dotlockfile");
    let begin = format!("try() {{ dotlockfile {option} -l -r 0 \"$path\"; }}\n");
    shell(&format!("{begin}{script}"), path)
}

const LOCKFILE_CREATE: Company = Company {
    hold: |path| {
        let script = "wait_for 4; stay; lockfile-remove \"$path\"";
        lockfile_create("", script, &bare(path))
    },
    once: |path| {
        let script = "try || exit; lockfile-remove \"$path\"";
        lockfile_create("", script, &bare(path))
    },
    ..DOTLOCKFILE
};

const LOCKFILE_CREATE_WITH_PID: Company = Company {
    hold: |path| {
        let script = "wait_for 4; stay; lockfile-remove \"$path\"";
        lockfile_create("-p", script, &bare(path))
    },
    once: |path| {
        let script = "try || exit; lockfile-remove \"$path\"";
        lockfile_create("-p", script, &bare(path))
    },
    ..DOTLOCKFILE_WITH_PID
};

fn lockfile_create(option: &str, script: &str, path: &Path) -> Command {
    program("lockfile-create");
    let begin = format!("try() {{ lockfile-create {option} -r 0 \"$path\"; }}\n");
    shell(&format!("{begin}{script}"), path)
}

/// procmail's lockfile(1). It writes `0`, read-only, and breaks nothing unless it is told after how long.
const LOCKFILE: Company = Company {
    hold: |path| lockfile("wait_for 73; stay; rm -f \"$path\"", path),
    once: |path| lockfile("try || exit; rm -f \"$path\"", path),
    refused: 73,
    ..DOTLOCKFILE
};

fn lockfile(script: &str, path: &Path) -> Command {
    program("lockfile");
    let begin = "try() { lockfile -r 0 \"$path\"; }\n";
    shell(&format!("{begin}{script}"), path)
}

/// mutt's helper: an empty file of mode 000 beside the mailbox, which must exist.
const MUTT_DOTLOCK: Company = Company {
    hold: |path| mutt_dotlock("wait_for 3; stay; $mutt -u \"$path\"", path),
    once: |path| mutt_dotlock("try || exit; $mutt -u \"$path\"", path),
    refused: 3,
    stays: &["x"],
    ..DOTLOCKFILE
};

fn mutt_dotlock(script: &str, path: &Path) -> Command {
    let begin = ": >>\"$path\"; try() { \"$mutt\" -r 0 \"$path\"; }\n";
    let mut command = shell(&format!("{begin}{script}"), &bare(path));
    command.env("mutt", tool("mutt/usr/bin/mutt_dotlock"));
    command
}

/// INN 1's shlock writes `pid\n`.
pub(super) const SHLOCK_1: Company = Company {
    scheme: "shlock",
    hold: |path| shlock(1, "", "wait_for 1; stay; rm -f \"$path\"", path),
    once: |path| shlock(1, "", "try || exit; rm -f \"$path\"", path),
    refused: 1,
    named: true,
    leaves: Leaves::Stale,
    breaks: true,
    ripe: Duration::ZERO,
    stays: &[],
};

/// INN 2's shlock writes `%10d\n`, and leaves alone what was made in this very second, whosever it is.
const SHLOCK_2: Company = Company {
    hold: |path| shlock(2, "", "wait_for 1; stay; rm -f \"$path\"", path),
    once: |path| shlock(2, "", "try || exit; rm -f \"$path\"", path),
    ripe: Duration::from_millis(1100),
    ..SHLOCK_1
};

/// In the lock's folder: it makes its temporary file where it is.
fn shlock(inn: u8, option: &str, script: &str, path: &Path) -> Command {
    let begin = format!("try() {{ \"$shlock\" {option} -p $$ -f \"$path\"; }}\n");
    let mut command = shell(&format!("{begin}{script}"), path);
    if inn == 1 {
        command.env("shlock", tool("inn/usr/lib/news/bin/shlock"));
    } else {
        command.env("shlock", tool("inn2/usr/lib/news/bin/shlock"));
        command.env("LD_LIBRARY_PATH", tool("inn2-inews/usr/lib/news"));
    }
    command.current_dir(path.parent().expect("the lock's folder"));
    command
}

const FEW: [Waiting; 2] = [Waiting::Best, Waiting::Polling];

#[test]
fn dotlockfile_and_this_library_exclude_each_other() {
    exclude_each_other(&DOTLOCKFILE, &WAYS);
}

#[test]
fn dotlockfile_and_this_library_wait_for_a_person_when_the_other_dies() {
    see_each_other_die(&DOTLOCKFILE, &FEW);
}

#[test]
fn dotlockfile_with_pid_and_this_library_exclude_each_other() {
    exclude_each_other(&DOTLOCKFILE_WITH_PID, &WAYS);
}

#[test]
fn dotlockfile_with_pid_and_this_library_see_each_other_die() {
    see_each_other_die(&DOTLOCKFILE_WITH_PID, &FEW);
}

#[test]
fn lockfile_create_and_this_library_exclude_each_other() {
    exclude_each_other(&LOCKFILE_CREATE, &FEW);
}

#[test]
fn lockfile_create_and_this_library_wait_for_a_person_when_the_other_dies() {
    see_each_other_die(&LOCKFILE_CREATE, &FEW);
}

#[test]
fn lockfile_create_with_pid_and_this_library_exclude_each_other() {
    exclude_each_other(&LOCKFILE_CREATE_WITH_PID, &FEW);
}

#[test]
fn lockfile_create_with_pid_and_this_library_see_each_other_die() {
    see_each_other_die(&LOCKFILE_CREATE_WITH_PID, &FEW);
}

#[test]
fn lockfile_of_procmail_and_this_library_exclude_each_other() {
    exclude_each_other(&LOCKFILE, &WAYS);
}

#[test]
fn lockfile_of_procmail_and_this_library_wait_for_a_person_when_the_other_dies() {
    see_each_other_die(&LOCKFILE, &FEW);
}

#[test]
fn mutt_dotlock_and_this_library_exclude_each_other() {
    exclude_each_other(&MUTT_DOTLOCK, &WAYS);
}

#[test]
fn mutt_dotlock_and_this_library_wait_for_a_person_when_the_other_dies() {
    see_each_other_die(&MUTT_DOTLOCK, &FEW);
}

#[test]
fn shlock_of_inn_1_and_this_library_exclude_each_other() {
    exclude_each_other(&SHLOCK_1, &WAYS);
}

#[test]
fn shlock_of_inn_1_and_this_library_see_each_other_die() {
    see_each_other_die(&SHLOCK_1, &FEW);
}

#[test]
fn shlock_of_inn_2_and_this_library_exclude_each_other() {
    exclude_each_other(&SHLOCK_2, &WAYS);
}

#[test]
fn shlock_of_inn_2_and_this_library_see_each_other_die() {
    see_each_other_die(&SHLOCK_2, &FEW);
}

#[test]
fn a_claim_that_shlock_wrote_in_binary_is_respected_and_its_death_seen() {
    for inn in [1, 2] {
        let (setup, path) = setup("shlock", Waiting::Best);
        let hold = || {
            let mut peer = Peer::start(shlock(
                inn,
                "-b",
                "wait_for 1; stay; rm -f \"$path\"",
                &path,
            ));
            peer.must_say("in");
            assert_eq!(
                fs::read(&path).expect("it is there"),
                peer.pid().to_ne_bytes()
            );
            let error = setup.lock().try_acquire().expect_err("they hold it");
            assert_eq!(error.holders()[0].pid, Some(peer.pid()), "{error}");
            let lock = setup.lock();
            let waiter = must_block(move || lock.acquire());
            peer.must_wait();
            (peer, waiter)
        };
        let (mut peer, waiter) = hold();
        peer.go_on();
        let guard = waiter.wait().expect("they have released");
        guard.release().expect("it is held");
        let (mut peer, waiter) = hold();
        peer.kill();
        let guard = waiter.wait().expect("it is dead");
        assert_eq!(guard.broken()[0].pid, Some(peer.pid()));
        guard.release().expect("it is held");
        assert!(names(setup.folder.path()).is_empty());
    }
}

/// With `-b` it reads four bytes as a number, and takes any text for a dead process: ours, and that of another shlock.
#[test]
fn shlock_in_binary_robs_every_claim_in_text_and_we_say_so() {
    let (setup, path) = setup("shlock", Waiting::Best);
    let guard = setup.lock().try_acquire().expect("it is free");
    let peer = Peer::start(shlock(2, "-b", "wait_for 1; stay; rm -f \"$path\"", &path));
    peer.must_say("in");
    let theirs = claim(&path);
    assert!(matches!(guard.standing(), Standing::Lost(_)));
    let error = guard.release().expect_err("it was taken away");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    assert_eq!(claim(&path), theirs);
}

#[test]
fn lockfile_of_procmail_and_mutt_dotlock_rob_the_living_when_told_to_and_we_say_so() {
    let forces: [fn(&Path) -> Command; 2] = [
        |path| shell("lockfile -r 9 -1 -l 1 -s 0 \"$path\"", path),
        |path| mutt_dotlock("\"$mutt\" -f -r 0 \"$path\"", path),
    ];
    for force in forces {
        let (setup, path) = setup("dotlock", Waiting::Best);
        let guard = setup.lock().try_acquire().expect("it is free");
        assert_eq!(code(force(&path)), 0);
        let theirs = claim(&path);
        assert!(matches!(guard.standing(), Standing::Lost(_)));
        let error = guard.release().expect_err("it was taken away");
        assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
        assert_eq!(claim(&path), theirs);
    }
}

/// It compares the file's two times, not any clock: a claim whose last change is five minutes older than its last reading.
#[test]
fn dotlockfile_breaks_what_was_not_touched_for_five_minutes_and_with_pid_only_the_dead() {
    let folder = Folder::new();
    let path = folder.join("x.lock");
    let aged = |minutes: &str| {
        fs::write(&path, format!("{}\n", std::process::id())).expect("our own folder");
        let mut touch = program("touch");
        touch.args(["-m", "-d", minutes]).arg(&path);
        assert_eq!(code(touch), 0);
    };
    for (age, option, expected) in [
        ("-4 minutes", "", 4),
        ("-6 minutes", "", 0),
        ("-6 minutes", "-p", 4),
    ] {
        aged(age);
        assert_eq!(
            code(dotlockfile(option, "try", &path)),
            expected,
            "{age} {option}"
        );
    }
}

/// Whoever tries once in the second in which a claim was made is refused, however dead its process.
#[test]
fn shlock_of_inn_2_breaks_no_claim_of_this_very_second_and_that_of_inn_1_breaks_what_names_nobody()
{
    let folder = Folder::new();
    let path = folder.join("x.lock");
    for nobody in ["0\n", "", "text\n"] {
        fs::write(&path, nobody).expect("our own folder");
        assert_eq!(code(shlock(1, "", "try", &path)), 0, "{nobody:?}");
        fs::remove_file(&path).expect("it is there");
        fs::write(&path, nobody).expect("our own folder");
        assert_eq!(code(shlock(2, "", "wait_for 1", &path)), 0, "{nobody:?}");
        fs::remove_file(&path).expect("it is there");
    }
    let dead = "4194305\n";
    let refused = (0..20).any(|_| {
        fs::write(&path, dead).expect("our own folder");
        code(shlock(2, "", "try", &path)) == 1
    });
    assert!(refused, "each of these took place at the turn of a second");
}

/// Those that never break a claim by its number. The others have a race without any death: one reads the number, its process releases and ends, another one
/// makes a claim, and the first removes that.
#[test]
fn programs_that_make_files_and_this_library_take_turns() {
    for company in [&DOTLOCKFILE, &LOCKFILE_CREATE, &LOCKFILE, &MUTT_DOTLOCK] {
        take_turns(company);
    }
    // It breaks no claim of this second, so that the race has no room here.
    take_turns(&SHLOCK_2);
}
