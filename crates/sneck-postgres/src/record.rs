//! Who a session is to those who look: the name that it has in `pg_stat_activity`, where nothing but 63 bytes are our own.
//!
//! `sneck pid 812 nightly` waits; `sneck pid 812 #735 @1763756789 nightly` holds with the token 735 since that second of 1970's count. What stays there after a release is of no
//! meaning: the list of locks says who holds.
//!
//! Not for: the lock's own key (`config::key`), or what the server itself knows of a session (`target.rs`).

use std::time::{Duration, SystemTime};

/// What all of ours begin with.
const OURS: &str = "sneck pid ";

/// The name of a session that does not hold.
pub(crate) fn name(pid: u32, label: Option<&str>) -> String {
    let name = format!("{OURS}{pid} {}", label.unwrap_or_default());
    name.trim_end().to_owned()
}

/// SQL for the name of one that holds from now on, with this token, itself SQL.
pub(crate) fn name_of_holder(pid: u32, label: Option<&str>, token: &str) -> String {
    let label = label.map(|label| format!(", {}", literal(&format!(" {label}"))));
    format!(
        "pg_catalog.concat('{OURS}{pid} #', {token}, ' @', \
         extract(epoch FROM pg_catalog.clock_timestamp())::bigint{})",
        label.unwrap_or_default()
    )
}

/// A string of SQL, whatever the server makes of backslashes.
pub(crate) fn literal(text: &str) -> String {
    let mut quoted = String::from("E'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend([c, c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// What a name of ours says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    pub(crate) pid: Option<u32>,
    pub(crate) token: Option<u64>,
    pub(crate) since: Option<SystemTime>,
    pub(crate) label: Option<&'a str>,
}

/// None: it is another program's.
pub(crate) fn read(name: &str) -> Option<Told<'_>> {
    let (pid, mut rest) = word(name.strip_prefix(OURS)?);
    let mut told = Told {
        pid: Some(pid.parse().ok()?),
        ..Told::default()
    };
    let (first, after) = word(rest);
    if let Some(token) = first.strip_prefix('#').and_then(|n| n.parse().ok()) {
        let (second, label) = word(after);
        let seconds = second.strip_prefix('@').and_then(|n| n.parse().ok());
        if let Some(seconds) = seconds {
            told.token = Some(token);
            told.since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            rest = label;
        }
    }
    told.label = Some(rest).filter(|label| !label.is_empty());
    Some(told)
}

fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_says_is_read_again() {
        assert_eq!(name(812, None), "sneck pid 812");
        assert_eq!(name(812, Some("nightly job")), "sneck pid 812 nightly job");
        let waits = read("sneck pid 812 nightly job").expect("ours");
        assert_eq!((waits.pid, waits.label), (Some(812), Some("nightly job")));
        assert_eq!((waits.token, waits.since), (None, None));
        let holds = read("sneck pid 812 #735 @1763756789 nightly job").expect("ours");
        assert_eq!((holds.pid, holds.label), (Some(812), Some("nightly job")));
        assert_eq!(holds.token, Some(735));
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_756_789);
        assert_eq!(holds.since, Some(since));
        // A label that looks like a token, and one that was cut off.
        assert_eq!(read("sneck pid 1 #7").expect("ours").label, Some("#7"));
        assert_eq!(read("sneck pid 1 #7 x").expect("ours").token, None);
        for other in ["psql", "", "sneck status", "sneck pid x"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn a_label_cannot_end_its_quotes() {
        assert_eq!(literal(r"it's a \ slash"), r"E'it''s a \\ slash'");
        assert_eq!(literal("a\nb\0"), "E'a b '");
    }
}
