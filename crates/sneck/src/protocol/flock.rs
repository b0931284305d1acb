//! `flock`: flock(2) on a regular file.
//!
//! Downsides. Blind to the other family: a POSIX or OFD lock on the same file is not seen. Removing or replacing the file while it is held splits the lock in two (the
//! holder is told by `standing()`; newcomers use the file that is there; a waiter that sleeps in the kernel on the old file learns at
//! its deadline or when the old holder ends). A child that inherits the descriptor holds it too. Readers that overlap can
//! keep a writer out for ever. On NFS it is a byte-range lock on the server and wants write access; locks taken on the server itself are not seen.
//!
//! Bytes: none; the file's content is never touched. With [`Record::Pid`], `pid\n` while held and an empty file after a release, so that content
//! found by the next holder means that the last one died. The file stays: removing it would need every speaker to check the name.
//!
//! On Windows: LockFileEx on the one byte at offset 0, which is mandatory for those who read or write it; the record is therefore a blank and then `pid\n`. Nobody can
//! remove or replace the file while it is open; no child inherits the lock.
//!
//! Also spoken by util-linux flock(1), setlock, chpst, locket, PEAK's FLockFile, cargo, uv, filelock. Unlike flock(1), a directory is refused.

use super::Clean;
use super::kernel::{Family, LockFile, Target};
use crate::claim::{Mode, Party};
use crate::error::Result;
use crate::place::Place;
use crate::sys::KernelFamily;
use crate::sys::file::{self, Access, Asleep, Descriptor, Meaning, RECORD_PREFIX, Tried};
use crate::text;
use std::io;

/// Whether a holder writes its number into the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// The content is left alone.
    #[default]
    None,
    /// `pid\n` while held, empty otherwise. A file with other content is refused.
    Pid,
}

/// A number and a line end; nothing longer is a record.
const LONGEST_RECORD: usize = 24;
/// The flock(2) lock at this place.
pub(crate) fn at(place: Place, record: Record) -> Result<LockFile<Flock>> {
    LockFile::new(place, Flock { record })
}

/// flock(2), and what is written into the file.
#[derive(Debug)]
pub(crate) struct Flock {
    record: Record,
}

impl Family for Flock {
    const NAME: &'static str = "flock";
    const CALL: &'static str = "flock(2)";
    const LISTED: KernelFamily = KernelFamily::Flock;

    fn access(&self, _: Mode) -> Access {
        match self.record {
            Record::None => Access::Lock,
            Record::Pid => Access::Write,
        }
    }

    /// Network file systems want write access for an exclusive lock.
    fn instead(&self, access: Access, error: &io::Error) -> Option<Access> {
        let wants_write = access == Access::Lock && file::meaning(error) == Meaning::WantsWrite;
        wants_write.then_some(Access::Write)
    }

    fn try_lock(file: &Descriptor, mode: Mode) -> io::Result<Tried> {
        file::try_flock(file, mode)
    }

    fn lock(file: &Descriptor, mode: Mode, asleep: &Asleep<'_>) -> io::Result<()> {
        file::flock(file, mode, asleep)
    }

    fn unlock(file: &Descriptor) -> io::Result<()> {
        file::unflock(file)
    }

    fn sign(target: &Target<Flock>, file: &Descriptor, party: Party) -> Result<Clean> {
        if target.family.record == Record::None {
            return Ok(Clean::Unknown);
        }
        let content = file::read_start(file, LONGEST_RECORD)
            .map_err(|e| target.failed("read the record", e))?;
        if !is_record(&content) {
            let what = format!(
                "a file with other content ({})",
                text::clean(&String::from_utf8_lossy(&content[..content.len().min(16)]))
            );
            return Err(target.foreign(&what));
        }
        file::write_record(file, format!("{RECORD_PREFIX}{}\n", party.pid()).as_bytes()).map_err(
            |e| {
                let _ = file::write_record(file, b"");
                target.failed("write the record", e)
            },
        )?;
        Ok(if content.is_empty() {
            Clean::Yes
        } else {
            Clean::No
        })
    }

    fn strike(&self, file: &Descriptor) -> io::Result<()> {
        file::write_record(file, b"")
    }
}

/// Empty, or a number and perhaps a line end.
fn is_record(content: &[u8]) -> bool {
    let number = match content {
        // Where a byte is kept free for the lock: what was written, or, by a shared holder, was not.
        [b' ' | 0, rest @ ..] if !RECORD_PREFIX.is_empty() => rest,
        _ => content,
    };
    let number = number.strip_suffix(b"\n").unwrap_or(number);
    content.is_empty()
        || (content.len() < LONGEST_RECORD
            && !number.is_empty()
            && number.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_or_nothing_is_a_record() {
        for record in ["", "1\n", "4194304\n", "12"] {
            assert!(is_record(record.as_bytes()), "{record:?}");
        }
        for other in [
            "\n",
            "1 2\n",
            "-1\n",
            "pid\n",
            "111111111111111111111111\n",
            "1\n\n",
        ] {
            assert!(!is_record(other.as_bytes()), "{other:?}");
        }
    }
}
