//! Foreign text as a terminal may show it: cleaned whole, measured in columns, cut to fit.
//!
//! Not for: messages, in which [`text::clean`] keeps foreign text short; nor for JSON (`json.rs`).

use sneck::text;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::is_separator;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What stands where something was cut out.
pub(crate) const CUT: char = '…';

/// No piece of this many characters is cut by [`text::clean`].
const PIECE: usize = 100;

/// A foreign string made safe for a terminal and for one line, with nothing cut off.
pub(crate) fn whole(foreign: &str) -> String {
    // Most are, and need no look at each character.
    if foreign.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return foreign.to_owned();
    }
    let mut safe = String::with_capacity(foreign.len());
    let mut rest = foreign;
    while !rest.is_empty() {
        let end = rest
            .char_indices()
            .nth(PIECE)
            .map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        safe.push_str(&text::clean(piece));
        rest = after;
    }
    safe
}

/// A path made safe likewise; what is no UTF-8 in it stands there as `\xff`.
pub(crate) fn path(path: impl AsRef<OsStr>) -> String {
    let mut safe = String::new();
    for chunk in path.as_ref().as_encoded_bytes().utf8_chunks() {
        safe.push_str(&whole(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(safe, "\\x{byte:02x}");
        }
    }
    safe
}

/// How many columns it takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// It, or as much of its beginning as fits.
pub(crate) fn cut_end(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns {
        0 => String::new(),
        _ => format!("{}{CUT}", beginning(text, columns - 1)),
    }
}

/// A path, or as much as fits: its name stays as long as possible, then the folders at its beginning.
pub(crate) fn cut_path(path: &str, columns: usize) -> String {
    if width(path) <= columns {
        return path.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let (folders, name) = path.split_at(path.rfind(is_separator).unwrap_or(0));
    match (columns - 1).checked_sub(width(name)) {
        Some(left) => format!("{}{CUT}{name}", beginning(folders, left)),
        None => format!("{CUT}{}", end(name, columns - 1)),
    }
}

/// In lines of at most so many columns, at its spaces where it can be. There is always room for one character.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let mut word = word;
        if let Some(line) = lines.last_mut() {
            if width(line) + 1 + width(word) <= columns {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        while width(word) > columns {
            let first = word.chars().next().map_or(0, char::len_utf8);
            let (piece, rest) = word.split_at(beginning(word, columns).len().max(first));
            lines.push(piece.to_owned());
            word = rest;
        }
        lines.push(word.to_owned());
    }
    lines
}

/// The longest beginning that takes at most so many columns.
fn beginning(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        // Some take more together than one by one.
        if taken > columns || width(&text[..at + c.len_utf8()]) > columns {
            return &text[..at];
        }
    }
    text
}

/// The longest end that takes at most so many columns.
fn end(text: &str, columns: usize) -> &str {
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        if width(&text[at..]) > columns {
            break;
        }
        // An accent would stand on what is before it.
        if c.width() != Some(0) {
            from = at;
        }
    }
    &text[from..]
}

/// An age in its two largest units: `3d 4h`, `2m 5s`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let two = units[first..].iter().take(2);
    let words: Vec<String> = two
        .filter(|(count, unit)| *count > 0 || (*unit == "s" && first == 3))
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cleaned_and_kept() {
        let hostile = "\u{1b}[31m\n".repeat(300);
        let safe = whole(&hostile);
        assert_eq!(safe, r"\u{1b}[31m\n".repeat(300));
        assert_eq!(whole(&"x".repeat(999)), "x".repeat(999));
        assert_eq!(whole("ü\u{202e}\u{9b}"), r"ü\u{202e}\u{9b}");
    }

    #[test]
    fn a_path_is_cleaned() {
        assert_eq!(path("/a b/ü"), "/a b/ü");
        assert_eq!(path("/a\n"), r"/a\n");
    }

    #[test]
    fn the_name_of_a_path_stays() {
        let path = "/data/ada/projects/app.lock";
        assert_eq!(cut_path(path, 99), path);
        assert_eq!(cut_path(path, 27), path);
        assert_eq!(cut_path(path, 26), "/data/ada/projec…/app.lock");
        assert_eq!(cut_path(path, 11), "/…/app.lock");
        assert_eq!(cut_path(path, 10), "…/app.lock");
        assert_eq!(cut_path(path, 6), "….lock");
        assert_eq!(cut_path(path, 1), "…");
        assert_eq!(cut_path(path, 0), "");
    }

    #[test]
    fn nothing_that_is_cut_takes_more_than_there_is() {
        for text in [
            "/плато/日本語/ロック.lock (deleted)",
            "日本語日本語",
            "e\u{301}e\u{301}e\u{301}/e\u{301}e\u{301}",
            "❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}",
            "plain",
        ] {
            for columns in 0..30 {
                assert!(
                    width(&cut_path(text, columns)) <= columns,
                    "{text} {columns}"
                );
                assert!(
                    width(&cut_end(text, columns)) <= columns,
                    "{text} {columns}"
                );
            }
        }
        assert_eq!(cut_end("日本語", 4), "日…");
        assert_eq!(cut_end("日本語", 5), "日本…");
    }

    #[test]
    fn a_text_is_wrapped_at_its_spaces() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("日本", 0).concat(), "日本");
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn an_age_has_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (125, "2m 5s"),
            (3600, "1h"),
            (3605, "1h"),
            (86_400 * 3 + 4 * 3600 + 61, "3d 4h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), words);
        }
    }
}
