//! There is one family of locks on byte ranges, and `flock` has it.

use super::file::{Asleep, Descriptor, Tried};
use crate::Mode;
use crate::inspect::Range;
use std::io;

fn no_second_family<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn try_lock(_: &Descriptor, _: Mode) -> io::Result<Tried> {
    no_second_family()
}

pub(crate) fn lock(_: &Descriptor, _: Mode, _: &Asleep<'_>) -> io::Result<()> {
    no_second_family()
}

pub(crate) fn unlock(_: &Descriptor) -> io::Result<()> {
    no_second_family()
}

pub(crate) fn in_the_way(_: &Descriptor, _: Range) -> io::Result<Option<(Mode, Range, i32)>> {
    no_second_family()
}
