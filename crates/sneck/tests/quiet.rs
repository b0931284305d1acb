//! Whoever waits on events sleeps until there is one. Counted are its sleeps: one that is woken by its own looks, or by those of others who wait, sleeps
//! thousands of times while nothing happens.
//!
//! Not for: that an event does wake (`signals.rs`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep as they like"
)]

use sneck::{Registry, Waiting};
use sneck_testkit::child::Start;
use sneck_testkit::{Child, Setup, block};
use std::fs;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

/// Protocols that wait on events, by choice or because there is no queue in the kernel.
const WAYS: [(&str, Waiting); 8] = [
    ("flock", Waiting::Events),
    ("fcntl", Waiting::Events),
    ("pidfile", Waiting::Best),
    ("shlock", Waiting::Best),
    ("dotlock", Waiting::Best),
    ("labm8", Waiting::Best),
    ("mkdir", Waiting::Best),
    ("symlink", Waiting::Best),
];

/// The net below the events is cast after 100 ms, 1 s, 10 s; some more for the beginning.
const SLEEPS: usize = 12;

#[test]
fn those_who_wait_on_events_sleep_while_nothing_happens_and_do_not_wake_each_other() {
    for (scheme, waiting) in WAYS {
        let place = |folder: &std::path::Path| format!("{scheme}:{}/lock", folder.display());
        let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
        let mut holder = setup.child();
        holder.acquire();
        let logs = [0, 1].map(|n| setup.folder.join(format!("log-{n}")).display().to_string());
        let mut waiters: Vec<Child> = Vec::new();
        for log in &logs {
            let strace = ["strace", "-f", "-qq", "-o", log, "-e", "trace=poll,ppoll"];
            let mut waiter = Start::wrapped(&setup, &strace).child();
            waiter.begin_to_wait();
            waiters.push(waiter);
        }
        thread::sleep(Duration::from_millis(400));
        for log in &logs {
            let sleeps = fs::read_to_string(log).unwrap_or_default();
            let sleeps = sleeps.lines().filter(|l| l.contains("poll(")).count();
            assert!(sleeps <= SLEEPS, "{scheme}: {sleeps} sleeps");
        }
        // All of them were woken by what happened.
        holder.release();
        while !waiters.is_empty() {
            let next =
                |waiters: &mut Vec<Child>| waiters.iter_mut().position(|w| w.has_said("held"));
            block::until("the next one has it", || next(&mut waiters).is_some());
            if let Some(at) = next(&mut waiters) {
                waiters.remove(at).release();
            }
        }
    }
}
