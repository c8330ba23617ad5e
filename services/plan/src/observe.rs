//! The present state of what a plan depends on, as digests to be compared.

use std::path::{Path, PathBuf};

use crate::globs::names_of;
use crate::locate::Workspace;
use crate::model::{InputKind, PlanInput};

/// A digest of an input as it is now: equal digests of all inputs, and of
/// [`crate::memo_static`], mean that cargo would say the same again. A file that can't be read
/// counts as absent, which is never what a plan with its content was made from.
///
/// What is observed after planning can be newer than what cargo read. Who keeps a plan has to
/// make sure that no input changed since the planning began.
pub fn observe(workspace: &Workspace, input: &PlanInput) -> [u8; 32] {
    let paths = workspace.host_paths(&input.path);
    let mut hasher = blake3::Hasher::new();
    match input.kind {
        InputKind::Chain => paths.iter().for_each(|path| add_content(&mut hasher, path)),
        InputKind::Content => paths
            .iter()
            .take(1)
            .for_each(|path| add_content(&mut hasher, path)),
        InputKind::Present | InputKind::Absent => {
            let exists = paths.first().is_some_and(|path| path.exists());
            hasher.update(if exists { b"present" } else { b"absent" });
        }
        InputKind::Listing => add_listing(&mut hasher, paths.first()),
    }
    *hasher.finalize().as_bytes()
}

/// Only what is there counts, so that a chain is the same at another depth.
fn add_content(hasher: &mut blake3::Hasher, path: &Path) {
    if let Ok(content) = std::fs::read(path) {
        hasher.update(&(content.len() as u64).to_le_bytes());
        hasher.update(&content);
    }
}

fn add_listing(hasher: &mut blake3::Hasher, dir: Option<&PathBuf>) {
    let Some(dir) = dir.filter(|dir| dir.is_dir()) else {
        return;
    };
    hasher.update(b"directory");
    for name in names_of(dir) {
        hasher.update(if dir.join(&name).is_dir() { b"d" } else { b"f" });
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
}
