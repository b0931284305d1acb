//! File systems on which no lock can be made, or not that one: read-only, full, without links.
//!
//! They are mounted in a mount namespace of the child's own: nobody else sees them, and they go with the child, whatever becomes of the test. Not for:
//! network file systems, which need a server.
//!
//! The kernel's own FAT is not everywhere. What it refuses is tried twice over: on FAT served through FUSE, where renames that never replace do not work
//! either, and on an ordinary file system whose links strace(1) refuses as FAT does (EPERM), where such renames work.

use crate::{must_be_root, refusal_says, setup, setup_at};
use sneck::ErrorKind;
use sneck_testkit::child::Start;
use sneck_testkit::planted::{claim_of, protocols, protocols_with_numbers, state};
use sneck_testkit::{Child, Setup};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A place in a file system, and how to start whoever sees it.
struct Mounted {
    setup: Setup,
    path: PathBuf,
    script: String,
}

impl Mounted {
    /// The script mounts it at `$M`.
    fn new(scheme: &str, script: &str) -> Mounted {
        must_be_root();
        let (setup, path) = setup_at(scheme, "mount/lock");
        let folder = setup.folder.join("mount");
        fs::create_dir(&folder).expect("our own folder");
        let script = format!(
            "M='{}'; L=$M/lock; set -e; {script}\nexec \"$@\"",
            folder.display()
        );
        Mounted {
            setup,
            path,
            script,
        }
    }

    fn child(&self) -> Child {
        let wrapper = ["unshare", "-m", "sh", "-c", &self.script, "sh"];
        Start::wrapped(&self.setup, &wrapper).child()
    }

    /// Another process that sees what this child sees.
    fn beside(&self, child: &Child) -> Child {
        let target = child.pid().to_string();
        let wrapper = ["nsenter", "-m", "-t", &target];
        Start::wrapped(&self.setup, &wrapper).child()
    }

    /// The same name, as that child sees it.
    fn seen_by(&self, child: &Child) -> PathBuf {
        let path = self.path.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", child.pid())).join(path)
    }

    /// What stands in the file system.
    fn names(&self, child: &Child) -> Vec<String> {
        let path = self.seen_by(child);
        crate::names(path.parent().expect("it has a folder"))
    }
}

/// A claim of this process, as each protocol's own programs write it, as a line of shell. None: the kernel keeps it.
fn claim(scheme: &str, number: &str) -> Option<String> {
    Some(match scheme {
        "symlink" => format!("ln -s {number} $L"),
        "pidfile" | "shlock" | "dotlock" => format!("echo {number} > $L"),
        "labm8" => format!("echo {number} 1795226671.5779793 > $L"),
        "mkdir" => format!("mkdir $L; : > $L/$(hostname).{number}"),
        _ => return None,
    })
}

#[test]
fn on_a_file_system_that_cannot_be_written_no_lock_is_made() {
    for scheme in protocols() {
        let mounted = Mounted::new(scheme, "mount -t tmpfs none $M; mount -o remount,ro $M");
        let mut child = mounted.child();
        refusal_says(
            &child.must_be_refused(),
            ErrorKind::CannotCreate,
            &mounted.path,
        );
        child.tell("acquire it forever");
        refusal_says(
            &child.hear("refused"),
            ErrorKind::CannotCreate,
            &mounted.path,
        );
        assert_eq!(child.order("look"), "Free");
    }
}

#[test]
fn a_file_that_is_there_can_be_flocked_on_a_file_system_that_cannot_be_written() {
    let script = "mount -t tmpfs none $M; echo content > $L; mount -o remount,ro $M";
    let mounted = Mounted::new("flock", script);
    let mut child = mounted.child();
    let at = mounted.seen_by(&child);
    let before = state(&at);
    child.acquire();
    mounted.beside(&child).must_be_refused();
    child.release();
    assert_eq!(state(&at), before);
}

/// Nothing can be removed there and nothing made. Whether the claim is looked at first depends on the system call; waiting would be in vain.
#[test]
fn a_claim_on_a_file_system_that_cannot_be_written_is_refused_and_can_be_seen() {
    for scheme in protocols() {
        for number in ["1", "4194305"] {
            let Some(claim) = claim(scheme, number) else {
                continue;
            };
            let script = format!("mount -t tmpfs none $M; {claim}; mount -o remount,ro $M");
            let mounted = Mounted::new(scheme, &script);
            let mut child = mounted.child();
            let at = mounted.seen_by(&child);
            let before = state(&at);
            let refusal = child.must_be_refused();
            let busy = refusal.starts_with(&format!("Busy [{number}]"));
            if number != "1" || !busy {
                refusal_says(&refusal, ErrorKind::CannotCreate, &mounted.path);
            }
            if scheme == "symlink" && number == "1" {
                assert!(busy, "{refusal}");
            }
            let seen = child.order("look");
            assert!(seen.starts_with("Held") && seen.contains(number), "{seen}");
            assert_eq!(state(&at), before);
        }
    }
}

/// Either it needs no room, or it says that there is none; and half a lock never stays.
#[track_caller]
fn is_held_or_cannot_be_made(mounted: &Mounted) -> bool {
    let mut child = mounted.child();
    let before = mounted.names(&child);
    child.tell("acquire it once");
    let answered = || child.has_said("held") || child.has_said("refused");
    sneck_testkit::block::until("it is held or refused", answered);
    let held = child.has_said("held");
    if held {
        mounted.beside(&child).must_be_refused();
        child.release();
    } else {
        let said = child.said().last().expect("it answered").clone();
        let refusal = said.strip_prefix("refused ").expect("a refusal");
        refusal_says(refusal, ErrorKind::CannotCreate, &mounted.path);
    }
    let mut after = mounted.names(&child);
    if mounted.setup.place.starts_with("flock:") || mounted.setup.place.starts_with("fcntl:") {
        after.retain(|name| name != "lock");
    }
    assert_eq!(after, before, "litter");
    held
}

#[test]
fn on_a_full_disk_a_lock_that_needs_room_cannot_be_made_and_leaves_nothing() {
    for scheme in protocols() {
        let script = "mount -t tmpfs -o size=16k none $M
            dd if=/dev/zero of=$M/filler bs=1k count=64 2>/dev/null || true";
        let held = is_held_or_cannot_be_made(&Mounted::new(scheme, script));
        // What is written nowhere needs no room.
        if matches!(scheme, "flock" | "fcntl" | "symlink") {
            assert!(held, "{scheme}");
        }
    }
}

#[test]
fn on_a_full_disk_a_flock_cannot_be_recorded_and_is_not_kept() {
    let script = "mount -t tmpfs -o size=16k none $M; : > $L
        dd if=/dev/zero of=$M/filler bs=1k count=64 2>/dev/null || true";
    let mounted = Mounted::new("flock", script);
    let mut child = mounted.child();
    child.tell("acquire it once record");
    refusal_says(
        &child.hear("refused"),
        ErrorKind::CannotCreate,
        &mounted.path,
    );
    mounted.beside(&child).acquire();
}

/// Some need more than one: the first one is given back then.
#[test]
fn where_too_few_files_can_be_made_no_lock_is_made_and_none_stays() {
    for scheme in protocols() {
        for free in ["", "1", "1 2"] {
            let script = format!(
                "mount -t tmpfs -o nr_inodes=6 none $M; cd $M
                touch 1 2 3 4 5 6 7 2>/dev/null || true; rm -f {free}; cd /"
            );
            let held = is_held_or_cannot_be_made(&Mounted::new(scheme, &script));
            assert!(
                !held || !free.is_empty(),
                "{scheme} made a file where none can be"
            );
        }
    }
}

/// FAT, served by a process of its own, which ends with the child: no links of either kind, no O_TMPFILE, no RENAME_NOREPLACE.
const FAT: &str = "
    truncate -s 4M $M.image; mkfs.vfat $M.image >/dev/null
    setpriv --pdeathsig KILL fusefat -f -o rw+ $M.image $M >/dev/null 2>&1 </dev/null &
    for i in $(seq 300); do mountpoint -q $M && break; sleep 0.1; done
    mountpoint -q $M";

fn fat(scheme: &str) -> Mounted {
    let there = |name: &str| {
        let look = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output();
        look.is_ok_and(|o| o.status.success())
    };
    assert!(
        there("mkfs.vfat") && there("fusefat") && Path::new("/dev/fuse").exists(),
        "FAT is missing (dosfstools, fusefat, /dev/fuse): run scripts/test, which installs it"
    );
    Mounted::new(scheme, FAT)
}

#[test]
fn where_there_are_no_links_a_protocol_that_needs_them_says_so_and_names_another() {
    for scheme in protocols() {
        let mounted = fat(scheme);
        let mut child = mounted.child();
        match scheme {
            "flock" | "fcntl" | "mkdir" => {
                child.acquire();
                mounted.beside(&child).must_be_refused();
                child.release();
                mounted.beside(&child).acquire();
            }
            _ => {
                let refusal = child.must_be_refused();
                refusal_says(&refusal, ErrorKind::Unsupported, &mounted.path);
                let other = if scheme == "symlink" {
                    "flock"
                } else {
                    "mkdir"
                };
                let named = refusal.contains(&format!("`{other}"));
                assert!(named, "{scheme} names no other: {refusal}");
                assert_eq!(mounted.names(&child), [""; 0], "litter");
            }
        }
    }
}

/// A child for which these system calls fail so.
fn child_that_is_refused(setup: &Setup, calls: &str, error: &str) -> Child {
    let inject = format!("inject={calls}:error={error}");
    let wrapper = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={calls}"),
        "-e",
        &inject,
    ];
    Start::wrapped(setup, &wrapper).child()
}

/// FAT answers EPERM to both kinds of links: that is no want of permission.
#[test]
fn where_links_are_not_permitted_as_on_fat_it_is_the_file_system_that_cannot() {
    for scheme in protocols() {
        let (setup, path) = setup(scheme);
        let mut child = child_that_is_refused(&setup, "link,linkat,symlink,symlinkat", "EPERM");
        if scheme == "symlink" {
            let refusal = child.must_be_refused();
            refusal_says(&refusal, ErrorKind::Unsupported, &path);
            continue;
        }
        // Without links there are still renames that never replace.
        child.acquire();
        setup.child().must_be_refused();
        child.release();
        setup.child().acquire();
    }
}

#[test]
fn where_flock_is_not_to_be_had_it_is_not_replaced_by_something_else_in_silence() {
    for error in ["EOPNOTSUPP", "ENOSYS", "ENOLCK", "EINVAL"] {
        let (setup, path) = setup("flock");
        let mut child = child_that_is_refused(&setup, "flock", error);
        let refusal = child.must_be_refused();
        refusal_says(&refusal, ErrorKind::Unsupported, &path);
        assert!(refusal.contains("another protocol"), "{refusal}");
    }
}

/// In a chroot for instance. Whom /proc would tell of is not known then, and that is all.
#[test]
fn without_proc_locks_are_taken_held_against_others_and_broken() {
    for scheme in protocols() {
        let mounted = Mounted::new(scheme, "mount -t tmpfs none /proc");
        let mut child = mounted.child();
        child.acquire();
        mounted.setup.child().must_be_refused();
        assert_eq!(child.ask("standing it"), "Held", "{scheme}");
        child.release();

        let mut outside = mounted.setup.child();
        outside.acquire();
        child.must_be_refused();
        child.tell("acquire it 30 likely");
        child.hear("refused");
        assert_ne!(child.order("look"), "Free", "{scheme}");
        outside.kill();
        child.acquire();
        child.release();
        assert_eq!(crate::litter(scheme, mounted.path.parent()), [""; 0]);
    }
}

/// Without flock(2) there is no live mark: a claim is still a claim.
#[test]
fn where_flock_is_not_to_be_had_claims_are_made_all_the_same() {
    for scheme in protocols_with_numbers() {
        for error in ["EOPNOTSUPP", "ENOSYS"] {
            let (setup, path) = setup(scheme);
            let mut child = child_that_is_refused(&setup, "flock", error);
            child.acquire();
            setup.child().must_be_refused();
            assert_eq!(child.ask("standing it"), "Held", "{scheme}");
            child.release();
            assert_eq!(crate::litter(scheme, path.parent()), [""; 0]);
        }
    }
}

/// Nor can anybody break there: two that do must exclude each other.
#[test]
fn where_flock_is_not_to_be_had_stale_claims_are_said_to_be_so_and_left_alone() {
    for scheme in protocols_with_numbers() {
        let (setup, path) = setup(scheme);
        claim_of(scheme, &path, "4194305");
        let before = state(&path);
        let mut child = child_that_is_refused(&setup, "flock", "EOPNOTSUPP");
        let refusal = child.must_be_refused();
        refusal_says(&refusal, ErrorKind::Busy, &path);
        assert!(refusal.contains("stale"), "{refusal}");
        assert_eq!(state(&path), before);
    }
}
