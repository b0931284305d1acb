//! The same judge without checks finds what it is there for.
