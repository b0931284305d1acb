//! Which words of `sneck run` are LOCKs and which are the COMMAND.
//!
//! `sneck run LOCK COMMAND …`: the first word is the LOCK. `sneck run LOCK… -- COMMAND …`: what stands before `--` are LOCKs. The commands of other programs have a `--` of their
//! own: `sneck run l git checkout -- file`. A word that names a program, where a second LOCK would stand, is never silently taken for a lock.
//!
//! Not for: what a LOCK means (`plan.rs`).

use crate::advice;
use crate::sys;
use sneck::{Error, ErrorKind};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

const END: &str = "--";

/// The LOCKs and the COMMAND. `raw` is the whole command line, of which the parser gave `lock` as the first word that is no option, and `rest` as all
/// that follows.
pub(crate) fn split(
    raw: &[OsString],
    lock: OsString,
    mut rest: Vec<OsString>,
) -> Result<(Vec<OsString>, Vec<OsString>), Error> {
    // One that stands right after the LOCK is swallowed by the parser: then what follows is the command's own.
    let before = raw.len().checked_sub(rest.len() + 1);
    let swallowed = before.is_some_and(|before| raw[before] == END) && lock != END;
    let end = rest.iter().position(|word| word == END);
    let Some(end) = end.filter(|_| !swallowed) else {
        return Ok((vec![lock], rest));
    };
    let command = rest.split_off(end + 1);
    rest.pop();
    if let Some(program) = rest.first().filter(|word| is_program(word)) {
        let said = format!(
            "`{}` names a program, and stands where a second LOCK would: what stands before `--` are LOCKs",
            advice::word(program)
        );
        return Err(usage(said).advise(format!(
            "write `sneck run {} -- {}` to run it under the lock, and `{}` for a lock of that name",
            advice::word(&lock),
            shown(
                rest.iter()
                    .map(OsString::as_os_str)
                    .chain([OsStr::new(END)])
                    .chain(command.iter().map(OsString::as_os_str))
            ),
            beside(program),
        )));
    }
    if command.is_empty() {
        return Err(usage("there is no COMMAND after `--`".into())
            .advise("write `sneck run LOCK… -- COMMAND`"));
    }
    let locks = std::iter::once(lock).chain(rest).collect();
    Ok((locks, command))
}

fn usage(what: String) -> Error {
    Error::new(ErrorKind::Usage, "read the command line", what)
}

fn shown<'a>(words: impl Iterator<Item = &'a OsStr>) -> String {
    words.map(advice::word).collect::<Vec<_>>().join(" ")
}

/// How a lock of that name is written.
fn beside(program: &OsStr) -> String {
    let word = advice::word(program);
    if is_path(program) {
        return format!("flock:{word}");
    }
    format!("./{word}")
}

fn is_path(word: &OsStr) -> bool {
    word.to_string_lossy().contains(std::path::is_separator)
}

/// Whether a shell would run something by this word.
fn is_program(word: &OsStr) -> bool {
    if is_path(word) {
        return sys::is_program(Path::new(word));
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    !word.is_empty() && env::split_paths(&folders).any(|f| sys::is_program(&f.join(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    /// As the parser gives it: options first, then the LOCK, then a `--` that is swallowed.
    fn read(line: &str) -> Result<(Vec<OsString>, Vec<OsString>), Error> {
        let raw = words(line);
        let mut rest = raw.clone();
        let lock = rest.remove(0);
        if rest.first().is_some_and(|word| word == END) {
            rest.remove(0);
        }
        split(&raw, lock, rest)
    }

    #[track_caller]
    fn must_mean(line: &str, locks: &str, command: &str) {
        let (l, c) = read(line).expect("it makes sense");
        assert_eq!((l, c), (words(locks), words(command)), "{line}");
    }

    #[test]
    fn what_stands_before_the_dashes_are_locks() {
        must_mean("l true", "l", "true");
        must_mean("l ls -l /", "l", "ls -l /");
        must_mean("l -- ls -l", "l", "ls -l");
        must_mean("a b -- ls -l", "a b", "ls -l");
        must_mean("a fcntl:b ./c -- ls -- -l", "a fcntl:b ./c", "ls -- -l");
        must_mean("l -- git checkout -- file", "l", "git checkout -- file");
        must_mean("l -- -- file", "l", "-- file");
    }

    #[test]
    fn a_program_is_not_taken_for_a_lock() {
        for line in ["l SHELL -c true -- file", "l PATH -- x", "l SHELL --"] {
            let error = read(&with_programs(line)).expect_err(line);
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
        let said = |line: &str| read(&with_programs(line)).expect_err(line).to_string();
        let shown = |line: &str| with_programs(line).replace("x;", &sys::quoted("x;"));
        let one = said("l SHELL -c x; -- a");
        assert!(
            one.contains(&shown("`sneck run l -- SHELL -c x; -- a`")),
            "{one}"
        );
        assert!(one.contains(&shown("`./SHELL` for a lock")), "{one}");
        let one = said("l PATH -- a");
        assert!(one.contains(&shown("`flock:PATH` for a lock")), "{one}");
        // Only where a COMMAND could stand; and a folder is no program.
        let means = |line: &str, locks: &str| {
            must_mean(&with_programs(line), &with_programs(locks), "true");
        };
        means("SHELL b -- true", "SHELL b");
        means("a b SHELL -- true", "a b SHELL");
        means("a FOLDER -- true", "a FOLDER");
    }

    /// A program by its name and by its path, and a folder, of the system that this is.
    fn with_programs(line: &str) -> String {
        let [shell, path, folder] = sys::testing::PROGRAM;
        let line = line.replace("SHELL", shell).replace("PATH", path);
        line.replace("FOLDER", folder)
    }

    #[test]
    fn without_a_command_there_is_nothing_to_do() {
        assert_eq!(read("a b --").unwrap_err().kind(), ErrorKind::Usage);
    }
}
