//! What can be made one lock, in which modes; what stands at its parts, and how that is removed.

use super::*;
use sneck::{Cleared, Party, Sighting, Stale, Standing, Timeout, Verdict};
use sneck_testkit::claims;
use sneck_testkit::planted::of_these;
use sneck_testkit::sys::{self, Strange, WAYS_TO_LOCK};
use std::fs;

/// A lock of two parts in one line, the first of which is `flock`, and the second.
fn families() -> (&'static str, &'static str) {
    match of_these(&["flock+fcntl", "flock+pidfile"])[0] {
        "flock+fcntl" => ("flock+fcntl", "fcntl:PATH"),
        other => (other, "pidfile:PATH.lock"),
    }
}

fn refusal(locks: &[&Lock]) -> String {
    let error = Lock::all(locks.iter().copied()).expect_err("it makes no sense");
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    error.to_string()
}

#[test]
fn no_lock_and_the_same_lock_twice_are_refused_and_one_is_one() {
    let two = Two::of("flock", Waiting::Best);
    assert!(refusal(&[]).contains("no lock"));
    assert!(refusal(&[&two.a(), &two.b(), &two.a()]).contains("same lock"));
    let otherwise = two.path("x").join("../a");
    fs::create_dir(two.path("x")).expect("our own folder");
    let otherwise = Lock::new(otherwise).expect("a lock");
    assert!(refusal(&[&two.a(), &otherwise]).contains("same lock"));
    assert!(refusal(&[&two.both(), &two.b()]).contains("same lock"));
    let families = lock(
        Lock::builder(),
        &format!("{}:{}", families().0, two.path("a").display()),
    );
    assert!(refusal(&[&families, &two.a()]).contains("same lock"));
    let claim = lock(
        Lock::builder(),
        &format!("pidfile:{}", two.path("a").display()),
    );
    assert!(refusal(&[&two.a(), &claim]).contains("the same name"));

    let one = Lock::all([two.a()]).expect("one lock");
    assert_eq!(one.place(), two.a().place());
    let guard = taken(&one);
    must_be_busy(&two.a());
    drop(guard);
    drop(taken(&two.a()));
    let one = Lock::all([families]).expect("one lock");
    assert_eq!(one.parts().len(), 2);
    let guard = taken(&one);
    must_be_busy(&two.a());
    drop(guard);
}

#[test]
fn a_whole_is_shown_as_its_places_and_taken_apart_again() {
    let two = Two::of("symlink", Waiting::Best);
    let places = [two.a(), two.b()].map(|lock| lock.place().to_string());
    assert_eq!(two.both().place().to_string(), places.join(" + "));
    let (families, second) = families();
    let families = format!("{families}:{}", two.path("c").display());
    let families = lock(Lock::builder(), &families);
    let three = Lock::all([&two.both(), &families]).expect("locks");
    let shown = three.place().to_string();
    assert_eq!(
        shown,
        format!("{} + {}", places.join(" + "), families.place())
    );
    let parts: Vec<String> = three
        .parts()
        .iter()
        .map(|p| p.place().to_string())
        .collect();
    let path = two.path("c").display().to_string();
    let second = second.replace("PATH", &path);
    let expected = [&places[0], &places[1], &path, &second];
    assert_eq!(parts.iter().collect::<Vec<_>>(), expected);
    let guard = taken(&three);
    for part in three.parts() {
        must_be_busy(&part);
        assert_eq!(part.parts().len(), 1);
    }
    assert_eq!(guard.place().to_string(), shown);
}

#[test]
fn the_order_in_which_they_are_named_makes_no_other_lock() {
    let two = Two::of("memory", Waiting::Best);
    let other = Lock::all([two.b(), two.a()]).expect("two locks");
    let first = taken(&two.both());
    assert!(other.is_held_in_this_process());
    let error = must_be_busy(&other);
    // Known from the line, in which both stand.
    assert_eq!(error.place(), Some(other.place()), "{error}");
    drop(first);
    drop(taken(&other));
}

#[test]
fn each_part_is_taken_in_its_own_mode() {
    let two = Two::of("flock", Waiting::Best);
    let reader = |index| two.one_with(index, |b| b.mode(Mode::Shared));
    let mixed = Lock::all([&reader(0), &two.b()]).expect("two locks");
    let guard = taken(&mixed);
    drop(taken(&reader(0)));
    must_be_busy(&two.a());
    must_be_busy(&reader(1));
    // Whoever only waits for them to be free goes by the same modes.
    let other_readers = Lock::all([&reader(0), &reader(1)]).expect("two locks");
    let refused = other_readers.until_free(Timeout::Once);
    assert!(refused.is_err_and(|e| e.place() == Some(two.b().place())));
    let third = Lock::new(two.path("c")).expect("a lock");
    let only_reads_the_first = Lock::all([&reader(0), &third]).expect("two locks");
    assert!(only_reads_the_first.until_free(Timeout::Once).is_ok());
    // Another process sees the same.
    let mut child = two.setup.child();
    child.tell(&format!("hold it {}", two.names[0]));
    child.hear("refused");
    drop(guard);
    let other = Lock::all([&two.a(), &reader(1)]).expect("two locks");
    let guard = taken(&other);
    must_be_busy(&mixed);
    drop(taken(&reader(1)));
    drop(guard);
    // What has no shared mode is not taken shared, whatever the others are.
    let claim = format!("pidfile:{}", two.path("c").display());
    let claim = lock(Lock::builder().mode(Mode::Shared), &claim);
    for company in [two.a(), reader(0)] {
        let whole = Lock::all([&company, &claim]).expect("two locks");
        let error = whole.try_acquire().expect_err("there is no shared mode");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(error.place(), Some(claim.place()), "{error}");
        drop(taken(&company));
    }
}

#[test]
fn what_cannot_be_taken_leaves_the_others_free() {
    let two = Two::of("flock", Waiting::Best);
    let missing = Lock::new(two.path("missing").join("lock")).expect("a lock");
    let whole = Lock::all([&two.a(), &missing]).expect("two locks");
    let error = whole.try_acquire().expect_err("its folder is missing");
    assert_eq!(error.kind(), ErrorKind::CannotCreate, "{error}");
    assert_eq!(error.place(), Some(missing.place()), "{error}");
    let guard = taken(&two.a());
    // At once, and not when somebody else is done.
    let error = whole.try_acquire().expect_err("its folder is missing");
    assert_eq!(error.kind(), ErrorKind::CannotCreate, "{error}");
    drop(guard);
    // One that is found out only when it is tried.
    let link = lock(
        Lock::builder(),
        &format!("symlink:{}", two.path("s").display()),
    );
    let whole = Lock::all([&two.a(), &link]).expect("two locks");
    fs::write(two.path("s"), "precious").expect("our own folder");
    let error = whole.acquire().expect_err("it is no lock");
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
    assert_eq!(error.place(), Some(link.place()), "{error}");
    drop(taken(&two.a()));
    let seen = whole.holder().expect("one can look");
    assert!(matches!(seen, Sighting::Foreign { .. }), "{seen:?}");
}

#[test]
fn all_that_hold_are_named_to_those_who_look() {
    let two = Two::of("pidfile", Waiting::Best);
    assert_eq!(two.both().holder().expect("one can look"), Sighting::Free);
    let mut holder = two.setup.child();
    holder.tell(&format!("hold it {}", two.names[1]));
    holder.hear("held");
    let pids = || {
        let seen = two.both().holder().expect("one can look");
        let pids = seen.holders().iter().map(|h| h.pid.unwrap_or(0));
        (pids.collect::<Vec<_>>(), two.both().verdict(&seen))
    };
    assert_eq!(pids(), (vec![holder.pid()], Some(Verdict::Alive)));
    let _guard = taken(&two.a());
    assert_eq!(pids(), (vec![std::process::id(), holder.pid()], None));
}

fn plant(two: &Two, name: &str) {
    claims::make("pidfile", &two.path(name), sys::NO_PROCESS).expect("our own folder");
}

#[test]
fn stale_claims_of_all_parts_are_removed_on_the_way_and_by_hand() {
    let two = Two::of("pidfile", Waiting::Best);
    for names in [&["a"][..], &["b"], &["a", "b"]] {
        names.iter().for_each(|name| plant(&two, name));
        let guard = taken(&two.both());
        assert_eq!(guard.broken().len(), names.len());
        drop(guard);
        names.iter().for_each(|name| plant(&two, name));
        let cleared = two.both().break_stale().expect("they can be removed");
        assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
        assert!(!two.path("a").exists() && !two.path("b").exists());
        let again = two.both().break_stale().expect("nothing stands there");
        assert_eq!(again, Cleared::Free);
    }
    // A living holder's stays, and its neighbour's does not.
    let mut holder = two.setup.child();
    holder.tell(&format!("hold it {}", two.names[0]));
    holder.hear("held");
    plant(&two, "b");
    let cleared = two.both().break_stale().expect("one of them");
    assert!(matches!(cleared, Cleared::Left { .. }), "{cleared:?}");
    assert!(two.path("a").exists() && !two.path("b").exists());
    let cleared = two.both().force_release().expect("both can be");
    assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
    must_be_free(&two);
}

#[test]
fn force_does_not_rob_whoever_keeps_the_rest() {
    let two = Two::of("flock", Waiting::Best);
    let written = format!("flock+pidfile:{}", two.path("x").display());
    let beside = two.path("x.lock");
    let whole = |stale| lock(two.setup.builder().stale(stale), &written);
    let somebody = sys::somebody();
    let path = two.path("x");
    let holder = Strange::try_lock(WAYS_TO_LOCK[0], &path, Mode::Exclusive);
    let holder = holder.expect("it is free");
    claims::make("pidfile", &beside, somebody).expect("our own folder");
    let error = whole(Stale::Dead).force_release();
    let error = error.expect_err("a kernel lock cannot be removed");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(error.place(), Some(whole(Stale::Dead).parts()[0].place()));
    assert!(beside.exists());
    let left = whole(Stale::Dead).break_stale().expect("one can look");
    assert!(matches!(left, Cleared::Left { .. }), "{left:?}");
    assert!(beside.exists());
    drop(holder);
    // Held by a process that lives, and wrongly so: by force it can be had.
    fs::write(&beside, format!("{somebody}\n")).expect("our own folder");
    must_be_busy(&whole(Stale::Dead));
    let guard = taken(&whole(Stale::Force));
    assert_eq!(guard.broken().len(), 1);
    assert_eq!(guard.standing(), Standing::Held);
    assert!(beside.exists(), "the new one");
}

#[test]
fn claims_can_be_left_at_all_parts_and_released_or_at_none() {
    let two = Two::of("pidfile", Waiting::Best);
    let party = two.setup.child();
    let whole = two.both_with(|b| b.party(Party::process(party.pid())));
    taken(&whole).leave().expect("files can be left");
    assert!(two.path("a").exists() && two.path("b").exists());
    must_be_busy(&two.both());
    let error = two.both().release_for(Party::this_process());
    assert_eq!(error.expect_err("another's").kind(), ErrorKind::Lost);
    assert!(two.path("a").exists() && two.path("b").exists());
    let released = two.both().release_for(Party::process(party.pid()));
    released.expect("they are its");
    must_be_free(&two);
    // Only one of both is its: then none is released.
    let one = two.one_with(0, |b| b.party(Party::process(party.pid())));
    taken(&one).leave().expect("a file can be left");
    let error = two.both().release_for(Party::process(party.pid()));
    assert_eq!(error.expect_err("not both").kind(), ErrorKind::Lost);
    assert!(two.path("a").exists());

    for mixed in ["flock+pidfile", "pidfile+flock"] {
        let mixed = format!("{mixed}:{}", two.path("x").display());
        let mixed = lock(two.setup.builder(), &mixed);
        let error = taken(&mixed).leave().expect_err("a kernel lock ends");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(!two.path("x.lock").exists(), "released");
        drop(taken(&mixed));
    }
}
