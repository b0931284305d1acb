//! What the test kit says of the operating system is so: tests of locks rest on it.
//!
//! Not for: forks, signals and traces, which only Unix has; their tests would notice.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{Registry, Waiting};
use sneck_testkit::{Child, Folder, Journal, Setup, block, planted, sys};
use std::fs::{self, File};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

/// A lock that other processes know nothing of: they need not wait for each other.
fn setup() -> Setup {
    Setup::new(
        Registry::local,
        |_| "memory:here".into(),
        Waiting::Best,
        CHILD_ENTRY,
    )
}

fn takes_turns(setup: &Setup) -> Child {
    let mut child = setup.child();
    let journal = setup.folder.join(format!("journal-{}", child.pid()));
    child.tell(&format!("take-turns {}", journal.display()));
    child.hear("turn");
    child
}

#[test]
fn a_process_that_is_stopped_stands_still_and_goes_on_where_it_was() {
    let setup = setup();
    let mut child = takes_turns(&setup);
    for _ in 0..3 {
        sys::stop(child.pid());
        assert!(sys::runs(child.pid()), "it stands still, and is there");
        let mut before = 0;
        // What it had said is still on its way.
        block::until("it says nothing more", || {
            thread::sleep(Duration::from_millis(30));
            let now = child.said().len();
            std::mem::replace(&mut before, now) == now
        });
        thread::sleep(Duration::from_millis(100));
        assert_eq!(child.said().len(), before, "it stands still");
        sys::go_on(child.pid());
        block::until("it goes on", || child.said().len() > before);
    }
}

#[test]
fn a_process_runs_until_it_is_killed_and_no_longer() {
    assert!(sys::runs(std::process::id()));
    assert!(!sys::runs(sys::NO_PROCESS));
    let setup = setup();
    let (mut reaped, mut left) = (takes_turns(&setup), takes_turns(&setup));
    assert!(sys::runs(reaped.pid()) && sys::runs(left.pid()));
    reaped.kill();
    left.kill_without_reaping();
    assert!(!sys::runs(reaped.pid()) && !sys::runs(left.pid()));
}

#[test]
fn lines_that_several_processes_and_threads_write_are_all_there() {
    let setup = setup();
    let path = setup.folder.join("journal");
    let mut children = [(); 4].map(|()| setup.child());
    for child in &mut children {
        child.tell(&format!("course 50 3 {} ", path.display()));
    }
    for child in &mut children {
        child.hear("done");
    }
    // A damaged line would be a panic.
    assert_eq!(Journal::open(&path).stays(), 4 * 50 * 3);
}

#[test]
fn threads_and_what_is_open_are_counted() {
    let folder = Folder::new();
    // Other tests run beside this one, in their own threads.
    let (threads, open) = (sys::count_threads(), sys::count_descriptors());
    let (here, over) = (Barrier::new(101), Barrier::new(101));
    let files: Vec<File> = (0..100)
        .map(|n| File::create(folder.join(n.to_string())).expect("our own folder"))
        .collect();
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                here.wait();
                over.wait();
            });
        }
        here.wait();
        let (more_threads, more_open) = (sys::count_threads(), sys::count_descriptors());
        over.wait();
        assert!(more_threads >= threads + 80, "{threads}, {more_threads}");
        assert!(more_open >= open + 80, "{open}, {more_open}");
    });
    drop(files);
    block::until("they are gone", || {
        sys::count_threads() < threads + 20 && sys::count_descriptors() < open + 20
    });
}

#[test]
fn a_file_has_a_number_of_its_own_whatever_its_name() {
    let folder = Folder::new();
    let [first, second, third] = ["first", "second", "third"].map(|n| folder.join(n));
    assert_eq!(sys::file_number(&first), None);
    fs::write(&first, "").expect("our own folder");
    fs::create_dir(&second).expect("our own folder");
    let (one, two) = (sys::file_number(&first), sys::file_number(&second));
    assert!(
        one.is_some() && two.is_some() && one != two,
        "{one:?} {two:?}"
    );
    fs::rename(&first, &third).expect("our own folder");
    assert_eq!(sys::file_number(&third), one);
}

#[test]
fn this_machine_has_a_name() {
    let name = sys::host_name();
    assert!(!name.is_empty() && !name.contains('\0'), "{name:?}");
}

#[test]
fn all_that_may_stand_at_a_locks_place_can_be_put_there_and_looks_as_it_did_until_touched() {
    let mut looks = Vec::new();
    for thing in planted::things() {
        let folder = Folder::new();
        let path = folder.join("lock");
        thing.plant(&path);
        let look = planted::state(&path);
        assert_eq!(planted::state(&path), look, "{}", thing.name);
        assert!(!looks.contains(&look), "{}: {look}", thing.name);
        looks.push(look);
        if path.symlink_metadata().is_ok_and(|m| m.is_file()) {
            fs::write(&path, "other").expect("our own folder");
            assert_ne!(planted::state(&path), looks[looks.len() - 1]);
        }
    }
}

#[test]
fn there_is_somebody_who_always_lives() {
    assert_ne!(sys::somebody(), std::process::id());
    assert!(sys::runs(sys::somebody()));
}
