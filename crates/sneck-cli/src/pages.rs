//! `sneck completions` and `sneck man`: what a shell and a reader of manuals want to know, made from the definition of the command line itself.
//!
//! Not for: the words. They are those of `--help` (`args.rs`); here they are only set as a manual sets them.

use crate::args::Cli;
use crate::exit::Exit;
use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use sneck::{Error, ErrorKind, Registry, text};
use std::io::{self, Write};

const VERSION: &str = concat!("sneck ", env!("CARGO_PKG_VERSION"));

/// Print what makes this shell complete the arguments of sneck.
pub(crate) fn completions(shell: Shell, registry: &Registry) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(registry), "sneck", &mut script);
    print(&script)
}

/// Print the page of a verb, or of sneck itself.
pub(crate) fn man(verb: Option<&str>, registry: &Registry) -> Result<Exit, Error> {
    // The page says what `help` does; a page of `help` would say nothing.
    let mut whole = command(registry).disable_help_subcommand(true);
    whole.build();
    let page = match verb {
        None => page(whole),
        Some(verb) => match whole.find_subcommand(verb) {
            Some(command) => page(command.clone().disable_help_subcommand(true)),
            None => return Err(no_verb(verb, &whole)),
        },
    };
    Ok(page.map_or(Exit::Io, |page| print(&page)))
}

fn print(bytes: &[u8]) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // A reader that went away (`| head`) wants no more; anything else is an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Io,
        _ => Exit::Ok,
    }
}

/// The command line with what only the running program knows: which words are possible.
fn command(registry: &Registry) -> Command {
    let protocols: Vec<String> = registry.schemes().map(str::to_owned).collect();
    let command = Cli::command();
    let verbs: Vec<String> = verbs(&command).map(str::to_owned).collect();
    command.mut_subcommands(|verb| {
        let one_of = |words: &[String]| PossibleValuesParser::new(words.to_vec());
        verb.mut_args(|argument| match argument.get_id().as_str() {
            "protocol" => argument
                .value_parser(one_of(&protocols))
                .hide_possible_values(true),
            "verb" => argument
                .value_parser(one_of(&verbs))
                .hide_possible_values(true),
            _ => argument,
        })
    })
}

fn verbs(command: &Command) -> impl Iterator<Item = &str> {
    command.get_subcommands().map(Command::get_name)
}

fn no_verb(verb: &str, command: &Command) -> Error {
    let what = format!("there is no verb `{}`", text::clean(verb));
    let known = verbs(command).collect::<Vec<_>>().join(", ");
    Error::new(ErrorKind::Usage, "print the page", what).advise(format!("the verbs are: {known}"))
}

/// The page of one command, as manuals have it: what it is, how it is called, what it can be told, and the blocks of its help.
fn page(command: Command) -> io::Result<Vec<u8>> {
    let help = command.get_after_help().map(ToString::to_string);
    let has_verbs = command.has_subcommands();
    let man = Man::new(command).manual("sneck").source(VERSION);
    let blocks = Blocks::of(help.as_deref().unwrap_or_default());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    blocks.paragraphs().to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_verbs {
        man.render_subcommands_section(&mut page)?;
    }
    blocks.sections().to_writer(&mut page)?;
    if !has_verbs {
        let mut see = Roff::new();
        see.control("SH", ["SEE ALSO"]);
        see.text([bold("sneck"), roman("(1)")]);
        see.to_writer(&mut page)?;
    }
    Ok(ascii(&page))
}

/// Characters beyond ASCII by their numbers: what reads the page need not know how they are encoded.
fn ascii(page: &[u8]) -> Vec<u8> {
    let mut plain = String::new();
    for character in String::from_utf8_lossy(page).chars() {
        if character.is_ascii() {
            plain.push(character);
        } else {
            plain.push_str(&format!("\\[u{:04X}]", u32::from(character)));
        }
    }
    plain.into_bytes()
}

/// What follows the options in a verb's help: blocks between empty lines, each a paragraph or a title with what belongs to it.
struct Blocks<'a> {
    blocks: Vec<Block<'a>>,
}

enum Block<'a> {
    Paragraph(&'a str),
    /// Shown line by line.
    Examples(Vec<&'a str>),
    /// Words with what they mean.
    List(&'a str, Vec<&'a str>),
}

impl<'a> Blocks<'a> {
    fn of(help: &'a str) -> Blocks<'a> {
        let blocks = help.split("\n\n").filter(|block| !block.trim().is_empty());
        Blocks {
            blocks: blocks.map(Block::of).collect(),
        }
    }

    fn paragraphs(&self) -> Roff {
        let mut roff = Roff::new();
        for block in &self.blocks {
            if let Block::Paragraph(text) = block {
                roff.control("PP", []).text([roman(*text)]);
            }
        }
        roff
    }

    /// The examples come last, as they do in manuals.
    fn sections(&self) -> Roff {
        let mut roff = Roff::new();
        for block in &self.blocks {
            if let Block::List(title, lines) = block {
                list(&mut roff, title, lines);
            }
        }
        for block in &self.blocks {
            if let Block::Examples(lines) = block {
                roff.control("SH", ["EXAMPLES"]).control("nf", []);
                for line in lines {
                    roff.text([roman(line.trim())]);
                }
                roff.control("fi", []);
            }
        }
        roff
    }
}

impl<'a> Block<'a> {
    fn of(block: &'a str) -> Block<'a> {
        let mut lines = block.lines();
        let first = lines.next().unwrap_or_default();
        match first.strip_suffix(':') {
            Some("Examples") => Block::Examples(lines.collect()),
            Some(title) => Block::List(title, lines.collect()),
            None => Block::Paragraph(block),
        }
    }
}

fn list(roff: &mut Roff, title: &str, lines: &[&str]) {
    // `JSON: a list with …`: what stands after the colon is said below the title.
    let (title, lead) = title.split_once(": ").unwrap_or((title, ""));
    roff.control("SH", [title.to_uppercase().as_str()]);
    if !lead.is_empty() {
        roff.text([roman(format!("{lead}:"))]);
    }
    // Where what the words mean begins. All that begins there or further on is said of the word before.
    let mut meaning = usize::MAX;
    for line in lines {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match text.find("  ") {
            _ if indent >= meaning => {
                roff.text([roman(text)]);
            }
            Some(end) => {
                let (word, rest) = text.split_at(end);
                let rest_text = rest.trim_start();
                meaning = indent + end + rest.len() - rest_text.len();
                roff.control("TP", []).text([bold(word)]);
                roff.text([roman(rest_text)]);
            }
            // A word too long for its meaning to stand beside it.
            None if indent > 0 => {
                roff.control("TP", []).text([bold(text)]);
            }
            None => {
                roff.control("PP", []).text([roman(text)]);
            }
        }
    }
}
