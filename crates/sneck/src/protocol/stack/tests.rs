//! What may stand together, and what is seen of several; taking them is tested with real files and processes (`tests/stack`). Where two families of kernel locks are
//! needed for that, on Unix.

use super::seen::merged;
use super::*;
use crate::holder::{Holder, Source};
use crate::place::Registry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

fn protocol(written: &str) -> Result<Arc<dyn Protocol>> {
    let registry = Registry::local();
    registry.protocol(&registry.place(written)?)
}

fn refused(written: &str) -> String {
    let error = protocol(written).expect_err(written);
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    error.to_string()
}

fn places(parts: &[Arc<dyn Protocol>]) -> Vec<String> {
    parts.iter().map(|part| part.place().to_string()).collect()
}

// shape: only Unix has two families
#[cfg(windows)]
#[test]
fn a_family_that_this_system_has_not_is_refused_by_name() {
    for written in ["fcntl:/run/a", "flock+fcntl:/run/a", "fcntl+dotlock:/run/a"] {
        let error = protocol(written).expect_err(written);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("no protocol fcntl"), "{error}");
        assert!(error.to_string().contains("use `flock`"), "{error}");
    }
    let parts = places(&protocol("flock+pidfile:/run/a").unwrap().parts());
    assert_eq!(parts, ["/run/a", "pidfile:/run/a.lock"]);
}

// shape: only Unix has two families
#[cfg(unix)]
#[test]
fn a_claim_stands_beside_the_file_that_is_locked() {
    let parts = |written: &str| places(&protocol(written).unwrap().parts());
    assert_eq!(parts("flock+fcntl:/run/a"), ["/run/a", "fcntl:/run/a"]);
    let mail = ["fcntl:/run/a", "dotlock:/run/a.lock"];
    assert_eq!(parts("fcntl+dotlock:/run/a"), mail);
    let other_way_round = ["dotlock:/run/a.lock", "fcntl:/run/a"];
    assert_eq!(parts("dotlock+fcntl:/run/a"), other_way_round);
    let three = ["/run/a", "pidfile:/run/a.lock", "fcntl:/run/a"];
    assert_eq!(parts("flock+pidfile+fcntl:/run/a"), three);
    assert_eq!(parts("mkdir:/run/a"), [""; 0]);
}

// shape: only Unix has two families
#[cfg(unix)]
#[test]
fn the_order_of_the_names_means_nothing() {
    let identity = |written: &str| protocol(written).unwrap().identity();
    assert_eq!(
        identity("flock+fcntl:/run/a"),
        identity("fcntl+flock:/run/a")
    );
    assert_ne!(
        identity("flock+fcntl:/run/a"),
        identity("fcntl+flock:/run/b")
    );
    assert_ne!(
        identity("flock+fcntl:/run/a"),
        identity("flock+pidfile:/run/a")
    );
}

// shape: only Unix has two families
#[cfg(unix)]
#[test]
fn what_cannot_share_a_path_is_refused() {
    assert!(refused("flock+flock:/run/a").contains("named twice"));
    let same_name = refused("flock+pidfile+dotlock:/run/a");
    assert!(same_name.contains("pidfile and dotlock"), "{same_name}");
    assert!(same_name.contains("Lock::all"), "{same_name}");
    assert!(refused("pidfile+symlink:/run/a").contains("Lock::all"));
    assert!(refused("flock+memory:/run/a").contains("memory does not"));
    for unknown in ["flock+flok:/run/a", "flock+:/run/a", "fl+ock:/run/a"] {
        let said = refused(unknown);
        assert!(said.contains("there is no protocol"), "{said}");
        let scheme = unknown.split(':').next().unwrap();
        assert!(said.contains(&format!("./{scheme}:")), "{said}");
    }
}

/// A protocol of another kind of place.
#[derive(Debug)]
struct Elsewhere {
    inner: Arc<dyn Protocol>,
    can: Capabilities,
    ground: Ground,
}

impl Protocol for Elsewhere {
    fn place(&self) -> &Place {
        self.inner.place()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.can
    }

    fn ground(&self) -> Ground {
        self.ground
    }

    fn contend(&self, claim: &Arc<Claim>) -> Result<Box<dyn Contender>> {
        self.inner.contend(claim)
    }

    fn inspect(&self) -> Result<Sighting> {
        self.inner.inspect()
    }
}

fn elsewhere(
    written: &str,
    ground: Ground,
    change: impl FnOnce(&mut Capabilities),
) -> Arc<dyn Protocol> {
    let inner = protocol(written).unwrap();
    let mut can = inner.capabilities();
    change(&mut can);
    Arc::new(Elsewhere { inner, can, ground })
}

// shape: only Unix has two families
#[cfg(unix)]
#[test]
fn both_families_at_one_path_of_a_network_file_system_would_wait_for_themselves() {
    let place = Place::file("flock+fcntl", "/run/a");
    let stack = |paths: [&str; 2], ground| {
        let parts = paths.map(|written| elsewhere(written, ground, |_| {}));
        Stack::new(place.clone(), parts)
    };
    let there = ["/run/a", "fcntl:/run/a"];
    let error = stack(there, Ground::NetworkFiles).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("`fcntl` alone"), "{error}");
    assert!(stack(there, Ground::Local).is_ok());
    assert!(stack(["/run/a", "fcntl:/run/b"], Ground::NetworkFiles).is_ok());
    let two = stack(["/run/a", "fcntl:/run/b"], Ground::NetworkFiles);
    assert_eq!(two.unwrap().ground(), Ground::NetworkFiles);
}

// shape: only Unix has two families
#[cfg(unix)]
#[test]
fn one_lock_twice_and_two_claims_of_one_name_are_refused() {
    let stack = |parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|p| protocol(p).unwrap()).collect();
        Stack::new(Place::file("test", "x"), parts).map_err(|e| e.to_string())
    };
    let same = stack(&["/run/a", "/run/../run/./a"]).unwrap_err();
    assert!(same.contains("same lock"), "{same}");
    let within = stack(&["/run/a", "flock+fcntl:/run/a"]).unwrap_err();
    assert!(within.contains("same lock"), "{within}");
    for pair in [
        ["pidfile:/run/a", "dotlock:/run/a"],
        ["flock:/run/a", "pidfile:/run/a"],
        ["symlink:/run/a", "fcntl:/run/a"],
    ] {
        let name = stack(&pair).unwrap_err();
        assert!(name.contains("the same name"), "{name}");
    }
    assert!(stack(&["/run/a", "pidfile:/run/a.lock", "memory:a"]).is_ok());
    assert!(stack(&[]).unwrap_err().contains("no lock"));
}

// shape: only Unix has two families
#[cfg(unix)]
#[test]
fn it_promises_no_more_than_all_of_its_parts_do() {
    let can = |parts: [&str; 2]| {
        let parts = parts.map(|written| protocol(written).unwrap());
        Stack::new(Place::file("test", "x"), parts)
            .unwrap()
            .capabilities()
    };
    let kernel = can(["/run/a", "fcntl:/run/a"]);
    let all_kernel = Capabilities {
        modes: Modes::SharedToo,
        crash: Crash::Free,
        ..Capabilities::LEAST
    };
    assert_eq!(kernel, all_kernel);
    let mixed = can(["/run/a", "symlink:/run/b"]);
    let some_claims = Capabilities {
        removal: Removable::Yes,
        ..Capabilities::LEAST
    };
    assert_eq!(mixed, some_claims);
    assert_eq!(can(["/run/a", "pidfile:/run/b"]).mark, LiveMark::Yes);
    assert_eq!(can(["symlink:/run/a", "pidfile:/run/b"]).mark, LiveMark::No);
    assert_eq!(can(["memory:a", "memory:b"]).reach, Reach::Process);
    assert_eq!(can(["memory:a", "/run/b"]).reach, Reach::Machine);
    let server = elsewhere("/run/b", Ground::Local, |can| {
        can.reach = Reach::Network;
        can.tokens = Tokens::Durable;
    });
    let parts = [protocol("/run/a").unwrap(), server];
    let can = Stack::new(Place::file("test", "x"), parts)
        .unwrap()
        .capabilities();
    assert_eq!((can.reach, can.tokens), (Reach::Network, Tokens::Durable));
}

fn held(holders: &[Holder], mark: Option<&Mark>) -> Sighting {
    Sighting::Held {
        holders: holders.to_vec(),
        mark: mark.cloned(),
    }
}

fn seen(sightings: &[&Sighting]) -> Sighting {
    let named = |(index, seen): (usize, &&Sighting)| (format!("part {index}"), (*seen).clone());
    merged(sightings.iter().enumerate().map(named).collect())
}

#[test]
fn what_is_in_the_way_is_not_hidden_by_what_is_free() {
    let foreign = Sighting::Foreign {
        what: "a FIFO".into(),
    };
    let damaged = Sighting::Damaged {
        what: "empty".into(),
        mark: None,
    };
    let unknown = Sighting::Unknown {
        why: "hidden".into(),
    };
    let somebody = held(&[], None);
    // From what hides least to what hides most.
    let ranks = [&Sighting::Free, &unknown, &damaged, &somebody, &foreign];
    for (index, worse) in ranks.iter().enumerate() {
        for better in &ranks[..=index] {
            for pair in [[*worse, *better], [*better, *worse]] {
                let seen = seen(&pair);
                let same = std::mem::discriminant(&seen) == std::mem::discriminant(*worse);
                assert!(same, "{pair:?} gave {seen:?}");
            }
        }
    }
    let Sighting::Foreign { what } = seen(&[&Sighting::Free, &foreign]) else {
        panic!("it is foreign");
    };
    assert_eq!(what, "a FIFO at part 1");
}

#[test]
fn a_claim_is_named_for_removal_only_if_nothing_else_is_in_the_way() {
    let mark = Mark {
        inode: (1, 2),
        changed: 3,
        content: b"7\n".to_vec(),
    };
    let in_the_kernel = Holder::process(Source::Kernel, 7);
    let in_the_claim = Holder {
        since: Some(SystemTime::UNIX_EPOCH),
        ..Holder::process(Source::Record, 7)
    };
    let other = Holder::process(Source::Kernel, 8);
    let claim = held(std::slice::from_ref(&in_the_claim), Some(&mark));
    let marked =
        |seen: &Sighting| matches!(seen, Sighting::Held { mark: Some(m), .. } if *m == mark);
    assert!(marked(&seen(&[&Sighting::Free, &claim])));
    // One process, both parts: what tells more of it is kept.
    let both = seen(&[&held(&[in_the_kernel], None), &claim]);
    assert!(
        marked(&both) && both.holders() == [in_the_claim.clone()],
        "{both:?}"
    );
    let two = seen(&[&held(std::slice::from_ref(&other), None), &claim]);
    assert!(!marked(&two), "{two:?}");
    assert_eq!(two.holders(), [other, in_the_claim]);
    assert!(!marked(&seen(&[&claim, &claim])));
}

/// A part that is held, as a test wants it.
#[derive(Debug, Clone)]
struct HeldPart {
    tended: Arc<AtomicUsize>,
    every: Option<Duration>,
    token: Option<u64>,
    found: Clean,
}

impl Held for HeldPart {
    fn release(&mut self) -> Result<()> {
        Ok(())
    }

    fn standing(&self) -> Standing {
        Standing::Held
    }

    fn token(&self) -> Option<u64> {
        self.token
    }

    fn found(&self) -> Clean {
        self.found
    }

    fn tend(&mut self) -> Option<Duration> {
        self.tended.fetch_add(1, Ordering::Relaxed);
        self.every
    }
}

/// Held in this order, which is not that of the places.
fn holding(parts: &[(usize, &HeldPart)]) -> Holding {
    let place = Place::file("test", "x");
    let had = |(index, part): &(usize, &HeldPart)| Had {
        index: *index,
        place: place.clone(),
        held: Box::new((*part).clone()),
        since: Moment::now(),
        tending: Tending::At(Moment::now()),
    };
    Holding {
        had: parts.iter().map(had).collect(),
        endures: Endures::No,
    }
}

fn part() -> HeldPart {
    HeldPart {
        tended: Arc::default(),
        every: None,
        token: None,
        found: Clean::Unknown,
    }
}

#[test]
fn each_part_is_tended_when_it_is_due_and_no_sooner() {
    let every = |length| HeldPart {
        every: Some(length),
        ..part()
    };
    let (often, seldom, never) = (
        every(Duration::from_millis(1)),
        every(Duration::from_secs(3600)),
        part(),
    );
    let mut holding = holding(&[(1, &seldom), (0, &never), (2, &often)]);
    for _ in 0..5 {
        assert_eq!(holding.tend(), Some(Duration::from_millis(1)));
        std::thread::sleep(Duration::from_millis(2));
    }
    let tended = [&often, &seldom, &never].map(|part| part.tended.load(Ordering::Relaxed));
    assert_eq!(tended, [5, 1, 1]);
}

#[test]
fn the_token_is_that_of_the_first_part_that_has_one() {
    let token = |number| HeldPart {
        token: Some(number),
        ..part()
    };
    let held = holding(&[(2, &token(7)), (1, &token(8)), (0, &part())]);
    assert_eq!(held.token(), Some(8));
    assert_eq!(holding(&[(0, &part()), (1, &part())]).token(), None);
}

#[test]
fn it_was_left_clean_only_if_every_part_was() {
    let found = |found| HeldPart { found, ..part() };
    let [yes, no, unknown] = [Clean::Yes, Clean::No, Clean::Unknown].map(found);
    let of = |parts: [&HeldPart; 2]| holding(&[(0, parts[0]), (1, parts[1])]).found();
    assert_eq!(of([&yes, &yes]), Clean::Yes);
    assert_eq!(of([&yes, &unknown]), Clean::Unknown);
    for other in [&yes, &unknown, &no] {
        assert_eq!(of([other, &no]), Clean::No);
    }
}
