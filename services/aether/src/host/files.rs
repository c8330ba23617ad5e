//! Writing files whole or not at all.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers temporary files within this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes `bytes` to a temporary file beside `path` and renames it, so that a reader finds the
/// old content or the new.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let written =
        std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of a failed write is of no use; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// A name beside `path` that nothing else uses.
pub(crate) fn temporary_beside(path: &Path) -> io::Result<std::path::PathBuf> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no parent directory"))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(directory.join(format!(".vx-{}-{number}.tmp", std::process::id())))
}
