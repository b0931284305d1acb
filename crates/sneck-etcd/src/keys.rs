//! Which keys are claims, in which order they stand, and what is written there.
//!
//! | key | what it is |
//! |---|---|
//! | `name/LEASE` | an exclusive claim: as `etcdctl lock name` and clientv3's `concurrency.Mutex` have it |
//! | `name/shared-LEASE` | a shared claim: of ours only |
//!
//! `LEASE` is the number of the lease that the key is attached to, in hexadecimal, without leading zeros. The order is that of the revisions in which the keys were created.
//! What looks otherwise is no claim at this lock, though it may be one at another, whose name goes on after the slash.
//!
//! Not for: making or removing them (`protocol.rs`, `tenure.rs`).

use crate::session::{decoded, encoded, number};
use serde_json::{Map, Value, json};
use sneck::{Claim, Holder, Mode, Source};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

const SHARED: &str = "shared-";
/// What longer strings of a holder's are cut to, in characters: a command line can be megabytes.
const LONGEST: usize = 300;

/// A range of keys, as etcd writes it: from here, up to there and without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// The keys of one lock.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn of(name: &str) -> Keys {
        Keys {
            prefix: format!("{name}/"),
        }
    }

    /// The key of a claim on this lease.
    pub(crate) fn claim(&self, mode: Mode, lease: u64) -> Vec<u8> {
        let mark = match mode {
            Mode::Exclusive => "",
            Mode::Shared => SHARED,
        };
        format!("{}{mark}{lease:x}", self.prefix).into_bytes()
    }

    /// All claims, of either mode.
    pub(crate) fn all(&self) -> Range {
        // What begins with the slash ends before what begins with the next character.
        let without_slash = &self.prefix[..self.prefix.len() - 1];
        self.range("", &format!("{without_slash}0"))
    }

    /// Exclusive claims: all that begin with a hexadecimal digit.
    fn exclusive(&self) -> Range {
        self.range("0", &format!("{}g", self.prefix))
    }

    /// Those that keep out one who wants it in this mode, if they came before.
    pub(crate) fn in_the_way_of(&self, mode: Mode) -> Range {
        match mode {
            Mode::Exclusive => self.all(),
            Mode::Shared => self.exclusive(),
        }
    }

    fn range(&self, first: &str, to: &str) -> Range {
        Range {
            from: encoded(format!("{}{first}", self.prefix).as_bytes()),
            to: encoded(to.as_bytes()),
        }
    }

    /// The claim that this is. None: it is none.
    pub(crate) fn entry(&self, kv: &Value) -> Option<Entry> {
        let key = decoded(kv["key"].as_str()?)?;
        let last = std::str::from_utf8(&key).ok()?.strip_prefix(&self.prefix)?;
        let (mode, hex) = match last.strip_prefix(SHARED) {
            Some(hex) => (Mode::Shared, hex),
            None => (Mode::Exclusive, last),
        };
        let lease = number(&kv["lease"])?;
        if format!("{lease:x}") != hex {
            return None;
        }
        let value = decoded(kv["value"].as_str().unwrap_or_default());
        Some(Entry {
            mode,
            lease,
            revision: number(&kv["create_revision"])?,
            facts: Facts::read(&value.unwrap_or_default()),
            key,
        })
    }

    /// Those among them that are claims, in the order in which they were made.
    pub(crate) fn entries(&self, range: &Value) -> Vec<Entry> {
        let kvs = range["kvs"].as_array();
        let kvs = kvs.into_iter().flatten();
        let mut entries: Vec<Entry> = kvs.filter_map(|kv| self.entry(kv)).collect();
        entries.sort_by_key(|entry| entry.revision);
        entries
    }
}

/// A claim as it stands in etcd.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) lease: u64,
    /// The revision in which it was made: its place in the queue, and its token.
    pub(crate) revision: u64,
    /// None: its maker wrote none, or not as we do.
    pub(crate) facts: Option<Facts>,
}

impl Entry {
    /// For those who look.
    pub(crate) fn holder(&self) -> Holder {
        let mut holder = Holder::unknown(Source::Server);
        if let Some(facts) = &self.facts {
            facts.tell(&mut holder);
        }
        holder.mode = Some(self.mode);
        holder.token = Some(self.revision);
        holder
    }
}

/// Those of a queue that hold: the first, and if it is shared all shared ones before the first that is not.
pub(crate) fn holding(queue: &[Entry]) -> usize {
    match queue.first() {
        None => 0,
        Some(first) if first.mode == Mode::Exclusive => 1,
        Some(_) => {
            let writer = queue.iter().position(|e| e.mode == Mode::Exclusive);
            writer.unwrap_or(queue.len())
        }
    }
}

/// What a claimant writes about itself: a JSON object, in which `sneck` is 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts(Map<String, Value>);

impl Facts {
    fn of(claim: &Claim) -> Facts {
        let holder = claim.holder();
        let mut facts = Map::new();
        facts.insert("sneck".into(), json!(1));
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let short: String = value.chars().take(LONGEST).collect();
                facts.insert(name.into(), Value::String(short));
            }
        };
        say("host", holder.host);
        say("user", holder.user);
        say("command", holder.command);
        say("label", holder.label);
        if let Some(pid) = holder.pid {
            facts.insert("pid".into(), json!(pid));
        }
        Facts(facts)
    }

    /// The same, of one who asks now.
    fn asked(&self) -> Facts {
        let mut facts = self.clone();
        facts.0.insert("asked".into(), json!(now()));
        facts
    }

    /// The same, of one who holds from now on.
    pub(crate) fn held(&self) -> Facts {
        let mut facts = self.clone();
        facts.0.insert("since".into(), json!(now()));
        facts
    }

    pub(crate) fn written(&self) -> String {
        encoded(Value::Object(self.0.clone()).to_string().as_bytes())
    }

    fn read(value: &[u8]) -> Option<Facts> {
        match serde_json::from_slice(value) {
            Ok(Value::Object(facts)) if facts.get("sneck") == Some(&json!(1)) => Some(Facts(facts)),
            _ => None,
        }
    }

    fn tell(&self, holder: &mut Holder) {
        let text = |name: &str| self.0.get(name)?.as_str().map(str::to_owned);
        let time = |name: &str| {
            let millis = Duration::from_millis(self.0.get(name)?.as_u64()?);
            SystemTime::UNIX_EPOCH.checked_add(millis)
        };
        holder.host = text("host");
        holder.user = text("user");
        holder.command = text("command");
        holder.label = text("label");
        let pid = self.0.get("pid").and_then(Value::as_u64);
        holder.pid = pid.and_then(|pid| u32::try_from(pid).ok());
        holder.since = time("since");
    }
}

/// The facts of those who claimed last. Looking them up (/proc, the list of users) takes a good part of a quick cycle.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Option<(Who, Facts)>>);

/// For whom they hold: this process, the one it claims for, and its label. (A process that becomes another program by exec keeps its number, and not us.)
type Who = (u32, u32, Option<String>);

impl Known {
    /// Nobody waits for the mutex: in a forked child it may be held by a thread that is not there.
    pub(crate) fn facts(&self, claim: &Claim) -> Facts {
        let label = claim.label().map(str::to_owned);
        let who = (std::process::id(), claim.party().pid(), label);
        let Ok(mut known) = self.0.try_lock() else {
            return Facts::of(claim).asked();
        };
        match &*known {
            Some((last, facts)) if *last == who => facts.asked(),
            _ => known.insert((who, Facts::of(claim))).1.asked(),
        }
    }
}

/// Wall time, for people on other machines, in milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, lease: u64, revision: u64) -> Value {
        json!({
            "key": encoded(key.as_bytes()),
            "lease": lease.to_string(),
            "create_revision": revision.to_string(),
        })
    }

    #[test]
    fn keys_are_those_of_the_stock_clients_and_shared_ones_stand_beside_them() {
        let keys = Keys::of("deploy");
        assert_eq!(keys.claim(Mode::Exclusive, 0x694d), b"deploy/694d");
        assert_eq!(keys.claim(Mode::Shared, 0x694d), b"deploy/shared-694d");
        let plain = |range: Range| {
            let text = |part: &str| String::from_utf8(decoded(part).expect("ours")).expect("ours");
            (text(&range.from), text(&range.to))
        };
        let (all, exclusive) = (plain(keys.all()), plain(keys.exclusive()));
        assert_eq!(all, ("deploy/".into(), "deploy0".into()));
        assert_eq!(exclusive, ("deploy/0".into(), "deploy/g".into()));
        let within = |range: &(String, String), key: &str| &*range.0 <= key && key < &*range.1;
        assert!(within(&all, "deploy/shared-1") && !within(&exclusive, "deploy/shared-1"));
        for digit in "0123456789abcdef".chars() {
            assert!(within(&exclusive, &format!("deploy/{digit}7")));
        }
    }

    #[test]
    fn what_is_no_claim_at_this_lock_is_none() {
        let keys = Keys::of("deploy");
        let entry = keys.entry(&kv("deploy/1f", 0x1f, 7)).expect("a claim");
        assert_eq!((entry.revision, entry.mode), (7, Mode::Exclusive));
        let entry = keys.entry(&kv("deploy/shared-1f", 0x1f, 7));
        assert_eq!(entry.map(|e| e.mode), Some(Mode::Shared));
        for (key, lease) in [
            ("deploy/1f", 0x2f),
            ("deploy/01f", 0x1f),
            ("deploy/1F", 0x1f),
            ("deploy/face", 0),
            ("deploy/eu/1f", 0x1f),
            ("deploy/shared-eu/1f", 0x1f),
            ("deploy/", 0),
            ("deploys/1f", 0x1f),
        ] {
            assert!(keys.entry(&kv(key, lease, 7)).is_none(), "{key}");
        }
    }

    #[test]
    fn readers_hold_together_until_the_first_writer() {
        let keys = Keys::of("a");
        let queue = |keys_of: &[&str]| {
            let kvs: Vec<Value> = keys_of
                .iter()
                .zip(1..)
                .map(|(kind, n)| kv(&format!("a/{kind}{n:x}"), n, n))
                .collect();
            holding(&keys.entries(&json!({ "kvs": kvs })))
        };
        assert_eq!(queue(&[]), 0);
        assert_eq!(queue(&["", ""]), 1);
        assert_eq!(queue(&["shared-", "shared-", "", "shared-"]), 2);
        assert_eq!(queue(&["shared-", "shared-"]), 2);
        assert_eq!(queue(&["", "shared-", "shared-"]), 1);
    }

    #[test]
    fn what_others_wrote_tells_nothing_and_harms_nobody() {
        for other in ["", "{", "[]", "{\"sneck\":2}", "\u{0}"] {
            assert_eq!(Facts::read(other.as_bytes()), None, "{other}");
        }
        let odd = Facts::read(br#"{"sneck":1,"pid":-1,"host":7,"since":18446744073709551615}"#);
        let mut holder = Holder::unknown(Source::Server);
        odd.expect("it says that it is ours").tell(&mut holder);
        assert_eq!((holder.pid, holder.host), (None, None));
    }
}
