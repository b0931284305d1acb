//! The scripts: their text, and the names by which a server knows those that it has seen.
//!
//! Not for: what they do (each says so at its top), or sending them (`session.rs`).

use crate::sha1;

/// One of the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Attempt,
    Renew,
    Release,
    Inspect,
    Remove,
}

macro_rules! text {
    ($name:literal) => {
        concat!(
            include_str!("scripts/common.lua"),
            include_str!(concat!("scripts/", $name, ".lua"))
        )
    };
}

const ALL: [(Script, &str); 5] = [
    (Script::Attempt, text!("attempt")),
    (Script::Renew, text!("renew")),
    (Script::Release, text!("release")),
    (Script::Inspect, text!("inspect")),
    (Script::Remove, text!("remove")),
];

impl Script {
    pub(crate) fn text(self) -> &'static str {
        ALL[self as usize].1
    }
}

/// The scripts' names at the server, found out once a handle.
#[derive(Debug)]
pub(crate) struct Names([String; ALL.len()]);

impl Names {
    pub(crate) fn new() -> Names {
        Names(ALL.map(|(_, text)| sha1::hex(text.as_bytes())))
    }

    pub(crate) fn of(&self, script: Script) -> &str {
        &self.0[script as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_where_its_number_says() {
        for (at, (script, text)) in ALL.into_iter().enumerate() {
            assert_eq!(script as usize, at);
            assert_eq!(script.text(), text);
        }
    }
}
