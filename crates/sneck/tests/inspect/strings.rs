//! What others wrote: as it is in the values, and safe in the words.

use crate::actor::{Actor, empty};
use crate::{on_machine, seen, told};
use sneck::inspect::{Inspector, Keeper, Limit, Name, Oddity};
use sneck_testkit::Folder;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const EVIL: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\nroot\r\u{9b}31m\u{202e}";

/// None of what moves a terminal, or the reader's eye.
#[track_caller]
fn is_clean(text: &str) {
    let evil =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(evil), "{text:?}");
}

#[test]
fn a_command_line_with_escapes_is_said_as_it_is_and_shown_without() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    let mut holder = Command::new("flock")
        .arg0(EVIL)
        .arg(&path)
        .args(["cat", "-", EVIL])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("flock(1) of util-linux");
    let pid = holder.id();
    sneck_testkit::block::until("it holds it", || {
        let found = Inspector::new().path(&path).expect("one can look");
        // Its child has begun as another program.
        let keepers = found.holdings.iter().flat_map(|h| &h.keepers);
        let is_cat = |k: &Keeper| {
            k.holder
                .command
                .as_deref()
                .is_some_and(|c| c.starts_with("cat"))
        };
        keepers.filter(|keeper| is_cat(keeper)).count() == 1
    });
    let found = seen(&path);
    for keeper in &found.holdings[0].keepers {
        let command = keeper.holder.command.as_deref().unwrap_or_default();
        assert!(command.contains(EVIL), "{command:?}");
        is_clean(&keeper.holder.to_string());
        is_clean(&format!("{:?}", keeper.holder));
    }
    let command = found.holdings[0].keepers[0].holder.command.as_deref();
    assert!(command.is_some_and(|c| c.starts_with(EVIL)), "{command:?}");
    assert_eq!(found.holdings[0].keepers[0].holder.pid, Some(pid));
    drop(holder.stdin.take());
    holder.wait().expect("our own child");
}

#[test]
fn a_path_is_told_byte_by_byte_whatever_it_holds() {
    let folder = Folder::new();
    for name in [
        &b"\xff\xfe lock"[..],
        b"line\nand \x1b[31m colour",
        "lö\u{202e}ck".as_bytes(),
        b"back\\slash\\012",
        b"  blanks  ",
    ] {
        let path = folder.join(OsStr::from_bytes(name));
        fs::write(&path, "").expect("our own folder");
        let mut actor = Actor::new();
        let pid = actor.pid();
        let escaped: String = path
            .as_os_str()
            .as_bytes()
            .iter()
            .map(|b| format!("\\x{b:02x}"))
            .collect();
        actor.does(&format!("flock(b'{escaped}')"));
        assert_eq!(
            told(&path).holdings,
            [format!("flock x * by {pid}: {pid} took")]
        );
        let inode = seen(&path).file.inode.expect("it is there");
        let found = on_machine(inode);
        assert_eq!(found.file.path.as_deref(), Some(&*path));
        assert_eq!(found.file.name, Name::Leads);
        // So it is after it was deleted.
        fs::remove_file(&path).expect("our own folder");
        let found = on_machine(inode);
        assert_eq!(found.file.path.as_deref(), Some(&*path));
        assert_eq!(found.file.name, Name::Deleted);
        is_clean(&sneck::text::clean(&path.to_string_lossy()));
    }
}

/// /proc/PID/stat and status have the name of a program in their midst.
#[test]
fn the_name_of_a_program_misleads_nobody() {
    let folder = Folder::new();
    let path = empty(&folder.join("lock"));
    for name in ["a) Z 1 1", "T (stopped)\nState:\tT", "\u{1b}[31m"] {
        let mut actor = Actor::new();
        let pid = actor.pid();
        actor.does(
            &format!("open('/proc/self/comm', 'w').write({name:?})").replace("\\u{1b}", "\\x1b"),
        );
        let descriptor = actor.locks("flock", &path, "");
        let found = seen(&path);
        let keeper = &found.holdings[0].keepers[0];
        assert_eq!(keeper.holder.pid, Some(pid));
        assert_eq!(keeper.life.pace, sneck::inspect::Pace::Runs);
        assert_eq!(keeper.life.threads, Some(1));
        assert_eq!(keeper.holder.user.as_deref(), Some("root"));
        assert!(found.oddities.is_empty(), "{:?}", found.oddities);
        actor.does(&format!("os.close({descriptor})"));
    }
}

#[test]
fn what_is_put_into_words_is_clean() {
    let found = Inspector::new().path(OsStr::new("/nowhere/\u{1b}[31m\nlock"));
    if let Err(error) = found {
        is_clean(&error.to_string());
    }
    let words = [
        Oddity::OtherHost(EVIL.into()).to_string(),
        Limit::NotProbed { why: EVIL.into() }.to_string(),
    ];
    words.iter().for_each(|text| is_clean(text));
    for odd in [
        Oddity::Deleted,
        Oddity::TwoFamilies,
        Oddity::Nobody,
        Oddity::Stopped { pid: 12 },
    ] {
        is_clean(&odd.to_string());
    }
}
