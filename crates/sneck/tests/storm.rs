//! A storm of kills for every protocol: about ten seconds each, or as long as `SNECK_STORM_SECONDS` says (`scripts/stress` runs them long).
//!
//! `memory` has no other processes to be in a storm with. How it is done, and why process numbers that come round do no harm: `sneck_testkit::storm`. Not for chosen moments (`crash_points.rs`, `break_race.rs`).

use sneck::{Registry, Waiting, protocol::Crash};
use sneck_testkit::storm::{self, Weather, storm};
use sneck_testkit::{Setup, claims};
use std::time::Duration;

sneck_testkit::entry!(Registry::local, storm::commands);

/// A journal of so long can be read in a moment.
const PIECE: f64 = 5.0;

/// A storm, in pieces: with the best way to wait, and by polling, in turn. Each piece begins with an empty folder and leaves one.
fn rage(scheme: &str) {
    let seconds = std::env::var("SNECK_STORM_SECONDS").unwrap_or_default();
    let seconds: f64 = seconds.parse().unwrap_or(10.0);
    let mut all = Weather::default();
    let (mut left, mut ways) = (
        seconds,
        [Waiting::Best, Waiting::Polling].into_iter().cycle(),
    );
    let mut crash = Crash::Free;
    while left > 0.0 {
        let place = |folder: &std::path::Path| claims::alone(scheme, folder);
        let setup = Setup::new(
            Registry::local,
            place,
            ways.next().unwrap_or_default(),
            CHILD_ENTRY,
        );
        crash = setup.lock().capabilities().crash;
        let length = Duration::from_secs_f64(left.min(PIECE));
        let weather = storm(&setup, scheme, length);
        let least = storm::least(length);
        assert!(weather.acquired >= least, "too little was done: {weather}");
        all += weather;
        left -= PIECE;
    }
    println!("{scheme}: {seconds} s, {all}");
    assert!(all.kills as f64 >= seconds / 2.0, "no storm: {all}");
    // Each is a holder's with a chance of one in twelve or so: of so many, some were.
    if all.kills > 150 {
        assert!(all.stops > 0 && all.inside > 0, "{all}");
        assert_eq!(all.broken > 0, crash == Crash::Stale, "{all}");
    }
}

macro_rules! protocols {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn keeps_two_apart_and_can_be_had_in_a_storm_of_kills() {
                super::rage(stringify!($name));
            }
        }
    )*};
}

protocols! { flock fcntl symlink pidfile shlock labm8 dotlock mkdir }
