//! What is no lock is refused at once, named, and left as it was; so are places where no lock can be made.
//!
//! | file | what is wrong there |
//! |---|---|
//! | `opened.rs` | what stands there must not be opened |
//! | `records.rs` | what `flock` with a record and `symlink` make of content that is nearly theirs |
//! | `names.rs` | the path itself: links on the way, names that are no text |
//! | `permissions.rs` | an ordinary user may not do this or that |
//! | `filesystems.rs` | the file system: read-only, full, without links |
//! | `limits.rs` | no descriptors are left |
//!
//! Every test runs for every protocol that keeps its claims in files. Not for: what else may stand at a path (`things`), claims whose holder is gone (`stale`), locks that are taken away while
//! they are held (`replaced`), exit codes (the command's own tests).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

mod filesystems;
mod limits;
mod names;
mod opened;
mod permissions;
mod records;

use sneck::{Error, ErrorKind, Registry, Waiting};
use sneck_testkit::child::{Session, say};
use sneck_testkit::planted::protocols_with_numbers;
use sneck_testkit::{Setup, sys};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

sneck_testkit::entry!(Registry::local, commands);

fn setup(scheme: &str) -> (Setup, PathBuf) {
    setup_at(scheme, "lock")
}

fn setup_at(scheme: &str, name: &str) -> (Setup, PathBuf) {
    let place = |folder: &Path| format!("{scheme}:{}", folder.join(name).display());
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = setup.folder.join(name);
    (setup, path)
}

/// The error is of this kind, and names the path.
#[track_caller]
fn says(error: &Error, kind: ErrorKind, path: &Path) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
}

/// The same of what a child answered.
#[track_caller]
fn refusal_says(refusal: &str, kind: ErrorKind, path: &Path) {
    assert!(refusal.starts_with(&format!("{kind:?} ")), "{refusal}");
    assert!(refusal.contains(&path.display().to_string()), "{refusal}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
}

/// What some tests cannot do without. They fail instead of passing without having looked.
#[track_caller]
fn must_be_root() {
    assert!(
        sys::is_root(),
        "this needs root, for other users and for mounts of its own: run the tests as root, in a container for instance"
    );
}

/// All names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = all
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// What a released lock leaves behind and should not. The file of a kernel lock stays, by design.
fn litter(scheme: &str, folder: Option<&Path>) -> Vec<String> {
    let mut left = names(folder.expect("every path has a folder"));
    left.retain(|name| name != "lock" || protocols_with_numbers().contains(&scheme));
    left
}

/// What children of these tests understand beside the usual.
fn commands(session: &mut Session, words: &[&str]) -> bool {
    match words {
        // Whoever looks must say done: an error is an answer.
        ["look"] => match session.setup.lock().holder() {
            Ok(seen) => say(&format!("done {seen:?}")),
            Err(error) => say(&format!("done {:?} {error}", error.kind())),
        },
        ["leave-descriptors", number] => {
            limits::leave_descriptors(number.parse().expect("a number"));
            say("done");
        }
        _ => return false,
    }
    true
}
