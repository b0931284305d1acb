//! What stdout is: how wide, and whether it shows colours.
//!
//! Not for: what is drawn there (each verb's file), nor the live line on stderr (`waiting.rs`).

use console::{Style, Term};
use std::env;
use std::io::{self, IsTerminal};

/// A terminal that does not say how wide it is.
const USUAL: usize = 80;

/// What can be seen of stdout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// How many columns there are; None: as many as it takes.
    pub(crate) width: Option<usize>,
    pub(crate) colours: Colours,
}

/// Whether colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Shown,
    Plain,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tint {
    /// Nothing.
    Plain,
    /// A title.
    Title,
    /// Somebody should look.
    Warning,
    /// Somebody must do something.
    Alarm,
}

impl Screen {
    /// A terminal is as wide as it says. COLUMNS counts where there is none, as for ps(1): watch(1), which shows what a pipe brings, sets it.
    pub(crate) fn of_stdout() -> Screen {
        let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let columns = columns.filter(|count| *count > 0);
        let terminal = io::stdout().is_terminal();
        let told = Term::stdout().size_checked().filter(|_| terminal);
        let width = match told {
            Some((_, width)) => Some(usize::from(width)),
            None if terminal => Some(columns.unwrap_or(USUAL)),
            None => columns,
        };
        // NO_COLOR is the stronger word, also than CLICOLOR_FORCE; `console` knows the others.
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = if !refused && console::colors_enabled() {
            Colours::Shown
        } else {
            Colours::Plain
        };
        Screen { width, colours }
    }

    pub(crate) fn paint(&self, text: &str, tint: Tint) -> String {
        let style = match tint {
            Tint::Plain => return text.to_owned(),
            _ if self.colours == Colours::Plain => return text.to_owned(),
            Tint::Title => Style::new().bold(),
            Tint::Warning => Style::new().yellow(),
            Tint::Alarm => Style::new().red(),
        };
        style.force_styling(true).apply_to(text).to_string()
    }
}
