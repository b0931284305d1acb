//! What may stand together, and what is seen of several; taking them is tested with real files and processes (`tests/stack`). Where two families of kernel
//! locks are needed for that: `families.rs`.

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

fn places(parts: &[Arc<dyn Protocol>]) -> Vec<String> {
    parts.iter().map(|part| part.place().to_string()).collect()
}

// shape: only Unix has two families of kernel locks
#[cfg(unix)]
mod families;

// shape: as above
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
