//! Programs of both families of kernel locks at one `flock+fcntl`, which excludes them all, as neither family does alone; mail software at `fcntl+dotlock`.
//! Not for: what several locks do to each other (`tests/stack`).

use super::fcntl::{LCKDO, RUNLOCK, WITH_LOCK_EX};
use super::files::DOTLOCKFILE;
use super::flock::{CHPST, FLOCK, SETLOCK};
use super::python::python;
use super::*;
use sneck::Mode;

const BOTH: &str = "flock+fcntl";

/// `fcntl.lockf`: a POSIX record lock.
const LOCKF: Company = Company {
    scheme: "fcntl",
    hold: |path| {
        let waits = "
import fcntl
file = open(path, 'a')
fcntl.lockf(file, fcntl.LOCK_EX)
stay()
";
        python(waits, path)
    },
    once: |path| {
        let tries = "
import fcntl
file = open(path, 'a')
once(lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB), OSError)
";
        python(tries, path)
    },
    refused: 9,
    ..FLOCK
};

/// A lock of an open file description, which is on no process's account.
const OFD: Company = Company {
    hold: |path| ofd("F_OFD_SETLKW", "stay()", path),
    once: |path| ofd("F_OFD_SETLK", "", path),
    ..LOCKF
};

fn ofd(call: &str, then: &str, path: &Path) -> Command {
    let script = format!(
        "
import fcntl, struct
file = open(path, 'a')
whole = struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
once(lambda: fcntl.fcntl(file, fcntl.{call}, whole), OSError)
{then}
"
    );
    python(&script, path)
}

/// All that lock a file in the kernel.
const ALL: [&Company; 8] = [
    &FLOCK,
    &SETLOCK,
    &CHPST,
    &LCKDO,
    &WITH_LOCK_EX,
    &RUNLOCK,
    &LOCKF,
    &OFD,
];

fn at_both(company: &Company) -> Company {
    Company {
        scheme: BOTH,
        ..*company
    }
}

#[test]
fn programs_of_both_families_and_this_library_exclude_each_other() {
    for company in ALL {
        exclude_each_other(&at_both(company), &WAYS);
    }
}

#[test]
fn programs_of_both_families_and_this_library_see_each_other_die() {
    for company in ALL {
        see_each_other_die(&at_both(company), &[Waiting::Best]);
    }
}

#[test]
fn programs_of_either_family_and_this_library_take_turns() {
    for company in [&FLOCK, &CHPST, &LCKDO, &RUNLOCK, &OFD] {
        take_turns(&at_both(company));
    }
}

#[test]
fn readers_of_both_families_share_with_ours_and_exclude_our_writers() {
    let lockf = |how: &str, then: &str, path: &Path| {
        let script = format!(
            "
import fcntl
file = open(path, 'a+')
once(lambda: fcntl.lockf(file, fcntl.{how} | fcntl.LOCK_NB), OSError)
{then}
"
        );
        python(&script, path)
    };
    let (setup, path) = setup(BOTH, Waiting::Best);
    let reader = || setup.lock_with(|b| b.mode(Mode::Shared)).try_acquire();
    let flock = |how: &str| code(wrapping("flock", &[how], &path, &["true"]));

    let ours = reader().expect("it is free");
    assert_eq!(flock("-sn"), 0);
    assert_eq!(flock("-xn"), 1);
    assert_eq!(code(lockf("LOCK_SH", "", &path)), 0);
    assert_eq!(code(lockf("LOCK_EX", "", &path)), 9);
    drop(ours);

    let ours = setup.lock().try_acquire().expect("it is free");
    assert_eq!(flock("-sn"), 1);
    assert_eq!(code(lockf("LOCK_SH", "", &path)), 9);
    drop(ours);

    let theirs = [
        holding("flock", &["--no-fork", "-s"], &path),
        lockf("LOCK_SH", "stay()", &path),
    ];
    for reads in theirs {
        let mut peer = Peer::start(reads);
        peer.must_say("in");
        drop(reader().expect("readers share"));
        let error = setup.lock().try_acquire().expect_err("they read");
        assert!(error.is_held(), "{error}");
        peer.wait();
    }
    for writes in [FLOCK.hold, LOCKF.hold] {
        let mut peer = Peer::start(writes(&path));
        peer.must_say("in");
        let error = reader().expect_err("they write");
        assert!(error.is_held(), "{error}");
        peer.wait();
    }
}

#[test]
fn a_mailbox_is_locked_and_has_its_dotlock_beside_it() {
    let (setup, path) = setup("fcntl+dotlock", Waiting::Best);
    fs::write(&path, "From ada\n").expect("our own folder");
    let beside = path.with_extension("lock.lock");
    let guard = setup.lock().try_acquire().expect("it is free");
    assert_eq!(names(setup.folder.path()), ["x.lock", "x.lock.lock"]);
    assert_eq!(code((LCKDO.once)(&path)), LCKDO.refused);
    assert_eq!(code((DOTLOCKFILE.once)(&beside)), DOTLOCKFILE.refused);
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    assert_eq!(names(setup.folder.path()), ["x.lock"]);
    assert_eq!(fs::read(&path).expect("it is there"), b"From ada\n");

    for (part, (company, at)) in [(&LCKDO, &path), (&DOTLOCKFILE, &beside)]
        .into_iter()
        .enumerate()
    {
        let mut peer = Peer::start((company.hold)(at));
        peer.must_say("in");
        let error = setup.lock().try_acquire().expect_err("they hold it");
        let theirs = setup.lock().parts()[part].place().clone();
        assert_eq!(error.place(), Some(&theirs), "{error}");
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        peer.go_on();
        let guard = waiter.wait().expect("they have released");
        peer.wait();
        guard.release().expect("it is held");
    }
}
