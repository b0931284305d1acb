//! A forked child has no part in what its parent holds, and is not in its way. Where there is no fork, there is nothing to keep.
//! Not for: programs that are started, which are processes like any other (`exclusion.rs`).

use super::*;
use crate::sys;

/// Release, and drop, of the copy that a child made by fork(2) has.
pub fn a_forked_child_cannot_release_what_its_parent_holds(setup: &Setup) {
    let mut holder = setup.child();
    holder.acquire();
    holder.tell("fork-and-release it");
    assert_eq!(holder.hear("forked"), "0 0");
    holder.must_be_refused();
    if setup.lock().capabilities().reach != Reach::Process {
        must_be_busy(&setup.lock());
        setup.child().must_be_refused();
    }
    assert_eq!(holder.ask("standing it"), "Held");
    holder.release();
    must_come_free(setup);
}

/// A forked child has no part in the lock, however long it lives.
pub fn a_forked_child_that_lives_on_keeps_nothing(setup: &Setup) {
    let mut holder = setup.child();
    holder.acquire();
    holder.tell("fork-and-stay");
    holder.hear("forked");
    holder.must_be_refused();
    if setup.lock().capabilities().reach != Reach::Process {
        must_be_busy(&setup.lock());
    }
    holder.release();
    must_come_free(setup);
    // Again, with a holder that dies while its child lives.
    holder.acquire();
    holder.tell("fork-and-stay");
    let orphan = holder.hear("forked").parse().expect("a number");
    holder.kill();
    assert!(sys::runs(orphan), "the forked child lives");
    must_come_free(setup);
    assert!(sys::runs(orphan), "the forked child still lives");
}

/// The mutexes of the library may be held by threads that the child does not have.
pub fn a_forked_child_acquires_whatever_other_threads_were_doing(setup: &Setup) {
    let mut child = setup.child();
    child.tell("fork-and-acquire 40");
    assert_eq!(child.hear("forked"), "0");
    must_come_free(setup);
}
