//! What a log shows: a pure function, [`judge`].
//!
//! | rule | what breaks it |
//! |---|---|
//! | a stale token is always refused | one that was let in after a higher one |
//! | one party at a time | two inside, unless the first one stood still meanwhile, or the server forgot |
//! | nobody is late for no reason | a party that is refused for its token, and neither stood still nor was forgotten |
//! | tokens rise in the order of entry | one that does not |
//! | no accepted update is lost | a write that is not made from what was written before it; a counter at the end that is another |
//! | after a fault somebody gets in | nobody within the bound |
//!
//! A party that is cut off, or whose server stands still, has no excuse: its own clock ends its lease before the server does. One that stands still cannot look at a clock, and does not know it when it goes on: that is
//! what tokens are for.
//!
//! Not for: what is left at the server (its engine knows), the figures of a whole run (those who count them add verdicts up).

use super::log::{Entry, Ruling, What};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A token that was let in after a higher one.
    StaleAccepted {
        /// When.
        at: u64,
        /// Who.
        name: String,
        /// The token, and the highest one before it.
        tokens: (u64, u64),
    },
    /// Both were inside, and the first one did not stand still.
    TwoInside {
        /// When the second one came.
        at: u64,
        /// Who was there.
        first: String,
        /// Who came.
        second: String,
    },
    /// It came, wrote or left late, and had no reason to.
    Late {
        /// When.
        at: u64,
        /// Who.
        name: String,
    },
    /// Who came later has no higher token.
    TokensFall {
        /// When.
        at: u64,
        /// The earlier and the later one.
        tokens: (u64, u64),
    },
    /// What was accepted before it is gone.
    LostUpdate {
        /// When.
        at: u64,
        /// Who wrote over it.
        name: String,
        /// What the counter was, and what was written.
        values: (u64, u64),
    },
    /// The counter at the end is not what was written last.
    AnotherEnd {
        /// What was written last, and what the counter is.
        values: (u64, u64),
    },
    /// Nobody got in for too long after this fault.
    NobodyGotIn {
        /// Which.
        kind: String,
        /// How long it took; none: nobody ever.
        took: Option<Duration>,
    },
}

/// How long it took until somebody was inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// After which fault.
    pub kind: String,
    /// None: nobody ever.
    pub took: Option<Duration>,
    /// Where somebody had died inside: how long before.
    pub dead: Option<Duration>,
}

/// What a log shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must not be.
    pub violations: Vec<Violation>,
    /// How often somebody was let in.
    pub entries: usize,
    /// Accepted writes.
    pub writes: usize,
    /// Refusals of stale tokens.
    pub refused: usize,
    /// Two at once, of whom the first stood still or was forgotten.
    pub excused: usize,
    /// Who gave up.
    pub gave_up: usize,
    /// Why parties could not acquire, and how often.
    pub troubles: HashMap<String, usize>,
    /// Which faults there were, and how often.
    pub faults: HashMap<String, usize>,
    /// How long it took after each, in order; some have more than one end.
    pub after: Vec<After>,
}

#[derive(Debug)]
struct Stay {
    connection: u64,
    name: String,
    asked: u64,
}

#[derive(Debug, Default)]
struct Scan {
    verdict: Verdict,
    highest: u64,
    latest: Option<u64>,
    counter: u64,
    inside: Vec<Stay>,
    /// When each party last asked.
    asked: HashMap<String, u64>,
    /// Since when and until when each party stood still.
    still: HashMap<String, Vec<(u64, u64)>>,
    forgot: u64,
    /// The last death inside that no entry has followed yet: the end of a connection.
    died: Option<u64>,
    due: Vec<(u64, String)>,
}

/// Judges. `counter`: what it is at the end, if it was asked for. `bound`: how long nobody may be inside after a fault.
#[must_use]
pub fn judge(log: &[Entry], counter: Option<u64>, bound: Duration) -> Verdict {
    let mut scan = Scan::default();
    for entry in log {
        scan.next(entry, bound);
    }
    for (_, kind) in std::mem::take(&mut scan.due) {
        scan.after(kind, None, None, bound);
    }
    if let Some(counter) = counter.filter(|counter| *counter != scan.counter) {
        let values = (scan.counter, counter);
        scan.found(Violation::AnotherEnd { values });
    }
    scan.verdict
}

impl Scan {
    fn found(&mut self, violation: Violation) {
        self.verdict.violations.push(violation);
    }

    fn next(&mut self, entry: &Entry, bound: Duration) {
        let Entry { at, name, .. } = entry;
        match &entry.what {
            What::Asks => {
                self.asked.insert(name.clone(), *at);
            }
            What::Enter(token, ruling) => self.enter(entry, *token, *ruling, bound),
            What::Write(token, value, ruling) => self.write(entry, *token, *value, *ruling),
            What::Leave(token, ruling) => {
                self.ruled(entry, *token, *ruling);
                self.inside.retain(|s| s.connection != entry.connection);
            }
            What::Gone => {
                let before = self.inside.len();
                self.inside.retain(|s| s.connection != entry.connection);
                if self.inside.len() < before {
                    self.died = Some(*at);
                }
            }
            What::GaveUp => self.verdict.gave_up += 1,
            What::Trouble(text) => {
                *self.verdict.troubles.entry(text.clone()).or_default() += 1;
            }
            What::Pause => {
                let still = self.still.entry(name.clone()).or_default();
                still.push((*at, u64::MAX));
            }
            What::GoesOn => {
                let still = self.still.entry(name.clone()).or_default();
                for (_, end) in still.iter_mut().filter(|(_, end)| *end == u64::MAX) {
                    *end = *at;
                }
            }
            What::Fault(kind) => {
                *self.verdict.faults.entry(kind.clone()).or_default() += 1;
            }
            What::Due(kind) => self.due.push((*at, kind.clone())),
            What::Forgot => self.forgot = *at,
            What::Epoch => {
                self.highest = 0;
                self.latest = None;
            }
        }
    }

    /// Since it asked, it stood still, or its server forgot.
    fn is_excused(&self, name: &str, asked: u64) -> bool {
        let still = self.still.get(name).into_iter().flatten();
        self.forgot >= asked && self.forgot > 0 || still.into_iter().any(|(_, end)| *end >= asked)
    }

    fn asked(&self, entry: &Entry) -> u64 {
        self.asked.get(&entry.name).copied().unwrap_or(entry.at)
    }

    fn ruled(&mut self, entry: &Entry, token: u64, ruling: Ruling) {
        let (at, name) = (entry.at, entry.name.clone());
        match ruling {
            Ruling::Stale => {
                self.verdict.refused += 1;
                if !self.is_excused(&name, self.asked(entry)) {
                    self.found(Violation::Late { at, name });
                }
            }
            Ruling::Admitted if token < self.highest => {
                let tokens = (token, self.highest);
                self.found(Violation::StaleAccepted { at, name, tokens });
            }
            Ruling::Admitted => self.highest = token,
        }
    }

    fn enter(&mut self, entry: &Entry, token: u64, ruling: Ruling, bound: Duration) {
        let at = entry.at;
        self.ruled(entry, token, ruling);
        if ruling == Ruling::Stale {
            return;
        }
        self.verdict.entries += 1;
        let died = self.died.take();
        for (since, kind) in std::mem::take(&mut self.due) {
            let ago = |moment| Duration::from_nanos(at - moment);
            self.after(kind, Some(ago(since)), died.map(ago), bound);
        }
        if let Some(earlier) = self.latest.filter(|earlier| *earlier >= token) {
            let tokens = (earlier, token);
            self.found(Violation::TokensFall { at, tokens });
        }
        self.latest = Some(token);
        let stays = std::mem::take(&mut self.inside);
        for stay in &stays {
            if self.is_excused(&stay.name, stay.asked) {
                self.verdict.excused += 1;
            } else {
                let (first, second) = (stay.name.clone(), entry.name.clone());
                self.found(Violation::TwoInside { at, first, second });
            }
        }
        self.inside = stays;
        self.inside.push(Stay {
            connection: entry.connection,
            name: entry.name.clone(),
            asked: self.asked(entry),
        });
    }

    fn write(&mut self, entry: &Entry, token: u64, value: u64, ruling: Ruling) {
        self.ruled(entry, token, ruling);
        if ruling == Ruling::Stale {
            return;
        }
        self.verdict.writes += 1;
        if value != self.counter + 1 {
            let (at, name) = (entry.at, entry.name.clone());
            let values = (self.counter, value);
            self.found(Violation::LostUpdate { at, name, values });
        }
        self.counter = value;
    }

    fn after(
        &mut self,
        kind: String,
        took: Option<Duration>,
        dead: Option<Duration>,
        bound: Duration,
    ) {
        if took.is_none_or(|took| took > bound) {
            let kind = kind.clone();
            self.found(Violation::NobodyGotIn { kind, took });
        }
        self.verdict.after.push(After { kind, took, dead });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::StaleAccepted {
                at,
                name,
                tokens: (token, highest),
            } => {
                write!(f, "{at}: {name} was let in with {token}, after {highest}")
            }
            Violation::TwoInside { at, first, second } => {
                write!(f, "{at}: {second} came in, and {first} was inside")
            }
            Violation::Late { at, name } => {
                write!(f, "{at}: {name} was refused as late, and never stood still")
            }
            Violation::TokensFall {
                at,
                tokens: (earlier, later),
            } => {
                write!(f, "{at}: the token {later} came after {earlier}")
            }
            Violation::LostUpdate {
                at,
                name,
                values: (before, after),
            } => {
                write!(f, "{at}: {name} wrote {after} over {before}")
            }
            Violation::AnotherEnd {
                values: (written, is),
            } => {
                write!(f, "{written} was written last, and at the end it is {is}")
            }
            Violation::NobodyGotIn {
                kind,
                took: Some(took),
            } => {
                write!(f, "after {kind} nobody got in for {took:?}")
            }
            Violation::NobodyGotIn { kind, took: None } => {
                write!(f, "after {kind} nobody got in any more")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line of a log, from "3 a 1 enter 7 ok", in milliseconds.
    fn log(text: &str) -> Vec<Entry> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let entry = |line| {
            let mut entry = Entry::read(line).expect(line);
            assert_eq!(entry.to_string(), line, "it is written as it is read");
            entry.at *= 1_000_000;
            entry
        };
        lines.map(entry).collect()
    }

    fn of(text: &str) -> Verdict {
        judge(&log(text), None, Duration::from_millis(100))
    }

    fn violations(text: &str) -> Vec<Violation> {
        of(text).violations
    }

    const GOOD: &str = "
        1 a 1 asks
        2 a 1 enter 5 ok
        3 a 1 write 5 1 ok
        4 a 1 leave 5 ok
        5 b 2 asks
        6 b 2 enter 9 ok
        7 b 2 write 9 2 ok
        8 b 2 leave 9 ok
        9 a 1 gone
    ";

    #[test]
    fn two_who_come_one_after_the_other_do_nothing_wrong() {
        let verdict = of(GOOD);
        assert_eq!(verdict.violations, []);
        assert_eq!(
            (verdict.entries, verdict.writes, verdict.refused),
            (2, 2, 0)
        );
        assert_eq!(judge(&log(GOOD), Some(2), Duration::ZERO).violations, []);
    }

    #[test]
    fn a_counter_that_is_another_at_the_end_is_found() {
        let found = judge(&log(GOOD), Some(1), Duration::ZERO).violations;
        assert_eq!(found, [Violation::AnotherEnd { values: (2, 1) }]);
    }

    #[test]
    fn a_stale_token_that_is_let_in_is_found_and_so_is_the_update_that_it_destroys() {
        let found = violations(
            "1 a 1 asks
             2 a 1 enter 5 ok
             3 a 0 pause
             4 b 2 asks
             5 b 2 enter 6 ok
             6 b 2 write 6 1 ok
             7 a 0 goes-on
             8 a 1 write 5 1 ok",
        );
        let (at, name) = (8_000_000, "a".to_owned());
        let stale = Violation::StaleAccepted {
            at,
            name: name.clone(),
            tokens: (5, 6),
        };
        let lost = Violation::LostUpdate {
            at,
            name,
            values: (1, 1),
        };
        assert_eq!(found, [stale, lost]);
    }

    #[test]
    fn two_inside_are_found_unless_the_first_stood_still_or_was_forgotten() {
        let with = |more: &str| {
            format!(
                "1 a 1 asks\n2 a 1 enter 5 ok\n{more}\n4 b 2 asks\n5 b 2 enter 6 ok\n6 b 2 leave 6 ok"
            )
        };
        let (first, second) = ("a".to_owned(), "b".to_owned());
        let two = Violation::TwoInside {
            at: 5_000_000,
            first,
            second,
        };
        assert_eq!(violations(&with("")), std::slice::from_ref(&two));
        // Only its own pause excuses it.
        assert_eq!(violations(&with("3 b 0 pause")), std::slice::from_ref(&two));
        for excuse in ["3 a 0 pause", "3 - 0 forgot"] {
            let verdict = of(&with(excuse));
            assert_eq!(
                (verdict.violations, verdict.excused),
                (vec![], 1),
                "{excuse}"
            );
        }
        // A pause that was over before it asked is none.
        let before = with("").replace("1 a 1 asks", "0 a 0 pause\n1 a 0 goes-on\n2 a 1 asks");
        assert_eq!(violations(&before), [two]);
        // Whoever died is not inside.
        assert_eq!(violations(&with("3 a 1 gone")), []);
    }

    #[test]
    fn whoever_is_late_for_no_reason_is_found() {
        let with = |more: &str| {
            format!(
                "1 a 1 asks\n2 b 2 asks\n{more}\n4 b 2 enter 6 ok\n5 b 2 leave 6 ok\n6 a 1 enter 5 stale"
            )
        };
        let late = Violation::Late {
            at: 6_000_000,
            name: "a".to_owned(),
        };
        assert_eq!(violations(&with("")), [late]);
        let verdict = of(&with("3 a 0 pause"));
        assert_eq!((verdict.violations, verdict.refused), (vec![], 1));
    }

    #[test]
    fn tokens_that_do_not_rise_are_found() {
        for (second, more) in [(5, 0), (4, 1)] {
            let text = format!("1 a 1 enter 5 ok\n2 a 1 leave 5 ok\n3 b 2 enter {second} ok");
            let found = violations(&text);
            let (at, tokens) = (3_000_000, (5, second));
            assert_eq!(found.len(), 1 + more, "{found:?}");
            assert!(found.contains(&Violation::TokensFall { at, tokens }));
        }
    }

    #[test]
    fn tokens_may_begin_anew_where_the_judge_was_told() {
        let with =
            |more: &str| format!("1 a 1 enter 5 ok\n2 a 1 leave 5 ok\n{more}\n4 b 2 enter 1 ok");
        assert_eq!(violations(&with("3 - 0 epoch")), []);
        assert_eq!(violations(&with("")).len(), 2);
    }

    #[test]
    fn a_write_from_an_old_reading_is_found() {
        let found = violations(
            "1 a 1 enter 5 ok
             2 a 1 write 5 1 ok
             3 a 1 write 5 2 ok
             4 a 1 write 5 2 ok",
        );
        let (at, name, values) = (4_000_000, "a".to_owned(), (2, 2));
        assert_eq!(found, [Violation::LostUpdate { at, name, values }]);
    }

    #[test]
    fn somebody_has_to_get_in_after_a_fault_and_in_time() {
        let kind = || "cut".to_owned();
        let with = |at: u64| format!("1 - 0 fault cut\n2 - 0 due cut\n{at} a 1 enter 5 ok");
        let after = |took| After {
            kind: kind(),
            took: Some(Duration::from_millis(took)),
            dead: None,
        };
        let verdict = of(&with(50));
        assert_eq!(verdict.faults[&kind()], 1);
        assert_eq!(
            (verdict.violations, verdict.after),
            (vec![], vec![after(48)])
        );
        let verdict = of(&with(500));
        let took = Some(Duration::from_millis(498));
        assert_eq!(
            verdict.violations,
            [Violation::NobodyGotIn { kind: kind(), took }]
        );
        let never = violations("2 - 0 due cut\n3 a 1 enter 4 stale");
        assert!(never.contains(&Violation::NobodyGotIn {
            kind: kind(),
            took: None
        }));
    }

    #[test]
    fn how_long_before_the_next_one_somebody_inside_died_is_told() {
        let log = "1 a 1 enter 5 ok\n2 - 0 due kill\n3 a 1 gone\n4 c 3 gone\n10 b 2 enter 6 ok";
        let verdict = of(log);
        assert_eq!(verdict.after[0].dead, Some(Duration::from_millis(7)));
        assert_eq!(verdict.violations, []);
    }
}
