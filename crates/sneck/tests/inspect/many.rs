//! A thousand locks of one process are all there, once each.

use crate::actor::{Actor, empty};
use crate::told;
use sneck::inspect::Inspector;
use sneck_testkit::Folder;
use std::collections::HashMap;
use std::path::PathBuf;

const MANY: usize = 1000;

#[test]
fn a_thousand_files_of_one_process_are_all_there_once_each() {
    let folder = Folder::new();
    let mut actor = Actor::new();
    let pid = actor.pid();
    actor.does("resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))");
    for how in ["flock", "posix", "ofd"] {
        let path = folder.join(how);
        let count = actor.does(&format!(
            "each({how}, [f'{{{path:?}}}-{{n}}' for n in range({MANY})])"
        ));
        assert_eq!(count, MANY.to_string());
    }
    let survey = Inspector::new().machine().expect("one can look");
    let mut found: HashMap<PathBuf, Vec<String>> = HashMap::new();
    for file in &survey.files {
        let path = file.file.path.clone().unwrap_or_default();
        if path.starts_with(folder.path()) {
            assert!(file.oddities.is_empty(), "{file:?}");
            let known = found.insert(path, file.holdings.iter().map(crate::holding).collect());
            assert!(known.is_none(), "{file:?}");
        }
    }
    for how in ["flock", "posix", "ofd"] {
        let expected = match how {
            "ofd" => format!("ofd x *: {pid} has"),
            _ => format!("{how} x * by {pid}: {pid} took"),
        };
        for n in 0..MANY {
            let path = folder.join(format!("{how}-{n}"));
            let there = found.remove(&path).unwrap_or_default();
            assert_eq!(there, std::slice::from_ref(&expected), "{}", path.display());
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_thousand_ranges_of_one_file_are_all_there_once_each() {
    let folder = Folder::new();
    for how in ["posix", "ofd"] {
        let path = empty(&folder.join(how));
        let mut actor = Actor::new();
        let pid = actor.pid();
        let descriptor = actor.locks(how, &path, ", 'x', 0, 1");
        actor.does(&format!(
            "len([{how}({descriptor}, 'x', 2 * n, 1) for n in range({MANY})])"
        ));
        let by = match how {
            "posix" => format!(" by {pid}: {pid} took"),
            _ => format!(": {pid} has"),
        };
        let expected = (0..MANY).map(|n| format!("{how} x {at}-{at}{by}", at = 2 * n));
        assert_eq!(told(&path).holdings, expected.collect::<Vec<_>>());
    }
}
