//! What a crash left of claims on their way in or out (`hidden.rs` has their names): swept by the next one who comes that way.

use super::form::Spot;
use crate::hidden;
use crate::sys::file::{Kind, Tried, try_mark};
use crate::sys::{Presence, process};
use std::ffi::OsStr;

/// Remove those that nobody lives to go on with.
pub(super) fn sweep(spot: &Spot) {
    let Ok(names) = spot.folder.names_from(&hidden::prefix(&spot.name)) else {
        return;
    };
    for name in names {
        let Some(pid) = hidden::maker(&spot.name, &name) else {
            continue;
        };
        let gone = matches!(
            process::presence(pid),
            Presence::Absent | Presence::Ended | Presence::MereThread
        );
        if gone {
            remove(spot, &name);
        }
    }
}

fn remove(spot: &Spot, name: &OsStr) {
    let folder = &spot.folder;
    match folder.look(name) {
        Ok(Some(look)) if matches!(look.kind, Kind::Directory | Kind::Symlink) => {
            let Ok(Some(inside)) = folder.folder(name) else {
                return;
            };
            let inner = inside.names(2).unwrap_or_default();
            drop(inside);
            if let [] | [_] = inner.as_slice() {
                let inner = inner.first().map_or(OsStr::new(""), |inner| inner);
                let _ = folder.remove_litter(name, inner);
            }
        }
        Ok(Some(_)) => {
            if let Ok(Some(file)) = folder.file(name) {
                if matches!(try_mark(&file), Ok(Tried::Locked)) {
                    let _ = folder.remove(name);
                }
            }
        }
        _ => {}
    }
}
