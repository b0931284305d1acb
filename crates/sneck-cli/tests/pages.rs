//! `sneck completions` in a real shell on a real terminal, and `sneck man` as the programs that show manuals read it.
#![allow(clippy::disallowed_methods)]

mod stage;

use stage::terminal::Terminal;
use stage::{Place, text};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn printed(place: &Place, words: &[&str]) -> String {
    let output = place.output(words);
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    assert_eq!(text(&output.stderr), "", "{words:?}");
    text(&output.stdout)
}

/// The verbs that `--help` lists, but `help` itself.
fn verbs(place: &Place) -> Vec<String> {
    let help = printed(place, &["--help"]);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect();
    assert!(verbs.contains(&"run".to_owned()), "{help}");
    verbs
}

/// The options that a help or a page names: `--word` and `-w`.
fn options(page: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    page.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .flat_map(|line| line.split("  ").next().unwrap_or_default().split(ends))
        .filter(|word| word.starts_with('-') && word.len() > 1)
        .map(str::to_owned)
        .collect()
}

/// The page as it is shown, without its fonts. Nothing in it may be doubtful.
fn shown(page: &str) -> String {
    let mut groff = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=100n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("groff(1) of Debian's groff-base");
    let mut pipe = groff.stdin.take().expect("piped");
    pipe.write_all(page.as_bytes()).expect("read");
    drop(pipe);
    let output = groff.wait_with_output().expect("reaped");
    assert_eq!(text(&output.stderr), "");
    // Signs that only look like those that are typed.
    text(&output.stdout).replace(['\u{2010}', '\u{2212}'], "-")
}

#[test]
fn each_shell_gets_a_script_that_knows_every_verb_and_protocol() {
    let place = Place::new();
    for shell in SHELLS {
        let script = printed(&place, &["completions", shell]);
        for verb in verbs(&place) {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
        // The others cannot be told which words are possible.
        let words = ["bash", "fish", "zsh"].contains(&shell);
        assert_eq!(script.contains("pidfile"), words, "{shell}");
    }
    assert_eq!(place.code(&["completions", "tcsh"]), 64);
}

#[test]
fn bash_finds_nothing_wrong_with_its_script() {
    let place = Place::new();
    let script = printed(&place, &["completions", "bash"]);
    fs::write(place.path().join("script"), script).expect("written");
    let output = Command::new("bash")
        .args(["-n", "script"])
        .current_dir(place.path())
        .output()
        .expect("bash(1)");
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[test]
fn bash_completes_verbs_options_protocols_and_files_on_a_terminal() {
    let place = Place::new();
    fs::write(place.path().join("nightly-job.lock"), "").expect("written");
    let mut terminal = Terminal::start(&place, &["bash", "--norc", "--noprofile", "-i"]);
    terminal.types("source <(sneck completions bash); echo rea''dy\n");
    terminal.shows("\nready");
    for (typed, shown) in [
        ("sneck stat\t", "sneck status "),
        ("sneck run --sha\t", "sneck run --shared "),
        (
            "sneck status --protocol pidf\t",
            "sneck status --protocol pidfile ",
        ),
        ("sneck run nigh\t", "sneck run nightly-job.lock "),
        (
            "sneck acquire --pid 1 nigh\t",
            "sneck acquire --pid 1 nightly-job.lock ",
        ),
        ("sneck man rele\t", "sneck man release "),
    ] {
        terminal.types(typed);
        // Ctrl-A, Ctrl-E: to the beginning, to the end. What stands there is printed and not run.
        terminal.types("\x01echo '<\x05>'\n");
        terminal.shows(&format!("\n<{shown}>"));
    }
    terminal.types("exit\n");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn every_page_is_sound_and_names_every_option_of_its_verb() {
    let place = Place::new();
    for verb in verbs(&place) {
        let page = shown(&printed(&place, &["man", &verb]));
        let help = printed(&place, &[&verb, "--help"]);
        let (there, wanted) = (options(&page), options(&help));
        assert!(wanted.contains("--help"), "{help}");
        let missing: Vec<_> = wanted.difference(&there).collect();
        assert!(missing.is_empty(), "{verb}: {missing:?}\n{page}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES"] {
            let found = page.lines().any(|line| line == section);
            assert!(found, "{verb}: {section}\n{page}");
        }
        assert!(
            page.contains(&format!("sneck-{verb}(1)")) && page.contains("sneck 0."),
            "{page}"
        );
    }
}

#[test]
fn the_page_of_sneck_lists_the_pages_of_its_verbs_and_the_places() {
    let place = Place::new();
    let page = shown(&printed(&place, &["man"]));
    for verb in verbs(&place) {
        assert!(page.contains(&format!("sneck-{verb}(1)")), "{verb}\n{page}");
    }
    assert!(page.contains("mkdir:PATH"), "{page}");
    assert!(!page.contains("sneck-help"), "{page}");
    // Beyond ASCII, whatever the reader takes the page's encoding to be.
    assert!(page.contains("cargo, uv …"), "{page}");
}

#[test]
fn examples_keep_their_lines_and_tables_their_columns() {
    let place = Place::new();
    let page = shown(&printed(&place, &["man", "run"]));
    let help = printed(&place, &["run", "--help"]);
    let examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let examples: Vec<&str> = examples.take_while(|line| !line.is_empty()).collect();
    assert!(examples.len() > 1, "{help}");
    for example in examples {
        let example = example.trim();
        let whole = page.lines().any(|line| line.trim() == example);
        assert!(whole, "{example}\n{page}");
    }
    let code = |line: &str| line.trim_start().starts_with("127  ");
    let line = page.lines().find(|line| code(line));
    let words = line.unwrap_or_default().split_whitespace();
    assert!(
        words.eq("127 there is no such command".split(' ')),
        "{page}"
    );
}

#[test]
fn the_page_of_what_is_no_verb_is_refused_and_the_verbs_are_named() {
    let place = Place::new();
    let (code, said) = place.said(&["man", "lock"]);
    assert_eq!(code, 64);
    assert!(said.contains("`lock`") && said.contains("run, "), "{said}");
}
