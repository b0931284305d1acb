//! Who keeps what, however he came to it.

use crate::actor::{Actor, empty};
use crate::{Told, hidden, look, on_machine, seen, told};
use sneck::inspect::{Inspector, Pace};
use sneck_testkit::block::until;
use sneck_testkit::{Folder, sys};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn whoever_took_a_lock_holds_it_and_when_he_gave_it_up_nobody_does() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    for (how, kind, taker) in [
        ("flock", "flock", true),
        ("posix", "posix", true),
        ("ofd", "ofd", false),
    ] {
        for mode in ["x", "s"] {
            let mut actor = Actor::new();
            let pid = actor.pid();
            let descriptor = actor.locks(how, &path, &format!(", {mode:?}"));
            let expected = match taker {
                true => format!("{kind} {mode} * by {pid}: {pid} took"),
                false => format!("{kind} {mode} *: {pid} has"),
            };
            let found = seen(&path);
            assert_eq!(Told::of(&found).holdings, [expected]);
            assert!(found.is_held() && found.oddities.is_empty());
            assert_eq!(found.limits, hidden());
            let keeper = &found.holdings[0].keepers[0];
            assert_eq!(
                format!("{:?}", keeper.descriptors),
                format!("[{descriptor}]")
            );
            let command = keeper.holder.command.clone().expect("/proc tells it");
            assert!(command.contains("-c"), "{command}");
            assert_eq!(keeper.holder.user.as_deref(), Some("root"));
            assert!(keeper.holder.started.is_some());
            assert_eq!(keeper.life.threads, Some(1));
            actor.does(&format!("os.close({descriptor})"));
            assert!(!seen(&path).is_held());
        }
    }
}

#[test]
fn the_child_of_a_killed_flock_1_keeps_the_lock_and_is_named() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut taker = Command::new("flock")
        .arg(&path)
        .args(["sh", "-c", "echo $$; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("flock(1) of util-linux");
    let input = taker.stdin.take();
    let mut heir = String::new();
    let mut output = BufReader::new(taker.stdout.take().expect("a pipe"));
    output.read_line(&mut heir).expect("it says its number");
    let (pid, heir) = (taker.id(), heir.trim());
    let now = told(&path);
    let both = format!("flock x * by {pid}: {pid} took, {heir} inherited");
    assert_eq!((now.holdings, now.oddities), (vec![both], vec![]));
    // Whether its parent has reaped it or not.
    taker.kill().expect("our own child");
    sys::until_ended(&taker);
    let is_heirs = || {
        let now = told(&path);
        let one = format!("flock x * by {pid}: {heir} inherited");
        assert_eq!(now.holdings, [one]);
        assert_eq!(now.oddities, [format!("TakerEnded {{ taker: {pid} }}")]);
    };
    is_heirs();
    taker.wait().expect("our own child");
    is_heirs();
    drop(input);
    until("the heir has ended", || !look(&path).is_held());
}

#[test]
fn a_posix_lock_is_its_takers_alone_whoever_inherits_the_descriptor() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    let pid = actor.pid();
    actor.locks("posix", &path, "");
    actor.does("child()");
    assert_eq!(
        told(&path).holdings,
        [format!("posix x * by {pid}: {pid} took")]
    );
    actor.kill();
    assert!(!seen(&path).is_held());
}

#[test]
fn an_ofd_lock_is_of_all_who_have_the_descriptor() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    actor.locks("ofd", &path, "");
    let child: u32 = actor.does("child()").parse().expect("a number");
    let mut pids = [actor.pid(), child];
    pids.sort_unstable();
    let [first, second] = pids;
    let both = format!("ofd x *: {first} has, {second} has");
    assert_eq!(told(&path).holdings, [both]);
    actor.kill();
    let now = told(&path);
    assert_eq!(now.holdings, [format!("ofd x *: {child} has")]);
    assert_eq!(now.oddities, [""; 0]);
}

#[test]
fn a_descriptor_that_was_passed_to_a_daemon_is_the_daemons() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let socket = folder.join("socket");
    for how in ["flock", "ofd"] {
        let _ = fs::remove_file(&socket);
        let (mut taker, mut daemon) = (Actor::new(), Actor::new());
        let (pid, there) = (taker.pid(), daemon.pid());
        let descriptor = taker.locks(how, &path, "");
        daemon.begins(&format!("receive({socket:?})"));
        until("the daemon listens", || socket.exists());
        taker.does(&format!("send({socket:?}, {descriptor})"));
        daemon.has_done();
        taker.does(&format!("os.close({descriptor})"));
        let now = told(&path);
        if how == "flock" {
            let held = format!("flock x * by {pid}: {there} inherited");
            assert_eq!(now.holdings, [held]);
            assert_eq!(now.oddities, [format!("PassedOn {{ taker: {pid} }}")]);
        } else {
            // The kernel does not say who took it.
            assert_eq!(now.holdings, [format!("ofd x *: {there} has")]);
            assert_eq!(now.oddities, [""; 0]);
        }
    }
}

/// Nobody has it, and nobody gets in.
#[test]
fn a_descriptor_on_its_way_through_a_socket_is_nobodys() {
    let folder = Folder::new();
    for how in ["flock", "ofd"] {
        let path = empty(&folder.join(how));
        let mut actor = Actor::new();
        let pid = actor.pid();
        let descriptor = actor.locks(how, &path, "");
        actor.does(&format!("float_away({descriptor})"));
        let here = Inspector::new().path(&path).expect("one can look");
        let inode = here.file.inode.expect("it is there");
        // Where a process hides what it has open, it may be that one.
        let odd = match how {
            "ofd" if !hidden().is_empty() => vec![],
            _ => vec!["Nobody".to_owned()],
        };
        for found in [here, on_machine(inode)] {
            let now = Told::of(&found);
            let held = match how {
                "flock" => format!("flock x * by {pid}: ? listed"),
                _ => "ofd x *: ? listed".into(),
            };
            assert_eq!((now.holdings, &now.oddities), (vec![held], &odd));
            assert!(found.is_held());
        }
        actor.does("[end.close() for end in ends]");
        assert!(!seen(&path).is_held());
    }
}

#[test]
fn shared_locks_of_several_are_one_holding_for_each_taker() {
    let folder = Folder::new();
    for how in ["flock", "posix"] {
        let path = empty(&folder.join(how));
        let mut actors = [Actor::new(), Actor::new(), Actor::new()];
        let mut expected = Vec::new();
        for actor in &mut actors {
            actor.locks(how, &path, ", 's'");
            let pid = actor.pid();
            expected.push((pid, format!("{how} s * by {pid}: {pid} took")));
        }
        expected.sort_unstable();
        let expected: Vec<String> = expected.into_iter().map(|(_, text)| text).collect();
        assert_eq!(told(&path).holdings, expected);
    }
}

/// They have no taker, so they cannot be told apart: all have it.
#[test]
fn shared_ofd_locks_of_several_name_them_all() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actors = [Actor::new(), Actor::new(), Actor::new()];
    for actor in &mut actors {
        actor.locks("ofd", &path, ", 's'");
    }
    let mut pids = actors.each_ref().map(Actor::pid);
    pids.sort_unstable();
    let [a, b, c] = pids;
    let all = format!("ofd s *: {a} has, {b} has, {c} has");
    assert_eq!(told(&path).holdings, [all]);
}

#[test]
fn ranges_are_merged_and_split_as_the_kernel_has_them() {
    let folder = Folder::new();
    for how in ["posix", "ofd"] {
        let path = empty(&folder.join(how));
        let (mut one, mut other) = (Actor::new(), Actor::new());
        let (a, b) = (one.pid(), other.pid());
        let by = |pid: u32, range: &str| match how {
            "posix" => format!("posix x {range} by {pid}: {pid} took"),
            _ => format!("ofd x {range}: {pid} has"),
        };
        // 0-99 and 100-199 are one, 300- is another.
        let descriptor = one.locks(how, &path, ", 'x', 0, 100");
        one.does(&format!("{how}({descriptor}, 'x', 100, 100)"));
        one.does(&format!("{how}({descriptor}, 'x', 300)"));
        other.locks(how, &path, ", 'x', 200, 50");
        let expected = [by(a, "0-199"), by(b, "200-249"), by(a, "300-")];
        assert_eq!(told(&path).holdings, expected);
        // Out of the middle, and half of it to read.
        one.does(&format!("{how}({descriptor}, '-', 50, 10)"));
        one.does(&format!("{how}({descriptor}, 's', 300, 100)"));
        let shared = by(a, "300-399").replace(" x ", " s ");
        let expected = [
            by(a, "0-49"),
            by(a, "60-199"),
            by(b, "200-249"),
            shared,
            by(a, "400-"),
        ];
        assert_eq!(told(&path).holdings, expected);
    }
}

#[test]
fn a_range_at_the_far_end_of_what_a_file_can_be_is_told() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut actor = Actor::new();
    let pid = actor.pid();
    actor.locks("posix", &path, ", 'x', 2**63 - 2, 1");
    let last = (1_u64 << 63) - 2;
    let expected = format!("posix x {last}-{last} by {pid}: {pid} took");
    assert_eq!(told(&path).holdings, [expected]);
}

#[test]
fn a_lease_is_told_and_is_no_lock() {
    let folder = Folder::new();
    for mode in ["x", "s"] {
        let path = empty(&folder.join(mode));
        let mut actor = Actor::new();
        let pid = actor.pid();
        actor.locks("lease", &path, &format!(", {mode:?}"));
        let now = told(&path);
        let held = format!("lease {mode} * by {pid}: {pid} took");
        assert_eq!((now.holdings, now.oddities), (vec![held], vec![]));
    }
}

/// Its state is Z, and its other threads have all that it had open.
#[test]
fn a_process_whose_first_thread_has_ended_is_a_holder_as_any_other() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let file = fs::File::open(&path).expect("it is there");
    let process = sys::zombie_leader();
    let pid = process.pid();
    // It inherited the descriptor; the lock is the open file's.
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("it is free");
    let own = std::process::id();
    drop(file);
    let now = told(&path);
    let held = format!("flock x * by {own}: {pid} inherited");
    assert_eq!(now.holdings, [held]);
    let keeper = &seen(&path).holdings[0].keepers[0];
    assert_eq!(
        (keeper.life.pace, keeper.life.threads),
        (Pace::Runs, Some(2))
    );
    drop(process);
    until("it has ended", || !look(&path).is_held());
}
