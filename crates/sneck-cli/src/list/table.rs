//! The table: which columns fit, how wide they are, what is cut.
//!
//! Own lines rather than comfy-table, which wraps a cell or cuts its end, and gives each column its share: here a path is cut in its middle, columns are left out, and what a
//! pipe reads is written row by row. Not for: what stands in the cells (`rows.rs`).

use super::rows::{COLUMNS, HEADER, Row, column};
use crate::screen::{Screen, Tint};
use crate::shown;
use std::io::{self, Write};

/// Between two columns.
const GAP: usize = 2;

/// The columns, the most important first.
const IMPORTANCE: [usize; COLUMNS] = [
    column::LOCK,
    column::PID,
    column::STATE,
    column::COMMAND,
    column::KIND,
    column::WAIT,
    column::SINCE,
    column::MODE,
    column::USER,
];

/// So much of those that are long is worth a column; the others are shown whole.
fn least(column: usize) -> usize {
    match column {
        column::LOCK => 20,
        column::COMMAND => 14,
        column::MODE => 14,
        column::PID => 12,
        column::USER => 8,
        _ => usize::MAX,
    }
}

/// Write header and rows.
pub(super) fn write(out: &mut dyn Write, rows: &[Row], screen: &Screen) -> io::Result<()> {
    let widths = widths(rows);
    let layout = match screen.width {
        Some(width) => fit(widths, width),
        None => widths.map(Some),
    };
    let header = Row {
        cells: HEADER.map(str::to_owned),
        tint: Tint::Title,
    };
    for row in std::iter::once(&header).chain(rows) {
        writeln!(out, "{}", line(row, &layout, screen))?;
    }
    Ok(())
}

/// What each column would take.
fn widths(rows: &[Row]) -> [usize; COLUMNS] {
    let mut widths = HEADER.map(str::len);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(&row.cells) {
            *widest = (*widest).max(shown::width(cell));
        }
    }
    widths
}

/// What each column gets; None: it is left out.
fn fit(wanted: [usize; COLUMNS], width: usize) -> [Option<usize>; COLUMNS] {
    let mut layout = [None; COLUMNS];
    let mut left = width;
    for column in IMPORTANCE {
        let needed = wanted[column].min(least(column));
        if column == column::LOCK {
            layout[column] = Some(needed.min(left));
            left -= needed.min(left);
        } else if GAP + needed <= left {
            layout[column] = Some(needed);
            left -= GAP + needed;
        } else {
            break;
        }
    }
    // What is left goes first to those that want little; a path leaves a third to the command.
    let third = left / 3;
    for (column, most) in [
        (column::MODE, usize::MAX),
        (column::USER, usize::MAX),
        (column::PID, usize::MAX),
        (column::LOCK, left - third),
        (column::COMMAND, usize::MAX),
        (column::LOCK, usize::MAX),
    ] {
        if let Some(has) = &mut layout[column] {
            let more = (wanted[column] - *has).min(left).min(most);
            *has += more;
            left -= more;
        }
    }
    layout
}

fn line(row: &Row, layout: &[Option<usize>; COLUMNS], screen: &Screen) -> String {
    let last = layout.iter().rposition(Option::is_some);
    let mut line = String::new();
    for (column, (cell, width)) in row.cells.iter().zip(layout).enumerate() {
        let Some(width) = *width else { continue };
        let text = match column {
            column::LOCK => shown::cut_path(cell, width),
            _ => shown::cut_end(cell, width),
        };
        let tint = match row.tint {
            Tint::Title => Tint::Title,
            tint if column == column::STATE => tint,
            _ => Tint::Plain,
        };
        let padding = " ".repeat(width.saturating_sub(shown::width(&text)));
        let painted = screen.paint(&text, tint);
        match column {
            column::PID | column::WAIT => line.extend([padding, painted]),
            // Nothing follows that would have to be aligned.
            _ if Some(column) == last => line.push_str(&painted),
            _ => line.extend([painted, padding]),
        }
        if Some(column) != last {
            line.push_str(&" ".repeat(GAP));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Colours;

    fn row(lock: &str, command: &str) -> Row {
        let cells = [
            lock,
            "flock",
            "exclusive",
            "held",
            "812",
            "ada",
            "<2m 5s",
            "1",
            command,
        ];
        Row {
            cells: cells.map(str::to_owned),
            tint: Tint::Plain,
        }
    }

    fn drawn(rows: &[Row], width: Option<usize>) -> Vec<String> {
        let screen = Screen {
            width,
            colours: Colours::Plain,
        };
        let mut out = Vec::new();
        write(&mut out, rows, &screen).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn nothing_is_cut_where_there_is_no_terminal() {
        let (lock, command) = ("/folder/".repeat(40), "word ".repeat(40));
        let lines = drawn(&[row(&lock, &command)], None);
        assert!(lines[1].starts_with(&lock) && lines[1].ends_with(&command));
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_columns_stand_in_line() {
        let rows = [
            row(
                "/data/ada/projects/日本語/build.lock",
                "make -j4 all check install",
            ),
            row("/l", "true"),
        ];
        for width in 0..200 {
            let lines = drawn(&rows, Some(width));
            for line in &lines {
                assert!(shown::width(line) <= width, "{width}: {line}");
            }
            let at =
                |line: &String, word: &str| line.find(word).map(|at| shown::width(&line[..at]));
            if let Some(state) = at(&lines[0], "STATE") {
                for line in &lines[1..] {
                    assert_eq!(at(line, "held"), Some(state), "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn the_least_important_columns_are_left_out_first() {
        let mut long = row(
            "/data/ada/projects/sneck/build.lock",
            "make -j4 all check install",
        );
        long.cells[column::PID] = "4194304".to_owned();
        let header = |width| {
            let lines = drawn(std::slice::from_ref(&long), Some(width));
            lines[0].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(header(120), HEADER.join(" "));
        assert_eq!(header(80), "LOCK KIND STATE PID SINCE WAIT COMMAND");
        assert_eq!(header(40), "LOCK STATE PID");
        assert_eq!(header(20), "LOCK");
        let lines = drawn(&[long.clone()], Some(40));
        assert_eq!(
            lines,
            [
                "LOCK                      STATE      PID",
                "/data/ada/pr…/build.lock  held   4194304"
            ]
        );
    }
}
