//! Every fault there is, in an order of chance, at each engine; again and again for as long as `SNECK_CLUSTER_SECONDS` says (`scripts/stress`). `SNECK_SEED` brings an order back, `SNECK_CLUSTER_FAULTS=links-cut,links-cut` chooses the faults, and `SNECK_CLUSTER_TELLS` prints what the judge wrote down.
//!
//! The seed chooses the order, victims, lengths and the parties' habits; when the system lets whom run it does not choose, so a failure may need more than one try to come back.
//!
//! Not for: that violations are found (`unchecked.rs`).

use crate::faults::{self, Kind, Time};
use crate::server::Engine;
use crate::tally::Tally;
use crate::world::World;
use sneck_testkit::dice::Dice;
use sneck_testkit::judge::Checks;
use std::time::{Duration, Instant};

fn rage(engine: Engine) {
    let seconds = std::env::var("SNECK_CLUSTER_SECONDS").unwrap_or_default();
    let time = match seconds.is_empty() {
        true => Time::Short,
        false => Time::Ample,
    };
    let end = Instant::now() + Duration::from_secs_f64(seconds.parse().unwrap_or(0.0));
    let mut tally = Tally::new(engine);
    let mut seed = Dice::seed("SNECK_SEED");
    loop {
        println!("{engine}: SNECK_SEED={seed}");
        tally.add(&one_world(engine, seed, time));
        if Instant::now() >= end {
            break;
        }
        seed += 1;
    }
    println!("{tally}");
}

fn one_world(engine: Engine, seed: u64, time: Time) -> sneck_testkit::judge::Verdict {
    let mut dice = Dice::new(seed);
    let mut kinds = dice.shuffled(faults::of(engine, time));
    if let Ok(only) = std::env::var("SNECK_CLUSTER_FAULTS") {
        let only: Vec<&str> = only.split(',').collect();
        kinds = only
            .iter()
            .filter_map(|word| kinds.iter().find(|kind| kind.to_string() == **word))
            .copied()
            .collect();
    }
    // Its tokens do not grow over lost data *and* a clock set back; so no data is lost after that.
    kinds.sort_by_key(|kind| *kind == Kind::ServerClock);
    let mut world = World::start(engine, Checks::On, dice);
    world.begin();
    for kind in kinds {
        let begun = Instant::now();
        world.bring(kind);
        if std::env::var_os("SNECK_CLUSTER_TELLS").is_some() {
            println!("{engine}: {kind} {:.1}", begun.elapsed().as_secs_f64());
        }
    }
    let (verdict, text) = world.end();
    if std::env::var_os("SNECK_CLUSTER_TELLS").is_some() {
        println!("{text}");
    }
    if !verdict.violations.is_empty() {
        println!("{text}");
        for violation in &verdict.violations {
            println!("{engine}, SNECK_SEED={seed}: {violation}");
        }
        panic!(
            "{engine}, SNECK_SEED={seed}: {} violations, above",
            verdict.violations.len()
        );
    }
    verdict
}

macro_rules! engines {
    ($($name:ident $engine:ident)*) => {$(
        mod $name {
            #[test]
            fn keeps_its_promises_whatever_befalls_it() {
                super::rage(crate::server::Engine::$engine);
            }
        }
    )*};
}

engines! { etcd Etcd etcd3 Etcd3 postgres Postgres redis Redis }
