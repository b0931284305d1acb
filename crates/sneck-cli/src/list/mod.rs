//! `sneck list`: all locks of the machine, or those under folders: who holds them, who waits, and who waits for each other.
//!
//! Here: which of what was found is shown, in which order, and how it ends. `found.rs` has what was found, `rows.rs` and `table.rs` the table, `tree.rs` the tree. Not for: how
//! locks are found (the library), nor one lock in words (`status.rs`).

mod found;
mod rows;
mod table;
mod tree;

use crate::exit::Exit;
use crate::json;
use crate::plan::{List, ListForm, Which};
use crate::screen::{Screen, Tint};
use crate::waiting::tell;
use found::{Found, Line};
use sneck::Error;
use sneck::inspect::Inspector;
use std::io::{self, BufWriter, Write};
use std::time::SystemTime;

/// Look, and print what is asked for. It ends well whatever was found; the worst of what could not be read counts.
pub(crate) fn list(plan: &List) -> Result<Exit, Error> {
    let inspector = Inspector::new();
    let survey = match plan.paths.as_slice() {
        [] => inspector.machine()?,
        paths => inspector.under(paths)?,
    };
    let exit = Exit::worst(survey.errors.iter().map(Exit::from));
    let mut found = Found::of(&survey);
    found.keep(&plan.which);
    found.sort();
    let printed = match plan.form {
        ListForm::Table | ListForm::Tree => people(&found, plan),
        ListForm::Json => to_stdout(|out| json::pretty(out, &found)),
        ListForm::Lines => to_stdout(|mut out| {
            found
                .lines()
                .try_for_each(|line: Line<'_>| json::line(&mut out, &line))
        }),
    };
    Ok(match printed {
        // A reader that went away (`| head`) wants no more; anything else is an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Io,
        _ => exit,
    })
}

fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    out.flush()
}

/// What was found on stdout; on stderr what was not, and why.
fn people(found: &Found, plan: &List) -> io::Result<()> {
    let screen = Screen::of_stdout();
    let printed = to_stdout(|out| match plan.form {
        ListForm::Tree => found
            .files
            .iter()
            .flat_map(|file| tree::lines(file, &found.cycles, &screen))
            .try_for_each(|line| writeln!(out, "{line}")),
        _ => {
            let now = SystemTime::now();
            let rows: Vec<_> = found
                .files
                .iter()
                .flat_map(|file| rows::of(file, now))
                .collect();
            if !rows.is_empty() {
                table::write(out, &rows, &screen)?;
            }
            if !found.cycles.is_empty() {
                writeln!(out)?;
            }
            let mut cycles = found.cycles.iter();
            cycles.try_for_each(|cycle| writeln!(out, "{}", screen.paint(&cycle.text, Tint::Alarm)))
        }
    });
    if found.files.is_empty() {
        tell(match plan.which == Which::default() {
            true => "sneck: no lock was found",
            false => "sneck: no lock was found that is asked for",
        });
    }
    for line in found.troubles() {
        tell(&format!("sneck: {line}"));
    }
    printed
}
