//! Where cargo keeps what rustc says of itself, when it plans for vx.
//!
//! Cargo believes what it kept for as long as the time of rustc's file is the same, and the flags.
//! Here a directory is named by all else that it depends on, so that what is kept in there never has
//! to change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use vx_core::Digest;
use vx_plan::PlanRequest;

use crate::host::toolchain;

/// How many directories are kept, of a few kilobytes each; the oldest go first.
const MOST: usize = 64;

/// The directory for a request that uses a toolchain; `None` where there can't be one.
pub(crate) fn directory(home: &Path, toolchain: &Digest, request: &PlanRequest) -> Option<String> {
    let heeded = request.env.iter().filter(|(name, _)| is_heeded(name));
    let heeded: Vec<(&String, &String)> = heeded.collect();
    let name = Digest::of_value(
        "vx rustc info 1",
        &(toolchain, heeded, toolchain::processor()),
    );
    let all = home.join("aether").join("rustc-info");
    let directory = all.join(name.short());
    if !directory.is_dir() {
        fs::create_dir_all(&directory).ok()?;
        forget_old(&all);
    }
    directory.to_str().map(str::to_owned)
}

/// Whether a variable may have a part in what rustc says, or in which one is started.
fn is_heeded(name: &str) -> bool {
    const PREFIXES: &[&str] = &["RUST", "CARGO", "LD_"];
    let prefixed = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    prefixed || matches!(name, "HOME" | "PATH")
}

/// Forgets what is in a directory, after a plan could not be made with it: cargo keeps failures too, and
/// they may have had other reasons.
pub(crate) fn forget(directory: Option<&str>) {
    if let Some(directory) = directory {
        // It is there again, or is not, when it is asked for.
        let _ = fs::remove_dir_all(directory);
    }
}

/// Removes the oldest directories past [`MOST`].
fn forget_old(all: &Path) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    let mut known: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    known.sort();
    let count = known.len().saturating_sub(MOST);
    for (_, path) in known.into_iter().take(count) {
        // One that can't be removed is there the next time.
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_at_most() {
        let home = tempfile::tempdir().unwrap();
        let toolchain = Digest::of(b"1");
        let mut request = PlanRequest::default();
        let mut last = None;
        for number in 0..=MOST + 1 {
            request
                .env
                .insert("RUSTFLAGS".to_owned(), number.to_string());
            last = directory(home.path(), &toolchain, &request);
        }
        let last = last.unwrap();
        request.env.insert("SHLVL".to_owned(), "2".to_owned());
        assert_eq!(
            directory(home.path(), &toolchain, &request),
            Some(last.clone())
        );
        assert_ne!(
            directory(home.path(), &Digest::of(b"2"), &request),
            Some(last.clone())
        );
        fs::write(Path::new(&last).join(".rustc_info.json"), "{}").unwrap();
        forget(Some(&last));
        assert_eq!(
            directory(home.path(), &toolchain, &request),
            Some(last.clone())
        );
        assert!(fs::read_dir(&last).unwrap().next().is_none());
        let kept = fs::read_dir(home.path().join("aether/rustc-info")).unwrap();
        assert!(kept.count() <= MOST);
    }
}
