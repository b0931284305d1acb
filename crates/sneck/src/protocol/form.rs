//! What the claims of one protocol look like, where they are entries in a folder: [`Form`], and what it deals in.
//!
//! Not for: what is done with them (`entry.rs`), or what they mean (`stale.rs`).

use super::stranger;
use super::{LiveMark, Mark};
use crate::claim::Claim;
use crate::holder::Holder;
use crate::sys::file::{Kind, Look};
use crate::sys::folder::Directory;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::io;
use std::time::Duration;

pub(super) use crate::sys::file::{Descriptor, Inode};
pub(super) use crate::sys::fork::Unshared;

/// How often a claim that changes under our eyes is read again before a pause.
pub(crate) const CHANGING: usize = 64;

/// How the claims of one protocol look.
pub(super) trait Form: Debug + Clone + Send + Sync + 'static {
    /// What kind of entry a claim is.
    const KIND: Kind;

    /// Whether a claim can be locked itself.
    const MARK: LiveMark = LiveMark::Yes;

    /// What can be got ready before anybody sees it, and used again in the next try.
    type Draft: Debug + Default + Send;

    /// The protocol's name.
    fn scheme(&self) -> &'static str;

    /// What a file system lacks that cannot do it, and what to use instead.
    fn needs(&self) -> (&'static str, &'static str);

    /// Put our claim at the name, whole, unless something stands there. None: something does.
    fn publish(
        &self,
        spot: &Spot,
        claim: &Claim,
        draft: &mut Self::Draft,
    ) -> io::Result<Option<Made>>;

    /// What stands at the name, which is of that kind and was looked at just now: facts of one and the same entry. None: it has changed since.
    fn see(&self, spot: &Spot, look: &Look) -> io::Result<Option<Seen>>;

    /// What stands at the name is of another kind, but may be what is left of a claim. None: it is not.
    fn see_remains(&self, spot: &Spot, look: &Look) -> io::Result<Option<Seen>> {
        let _ = (spot, look);
        Ok(None)
    }

    /// Whether the claim that we made still stands, untouched.
    fn stands(&self, spot: &Spot, made: &Made) -> io::Result<bool>;

    /// The inode of a claim that was seen, open to be locked. None: gone, or of a kind that has none.
    fn open_claim(&self, spot: &Spot) -> io::Result<Option<Descriptor>>;

    /// Remove what stands at the name. The folder is locked and the claim was looked at.
    fn take_down(&self, spot: &Spot, content: &[u8]) -> io::Result<()>;

    /// How often a claim must be touched so that other programs do not take it for abandoned.
    fn renewal(&self) -> Option<Duration> {
        None
    }

    /// Touch it.
    fn renew(&self, made: &Made) {
        let _ = made;
    }
}

/// A name in a folder.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) folder: Directory,
    pub(crate) name: OsString,
}

impl Spot {
    /// In this folder, at no name yet.
    pub(crate) fn new(folder: Directory) -> Spot {
        Spot {
            folder,
            name: OsString::new(),
        }
    }
}

/// What stands at the name.
pub(super) fn see<F: Form>(form: &F, spot: &Spot) -> io::Result<Seen> {
    for _ in 0..CHANGING {
        let Some(look) = spot.folder.look(&spot.name)? else {
            return Ok(Seen::Nothing);
        };
        if look.kind != F::KIND {
            return match form.see_remains(spot, &look)? {
                Some(seen) => Ok(seen),
                None => stranger::see(spot, &look),
            };
        }
        if let Some(seen) = form.see(spot, &look)? {
            return Ok(seen);
        }
    }
    Err(too_fast())
}

/// A claim that we made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) inode: Inode,
    pub(super) content: Vec<u8>,
    /// The live mark: the claim's own inode, open and locked. While it is open, the inode's number cannot come back.
    pub(super) mark: Option<Unshared<Descriptor>>,
}

/// What stands at the name.
#[derive(Debug)]
pub(super) enum Seen {
    Nothing,
    Claim(Found),
    /// A claim of this protocol that makes no sense (yet).
    Damaged(String, Found),
    /// A claim of another protocol.
    Other(Holder),
    Foreign(String),
}

/// A claim that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) look: Look,
    pub(super) content: Vec<u8>,
    pub(super) holder: Holder,
}

impl Found {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            inode: (self.look.inode.device, self.look.inode.number),
            changed: self.look.changed,
            content: self.content.clone(),
        }
    }
}

/// Whether nothing else happened to the entry since it was looked at.
pub(crate) fn unchanged(spot: &Spot, look: &Look) -> io::Result<bool> {
    Ok(spot.folder.look(&spot.name)?.as_ref() == Some(look))
}

/// It changed each time that it was read.
pub(super) fn too_fast() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "the claim changes faster than it can be read",
    )
}

/// A name as the bytes that a mark keeps.
pub(super) fn bytes(name: &OsStr) -> Vec<u8> {
    crate::sys::text::bytes(name).to_vec()
}
