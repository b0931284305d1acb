//! Whether a file is a program. Not for: running it.

use rustix::fs::{Access, access};
use std::path::Path;

/// Whether it is a file that may be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
