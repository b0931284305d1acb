//! Who turns the acquisition machine. The rules are all in `acquire.rs`; a driver only sleeps the way it is told to.

pub(crate) mod block;
pub(crate) mod future;
