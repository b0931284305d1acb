//! The judge of a lock: a resource that several parties change under it, each with its token, and that sees what they do.
//!
//! It is a process of its own. It keeps a register of the highest token, a counter that is changed by reading and writing, and a log of all that happens, on one monotonic clock. It refuses stale
//! tokens, unless it is told not to look at them: then it lets everybody in and writes down what comes of that.
//!
//! | file | what it holds |
//! |---|---|
//! | [`log`] | what can happen, and how it is written down |
//! | [`verdict`] | what the log shows: a pure function |
//! | [`court`] | the process |
//! | [`visitor`] | the parties' side, and that of the test which brings the faults |
//!
//! Words of the parties, one a line, each answered by one:
//!
//! | word | answer |
//! |---|---|
//! | `hello NAME` | `yes`, or `no`: the session closes, acquire nothing more |
//! | `asks` | the same, before each acquisition |
//! | `enter TOKEN`, `leave TOKEN` | `ok`, `stale` |
//! | `read` | the counter |
//! | `write TOKEN VALUE` | `ok`, `stale` |
//! | `stays` | `yes`: the test keeps this party inside; `no` |
//! | `gave-up`, `trouble TEXT` | `ok` |
//!
//! and of the test: `note NAME WHAT…` (see [`log::What`]), `inside`, `catch [NAME]`, `caught`, `let-go`, `entries`, `counter`, `close`.
//!
//! Not for: bringing faults, knowing any engine, readers (one party at a time is what is judged).

pub mod court;
pub mod log;
pub mod verdict;
pub mod visitor;

pub use court::{Checks, Court};
pub use log::{Entry, Ruling, What};
pub use verdict::{Verdict, Violation, judge};
pub use visitor::{Note, Visitor};
