//! What a command learns of its lock through its environment.
//!
//! | variable | value |
//! |---|---|
//! | `SNECK_LOCK` | the place, without a password; several are joined by ` + ` as they are shown |
//! | `SNECK_TOKEN` | the fencing token in decimal, if exactly one lock has one |
//! | `SNECK_LOCK_1`, `SNECK_TOKEN_1` … | of several locks, those of each, by their order on the command line |
//!
//! What is not there is not set: those of a `sneck run` around this one are taken away, lest a token be taken for that of another lock.
//!
//! Not for: reading them.

use crate::plan::Taking;
use sneck::{Guard, Registry};
use std::ffi::{OsStr, OsString};

const LOCK: &str = "SNECK_LOCK";
const TOKEN: &str = "SNECK_TOKEN";

/// What is added to the environment of a command.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    /// Known before.
    pub(crate) words: Vec<(OsString, OsString)>,
    /// Those whose value is known when the lock is held: a number, or not set.
    pub(crate) numbers: Vec<OsString>,
}

impl Variables {
    pub(crate) fn of(taking: &Taking) -> Variables {
        let mut words = vec![(LOCK.into(), taking.place.without_password())];
        let mut numbers = vec![TOKEN.into()];
        if taking.locks.len() > 1 {
            for (at, place) in (1..).zip(&taking.locks) {
                words.push((format!("{LOCK}_{at}").into(), place.without_password()));
                numbers.push(format!("{TOKEN}_{at}").into());
            }
        }
        Variables { words, numbers }
    }

    /// The whole environment but the numbers: what is inherited, and what is added. (Windows adds by itself.)
    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) fn environment(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let added = |name: &OsStr| self.words.iter().any(|(known, _)| known == name);
        let inherited = std::env::vars_os().filter(move |(name, _)| !is_ours(name) && !added(name));
        inherited.chain(self.words.iter().cloned())
    }
}

/// The values of [`Variables::numbers`].
pub(crate) fn tokens(taking: &Taking, guard: &Guard, registry: &Registry) -> Vec<Option<u64>> {
    let [_, _, ..] = taking.locks.as_slice() else {
        return vec![guard.token()];
    };
    let mut first = 0;
    let each: Vec<Option<u64>> = taking
        .locks
        .iter()
        .map(|place| {
            // One place can be several locks.
            let parts = registry
                .protocol(place)
                .map_or(1, |p| p.parts().len().max(1));
            let token = (first..first + parts).find_map(|part| guard.token_of(part));
            first += parts;
            token
        })
        .collect();
    let mut known = each.iter().flatten();
    let only = known.next().copied().filter(|_| known.next().is_none());
    std::iter::once(only).chain(each).collect()
}

/// Those that tell of the lock around this sneck.
#[allow(dead_code, reason = "Windows alone takes them away one by one")]
pub(crate) fn inherited_of_ours() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| is_ours(name))
}

/// Whether it is one that tells of a lock.
fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    [LOCK, TOKEN].iter().any(|ours| {
        let rest = name.strip_prefix(ours);
        let number = |rest: &str| rest.strip_prefix('_').is_some_and(is_number);
        rest.is_some_and(|rest| rest.is_empty() || number(rest))
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_variables_tell_of_a_lock() {
        for ours in [
            "SNECK_LOCK",
            "SNECK_TOKEN",
            "SNECK_TOKEN_1",
            "SNECK_LOCK_12",
        ] {
            assert!(is_ours(OsStr::new(ours)), "{ours}");
        }
        for other in [
            "SNECK_TEST_PYTHON",
            "SNECK_LOCKS",
            "SNECK_TOKEN_",
            "SNECK_TOKEN_X",
            "LOCK",
        ] {
            assert!(!is_ours(OsStr::new(other)), "{other}");
        }
    }
}
