//! Claims in folders, found by their content: those that sneck's own protocols make, in real processes, and what a walk must leave alone.
//!
//! Linux's own, for the kernel's list and mounts. Not for: which content is a claim and which is data (beside the code, `inspect/claims.rs`), nor kernel locks.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock and make what they like"
)]

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use sneck::inspect::{Inspection, Inspector, Kind, State, Survey};
use sneck::{Registry, Verdict, Waiting};
use sneck_testkit::planted::{claim_of, protocols_with_numbers, state};
use sneck_testkit::{Folder, Setup, claims, sys};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

sneck_testkit::entry!(Registry::local);

fn setup(scheme: &str) -> (Setup, PathBuf) {
    let place = |folder: &Path| claims::alone(scheme, folder);
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let lock = setup.folder.join("locks").join("lock");
    (setup, lock)
}

fn under(path: &Path) -> Survey {
    let found = Inspector::new().under(&[path.to_owned()]);
    found.expect("everybody may look here")
}

/// What claims say of the protocol: three of them write the same.
fn written(scheme: &'static str) -> Kind {
    Kind::Claim(match scheme {
        "shlock" | "dotlock" => "pidfile",
        other => other,
    })
}

fn claim_on(file: &Inspection) -> (Kind, &State, Option<u32>) {
    let claim = file
        .holdings
        .iter()
        .find(|h| matches!(h.kind, Kind::Claim(_)));
    let claim = claim.unwrap_or_else(|| panic!("no claim on {file:?}"));
    let named = claim.keepers.first().and_then(|keeper| keeper.holder.pid);
    (claim.kind, &claim.state, named)
}

#[test]
fn a_claim_of_every_protocol_is_found_and_judged_and_nothing_of_it_is_touched() {
    for scheme in protocols_with_numbers() {
        let (setup, lock) = setup(scheme);
        let mut child = setup.child();
        child.acquire();
        let before = state(&lock);
        for _ in 0..2 {
            let found = under(lock.parent().expect("a folder"));
            let [file] = found.files.as_slice() else {
                panic!("{scheme}: {found:?}");
            };
            assert_eq!(file.file.path.as_ref(), Some(&lock));
            let alive = State::Held(Some(Verdict::Alive));
            let expected = (written(scheme), &alive, Some(child.pid()));
            assert_eq!(claim_on(file), expected, "{scheme}");
            assert!(file.is_held() && !file.is_stale() && found.errors.is_empty());
        }
        assert_eq!(state(&lock), before, "{scheme}");
        child.kill();
        let found = under(lock.parent().expect("a folder"));
        let (kind, judged, _) = claim_on(&found.files[0]);
        assert_eq!(kind, written(scheme));
        assert!(matches!(judged, State::Stale(_)), "{scheme}: {judged:?}");
        assert!(!found.files[0].is_held() && found.files[0].is_stale());
        // It is there still, for whoever comes next.
        child = setup.child();
        child.acquire();
        let found = under(lock.parent().expect("a folder"));
        assert_eq!(claim_on(&found.files[0]).2, Some(child.pid()));
        child.release();
        assert!(under(lock.parent().expect("a folder")).files.is_empty());
    }
}

#[test]
fn a_number_that_somebody_wrote_down_long_ago_is_no_lock() {
    let folder = Folder::new();
    for (name, content) in [
        ("compat", "12\n"),
        ("size", "640 480\n"),
        ("list", "3\n1\n2\n"),
    ] {
        fs::write(folder.join(name), content).expect("our own folder");
    }
    assert!(
        under(folder.path()).files.is_empty(),
        "{:?}",
        under(folder.path())
    );
}

#[test]
fn looking_drops_no_lock_of_the_one_who_looks() {
    let folder = Folder::new();
    let path = folder.join("x.lock");
    fs::write(&path, format!("{}\n", std::process::id())).expect("our own folder");
    let file = File::options()
        .write(true)
        .open(&path)
        .expect("our own file");
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("it is free");
    for _ in 0..2 {
        let seen = Inspector::new()
            .path(&path)
            .expect("everybody may look here");
        assert!(
            seen.holdings.iter().any(|h| h.kind == Kind::Posix),
            "{seen:?}"
        );
        let found = under(folder.path());
        let kinds = found.files.iter().flat_map(|f| &f.holdings).map(|h| h.kind);
        assert!(
            kinds.into_iter().any(|kind| kind == Kind::Posix),
            "{found:?}"
        );
    }
}

#[test]
fn a_walk_goes_into_file_systems_below_but_not_into_those_of_the_kernels_own_facts() {
    assert!(
        sys::is_root(),
        "this needs root, to mount: run the tests as root, in a container for instance"
    );
    let folder = Folder::new();
    let (facts, memory) = (folder.join("facts"), folder.join("memory"));
    for place in [&facts, &memory] {
        fs::create_dir(place).expect("our own folder");
    }
    let run = |program: &str, words: &[&str], place: &Path| {
        let status = Command::new(program).args(words).arg(place).status();
        assert!(
            status.expect("it is there").success(),
            "{program} {words:?}"
        );
    };
    let found = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            // SAFETY: no other thread's view changes, and this one's ends with it.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("root may");
            run("mount", &["--make-rprivate"], Path::new("/"));
            run("mount", &["-t", "proc", "proc"], &facts);
            run("mount", &["-t", "tmpfs", "tmpfs"], &memory);
            claim_of("pidfile", &memory.join("x.lock"), std::process::id());
            let found = (
                under(folder.path()),
                under(&facts.join("sys/kernel/random")),
            );
            for place in [&facts, &memory] {
                run("umount", &["--lazy"], place);
            }
            found
        });
        looking.join().expect("it looked")
    });
    let (outside, inside) = found;
    let paths = outside.files.iter().filter_map(|f| f.file.path.as_ref());
    assert_eq!(paths.collect::<Vec<_>>(), [&memory.join("x.lock")]);
    assert!(outside.errors.is_empty() && inside.errors.is_empty());
}
