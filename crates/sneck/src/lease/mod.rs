//! Holding that lasts only as long as its holder speaks: renewed in time, counted by the holder's own clock, and told when it is lost.
//!
//! One engine for all servers. A protocol says how one word to its server is said ([`Tenure`]); everything else is here: when it is said, what counts
//! as having been heard, until when the holder may believe to hold ([`Lease`]), and who is told when that is over ([`Watch`]).
//!
//! The rule. The server lets go `ttl + delay` after it last *heard* us; we let go `ttl` after we last *said* something that was heard, on a clock that counts suspend.
//! Whatever the network does, we stop believing at least `delay` before anybody else can be let in. Losing is final: a word that is heard too late changes nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | `terms.rs` | how long, and how long after that |
//! | `keeper.rs` | the thread that renews one lease |
//! | `nursery.rs` | leases that are too young to need one |
//! | `watch.rs` | being told that a holding is over |
//! | `held.rs` | a holding on lease, as the library sees it |
//!
//! Not for: protocols; ending a command that runs under a lost lock (`sneck run`); claims in files that must be kept fresh (`tend.rs`), which nobody else counts by a clock of ours.

mod held;
mod keeper;
mod nursery;
mod terms;
mod watch;

pub use held::Leased;
pub use keeper::{Lease, Renewed, Tenure};
pub use terms::Terms;
pub use watch::{Lost, Outcome, Watch};
