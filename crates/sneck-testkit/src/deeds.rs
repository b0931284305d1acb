//! Who made, removed and lost which claim: written by all parties to one file, with the inode and the number that stood there.
//!
//! The journal of stays ([`crate::Journal`]) says whether two were inside at once; this says how it came. Not for locks without claims.

use crate::sys;
use sneck::{Event, protocol::Removal};
use std::fs;
use std::path::Path;

/// The file.
#[derive(Debug)]
pub struct Deeds {
    lines: sys::Lines,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// `planted`, `made`, `removed`, `lost`, or how else a removal ended.
    pub what: String,
    /// Which process did it, or met with it.
    pub by: u32,
    /// When, on the journal's clock. Of a removal: once it was done.
    pub at: u64,
    /// The claim's inode; 0 where it is not known.
    pub inode: u64,
    /// The number that stood in the claim; 0 where it is not known.
    pub pid: u32,
    /// On what grounds.
    pub why: String,
}

impl Deeds {
    /// Open it, or begin it.
    ///
    /// # Panics
    /// If the file system does not let us.
    pub fn open(path: &Path) -> Deeds {
        Deeds {
            lines: sys::Lines::open(path),
        }
    }

    /// Write one down, of this process and now.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn note(&self, what: &str, inode: u64, pid: u32, why: &str) {
        let (by, at) = (std::process::id(), sys::now());
        let line = format!("{what}\t{by}\t{at}\t{inode}\t{pid}\t{why}\n");
        self.lines.add(&line);
    }

    /// Write down what an acquisition removed, or tried to.
    pub fn notice(&self, event: &Event<'_>) {
        if let Event::Breaking {
            holder,
            mark,
            verdict,
            removal,
            ..
        } = event
        {
            let what = match removal {
                Removal::Removed => "removed".to_owned(),
                other => other.to_string(),
            };
            let content = String::from_utf8_lossy(&mark.content).into_owned();
            let pid = holder.pid.unwrap_or(0);
            let why = format!("{verdict} {content:?}");
            self.note(&what, mark.inode.1, pid, &why);
        }
    }
}

/// All deeds of a file, in their order; none if there is no file.
///
/// # Panics
/// If a line is damaged.
pub fn read(path: &Path) -> Vec<Deed> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let deed = |line: &str| {
        let words: Vec<&str> = line.splitn(6, '\t').collect();
        let [what, by, at, inode, pid, why] = words[..] else {
            panic!("a damaged line: {line:?}");
        };
        Deed {
            what: what.to_owned(),
            by: by.parse().expect("a number"),
            at: at.parse().expect("a number"),
            inode: inode.parse().expect("a number"),
            pid: pid.parse().expect("a number"),
            why: why.to_owned(),
        }
    };
    text.lines().map(deed).collect()
}

/// The inode that stands at this path; 0: none.
pub fn inode(path: &Path) -> u64 {
    sys::file_number(path).unwrap_or(0)
}
