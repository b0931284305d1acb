//! Text for people: sanitised, short, in whole sentences' worth of facts.
//!
//! Strings that other programs wrote (lock files, command lines, server rows) pass through [`clean`] before a message holds them.

use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// The longest foreign string that a message shows.
const LONGEST: usize = 120;

/// A foreign string made safe for a terminal and for one line: control characters, bidirectional overrides and what else could
/// move the cursor or hide text are written as escapes, and a long one is cut.
///
/// ```
/// assert_eq!(sneck::text::clean("make\n\x1b[31m"), "make\\n\\u{1b}[31m");
/// ```
pub fn clean(foreign: &str) -> String {
    let mut safe = String::with_capacity(foreign.len());
    for (count, c) in foreign.chars().enumerate() {
        if count == LONGEST {
            safe.push('…');
            break;
        }
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c if c.is_control() || hides(c) => {
                let _ = write!(safe, "{}", c.escape_unicode());
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Characters that print nothing and change how others are read: zero-width, direction marks, line separators, tags.
fn hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A length of time as people write it: `2m 5s`, `300ms`.
pub fn span(length: Duration) -> String {
    let rounded = if length >= Duration::from_secs(10) {
        Duration::from_secs(length.as_secs())
    } else if length >= Duration::from_secs(1) {
        Duration::from_millis(length.as_millis() as u64 / 100 * 100)
    } else {
        Duration::from_millis(length.as_millis() as u64)
    };
    SignedDuration::try_from(rounded)
        .map_or_else(|_| format!("{}s", length.as_secs()), |d| format!("{d:#}"))
}

/// A point in wall time, in UTC, to the second.
pub fn time(point: SystemTime) -> String {
    Timestamp::try_from(point).map_or_else(
        |_| "an impossible time".into(),
        |t| t.round(jiff::Unit::Second).unwrap_or(t).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_gets_through() {
        assert_eq!(clean("a\u{1b}]0;x\u{7}b"), "a\\u{1b}]0;x\\u{7}b");
        assert_eq!(clean("\u{202e}txt"), "\\u{202e}txt");
        assert_eq!(clean("a\u{9b}b\u{7f}"), "a\\u{9b}b\\u{7f}");
        assert_eq!(clean("plain – ünïcode"), "plain – ünïcode");
        assert_eq!(clean(&"x".repeat(500)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(span(Duration::from_millis(300)), "300ms");
        assert_eq!(span(Duration::from_millis(1234)), "1s 200ms");
        assert_eq!(span(Duration::from_millis(125_900)), "2m 5s");
    }
}
