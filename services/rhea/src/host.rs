//! What of the host every action sees, read-only: tools, headers and libraries.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vx_core::places;

/// A part of the host that is visible under its own path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SystemEntry {
    /// A directory.
    Directory(String),
    /// A link, made again with the same target.
    Link {
        /// Its path.
        path: String,
        /// Where it leads.
        target: String,
    },
}

/// What there is of [`places::HOST`] on this host.
pub(crate) fn system() -> Vec<SystemEntry> {
    places::HOST
        .iter()
        .filter_map(|path| entry(Path::new(path)))
        .collect()
}

fn entry(path: &Path) -> Option<SystemEntry> {
    let text = path.to_str()?.to_owned();
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_dir() {
        return Some(SystemEntry::Directory(text));
    }
    let target = std::fs::read_link(path).ok()?;
    Some(SystemEntry::Link {
        path: text,
        target: target.to_str()?.to_owned(),
    })
}
