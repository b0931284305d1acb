//! Which files are programs, by the ends of their names. Not for: running them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What cmd.exe takes when PATHEXT is not set, as far as a process can be made of it.
const USUAL: &str = ".COM;.EXE;.BAT;.CMD";

/// Whether a shell would run it: a file whose name ends as those of programs do, or would if the end were added.
pub(crate) fn is_program(path: &Path) -> bool {
    (has_end(path) && path.is_file()) || with_end(path).is_some()
}

/// The program that a shell would run by this word, if its name lacks its end.
pub(super) fn find(word: &OsStr) -> Option<PathBuf> {
    if word.is_empty() || word.to_string_lossy().contains(std::path::is_separator) {
        return with_end(Path::new(word));
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).find_map(|folder| with_end(&folder.join(word)))
}

fn with_end(path: &Path) -> Option<PathBuf> {
    path.file_name()?;
    let ended = ends().into_iter().map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    });
    ended.into_iter().find(|path| path.is_file())
}

fn has_end(path: &Path) -> bool {
    let end = path.extension().map(|end| {
        let mut dotted = OsString::from(".");
        dotted.push(end);
        dotted
    });
    end.is_some_and(|end| ends().iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// Those of PATHEXT of which a process can be made; scripts of other kinds need a program that reads them.
fn ends() -> Vec<String> {
    let known = env::var("PATHEXT").unwrap_or_else(|_| USUAL.to_owned());
    let known = known.split(';').map(str::to_owned);
    let can_run = |end: &String| {
        USUAL
            .split(';')
            .any(|usual| usual.eq_ignore_ascii_case(end))
    };
    known.filter(can_run).collect()
}
