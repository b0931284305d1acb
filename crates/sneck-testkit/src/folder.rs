//! A folder of a test's own, that other users can enter, and that is gone afterwards.

use crate::sys;
use std::path::{Path, PathBuf};

/// Gone when dropped, if it is ours.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    own: Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Yes,
    No,
}

impl Folder {
    /// A fresh one, where temporary files go.
    ///
    /// # Panics
    /// If it cannot be made.
    #[expect(
        clippy::new_without_default,
        reason = "each one is another folder on disk"
    )]
    pub fn new() -> Folder {
        let folder = tempfile::Builder::new()
            .prefix("sneck-")
            .tempdir()
            .expect("a temporary folder can be made");
        // Tests become other users.
        sys::let_others_in(folder.path());
        Folder {
            path: folder.keep(),
            own: Own::Yes,
        }
    }

    /// One that somebody else made, and removes.
    pub fn of(path: impl Into<PathBuf>) -> Folder {
        Folder {
            path: path.into(),
            own: Own::No,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.own == Own::Yes {
            sys::remove_all(&self.path);
        }
    }
}
