//! What a program cannot do without: [`Requirement`], asked of a place before anything is done there.
//!
//! Not for: what a protocol can (`Capabilities`, in each protocol's own file).

use super::{Capabilities, Consistency, Leasing, Modes, Order, Restart, Tokens};
use std::fmt;
use std::str::FromStr;

/// Something that a place must be able to promise.
///
/// ```
/// use sneck::{Lock, Requirement};
/// let path = "/tmp/any.lock";
/// let error = Lock::builder().require([Requirement::Fencing]).file("flock", path).unwrap_err();
/// assert!(error.to_string().contains("fencing"));
/// assert_eq!("durable-fencing".parse(), Ok(Requirement::DurableFencing));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Requirement {
    /// Fencing tokens.
    Fencing,
    /// Fencing tokens that grow whatever happens to the server.
    DurableFencing,
    /// First come, first served.
    Fair,
    /// A shared mode.
    Shared,
    /// A holder that falls silent loses it after a while, rather than never.
    Lease,
    /// A restart of the server leaves it held.
    SurvivesRestart,
    /// What one sees, all see.
    Linearizable,
}

/// All of them, and the words for them.
const WORDS: [(&str, Requirement); 7] = [
    ("fencing", Requirement::Fencing),
    ("durable-fencing", Requirement::DurableFencing),
    ("fair", Requirement::Fair),
    ("shared", Requirement::Shared),
    ("lease", Requirement::Lease),
    ("survives-restart", Requirement::SurvivesRestart),
    ("linearizable", Requirement::Linearizable),
];

impl Requirement {
    /// All that there are.
    pub fn all() -> impl Iterator<Item = Requirement> {
        WORDS.iter().map(|(_, requirement)| *requirement)
    }

    /// Whether these capabilities meet it.
    pub fn is_met_by(self, can: &Capabilities) -> bool {
        match self {
            Requirement::Fencing => can.tokens != Tokens::None,
            Requirement::DurableFencing => can.tokens == Tokens::Durable,
            Requirement::Fair => can.order == Order::Fifo,
            Requirement::Shared => can.modes == Modes::SharedToo,
            Requirement::Lease => can.lease != Leasing::None,
            Requirement::SurvivesRestart => can.restart == Restart::Survives,
            Requirement::Linearizable => can.consistency == Consistency::Linearizable,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(_, known)| known == self);
        f.write_str(word.map_or("?", |(word, _)| word))
    }
}

impl FromStr for Requirement {
    type Err = UnknownRequirement;

    fn from_str(word: &str) -> Result<Requirement, UnknownRequirement> {
        let known = WORDS.iter().find(|(known, _)| *known == word);
        known
            .map(|(_, requirement)| *requirement)
            .ok_or_else(|| UnknownRequirement(word.to_owned()))
    }
}

/// A word that names no [`Requirement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRequirement(String);

impl fmt::Display for UnknownRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        write!(
            f,
            "{}: no such requirement; there are {}",
            crate::text::clean(&self.0),
            words.join(", ")
        )
    }
}

impl std::error::Error for UnknownRequirement {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_word_that_means_it() {
        for requirement in Requirement::all() {
            assert_eq!(requirement.to_string().parse(), Ok(requirement));
            assert!(
                !requirement.is_met_by(&Capabilities::LEAST)
                    || requirement == Requirement::Linearizable
            );
        }
        let error = "fencig".parse::<Requirement>().expect_err("no such word");
        assert!(error.to_string().contains("durable-fencing"), "{error}");
    }
}
