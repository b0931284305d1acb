//! JSON that a terminal may show: what could move its cursor or hide text is escaped, beyond what JSON itself asks for. A program that reads it gets the same strings.
//!
//! Not for: what the objects are (`seen.rs`, each verb's file).

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use sneck::text;
use std::io::{self, Write};

/// For people too: indented, and a line's end.
pub(crate) fn pretty(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    let safe = Safe(PrettyFormatter::new());
    value.serialize(&mut Serializer::with_formatter(&mut out, safe))?;
    writeln!(out)
}

/// In one line, with its end.
pub(crate) fn line(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    let safe = Safe(CompactFormatter);
    value.serialize(&mut Serializer::with_formatter(&mut out, safe))?;
    writeln!(out)
}

struct Safe<F>(F);

/// Whether it may stand there as it is.
fn harmless(c: char) -> bool {
    let mut bytes = [0; 4];
    let alone = c.encode_utf8(&mut bytes);
    (' '..='~').contains(&c) || text::clean(alone) == *alone
}

impl<F: Formatter> Formatter for Safe<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c| !harmless(c)) {
            let (before, after) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            for unit in characters.next().into_iter().flat_map(units) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = characters.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

/// The escapes of JSON are those of UTF-16.
fn units(c: char) -> impl Iterator<Item = u16> {
    let mut units = [0; 2];
    let count = c.encode_utf16(&mut units).len();
    units.into_iter().take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_what_was_written_and_a_terminal_is_told_nothing() {
        let hostile = "a\u{1b}[31m\u{9b}\u{7f}\u{202e}\u{e0041}\n\"\\ü日";
        let (mut indented, mut short) = (Vec::new(), Vec::new());
        pretty(&mut indented, &[hostile]).unwrap();
        line(&mut short, &[hostile]).unwrap();
        for out in [indented, short] {
            let back: Vec<String> = serde_json::from_slice(&out).unwrap();
            assert_eq!(back, [hostile]);
            let shown = String::from_utf8(out).unwrap();
            assert!(shown.ends_with("]\n"), "{shown}");
            let lines: String = shown.split('\n').collect();
            assert_eq!(text::clean(&lines), lines);
            assert!(shown.contains(r"\u009b\u007f\u202e\udb40\udc41"), "{shown}");
            assert!(shown.contains("ü日"), "{shown}");
        }
    }

    #[test]
    fn a_line_is_one_line() {
        let mut out = Vec::new();
        line(&mut out, &["a", "b"]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "[\"a\",\"b\"]\n");
    }
}
