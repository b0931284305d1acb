//! Programs that take one path for locks of different protocols: each waits for the other's claim, and never takes it for rubbish.
//!
//! Only among protocols that put their claim at the name itself: what the kernel keeps on a file is not seen by those who only look at names, and a
//! kernel lock's file stays.

use crate::CHILD_ENTRY;
use sneck::{Registry, Waiting};
use sneck_testkit::planted::protocols_with_numbers;
use sneck_testkit::{Folder, Journal, Setup};

const ROUNDS: usize = 60;

#[test]
fn claims_of_different_protocols_at_one_path_exclude_each_other() {
    let all = protocols_with_numbers();
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let folder = Folder::new();
            let path = folder.join("lock");
            let setups = [one, other].map(|scheme| {
                let place = |_: &std::path::Path| format!("{scheme}:{}", path.display());
                Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY)
            });
            let journal = setups[0].folder.join("journal");
            let mut children = setups.each_ref().map(Setup::child);
            for child in &mut children {
                child.tell(&format!("course {ROUNDS} 1 {}", journal.display()));
            }
            for child in &mut children {
                child.hear("done");
            }
            assert_eq!(Journal::open(&journal).overlaps(), "", "{one} and {other}");
            assert_eq!(crate::names(folder.path()), [""; 0], "{one} and {other}");
        }
    }
}
