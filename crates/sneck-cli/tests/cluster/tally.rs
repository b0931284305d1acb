//! What came of many faults: a row for each kind and engine.
//!
//! Not for: judging one world.

use crate::server::{DELAY, Engine, TTL};
use crate::world::SLACK;
use sneck_testkit::judge::Verdict;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

#[derive(Debug, Default, Clone)]
struct Row {
    count: usize,
    longest: Duration,
    /// The shortest time by which one who died inside was dead before the next one came.
    dead: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    engine: Engine,
    rows: BTreeMap<String, Row>,
    entries: usize,
    writes: usize,
    refused: usize,
    excused: usize,
    gave_up: usize,
    troubles: usize,
    violations: usize,
}

impl Tally {
    pub(crate) fn new(engine: Engine) -> Tally {
        Tally {
            engine,
            rows: BTreeMap::new(),
            entries: 0,
            writes: 0,
            refused: 0,
            excused: 0,
            gave_up: 0,
            troubles: 0,
            violations: 0,
        }
    }

    pub(crate) fn add(&mut self, verdict: &Verdict) {
        for (kind, count) in &verdict.faults {
            self.rows.entry(kind.clone()).or_default().count += count;
        }
        for after in &verdict.after {
            let row = self.rows.entry(after.kind.clone()).or_default();
            row.longest = row.longest.max(after.took.unwrap_or(Duration::MAX));
            row.dead = [row.dead, after.dead].into_iter().flatten().min();
        }
        self.entries += verdict.entries;
        self.writes += verdict.writes;
        self.refused += verdict.refused;
        self.excused += verdict.excused;
        self.gave_up += verdict.gave_up;
        self.troubles += verdict.troubles.values().sum::<usize>();
        self.violations += verdict.violations.len();
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = self.engine;
        let bound = TTL + DELAY + SLACK;
        writeln!(
            f,
            "| fault | engine | times | longest until somebody was in, s | asserted, s | dead before the next, s |"
        )?;
        for (kind, row) in &self.rows {
            let Row {
                count,
                longest,
                dead,
            } = row;
            let (longest, bound) = (longest.as_secs_f64(), bound.as_secs());
            let dead = dead.map_or(String::new(), |dead| format!("{:.2}", dead.as_secs_f64()));
            writeln!(
                f,
                "| {kind} | {engine} | {count} | {longest:.2} | {bound} | {dead} |"
            )?;
        }
        let Tally {
            entries,
            writes,
            refused,
            excused,
            gave_up,
            troubles,
            violations,
            ..
        } = self;
        write!(
            f,
            "{engine}: {violations} violations; {entries} entries, {writes} updates, {refused} stale tokens refused, {excused} times two inside with an excuse, {gave_up} gave up, {troubles} errors"
        )
    }
}
