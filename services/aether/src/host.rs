//! The identity of what every action runs with: the toolchain, by its content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vx_core::{Digest, RelPath};

use crate::statcache::StatCache;

/// Directories of a sysroot that are part of the identity: whatever is run or loaded.
const PARTS: &[&str] = &["bin", "lib", "libexec"];

/// Directories of `lib/rustlib` that no compiler reads.
const SOURCES: &[&str] = &["src", "etc"];

/// The toolchain's identity: every file of its sysroot that compilers read.
///
/// # Errors
/// When the sysroot can't be read.
pub(crate) fn toolchain(cache: &StatCache, sysroot: &Path) -> io::Result<Digest> {
    let mut files = Vec::new();
    for part in PARTS {
        let directory = sysroot.join(part);
        if directory.is_dir() {
            collect(sysroot, &directory, 0, &mut files)?;
        }
    }
    files.sort();
    let digests = in_parallel(cache, &files)?;
    Ok(Digest::of_value("vx toolchain 1", &digests))
}

/// Files below `directory`, named relative to `sysroot`; what the installer keeps for itself
/// is left out.
fn collect(
    sysroot: &Path,
    directory: &Path,
    depth: usize,
    files: &mut Vec<(String, PathBuf)>,
) -> io::Result<()> {
    const DEEPEST: usize = 6;
    let installer = directory.ends_with("rustlib");
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // A dangling link can't be read by a compiler either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            let sources = installer && SOURCES.contains(&name.as_str());
            if depth < DEEPEST && !sources {
                collect(sysroot, &path, depth + 1, files)?;
            }
        } else if metadata.is_file() && !installer {
            let relative = path.strip_prefix(sysroot).unwrap_or(&path);
            files.push((relative.to_string_lossy().into_owned(), path.clone()));
        }
    }
    Ok(())
}

/// Digests many files on as many threads as there are processors.
fn in_parallel(
    cache: &StatCache,
    files: &[(String, PathBuf)],
) -> io::Result<Vec<(String, Digest)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Digest)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((_, path)) = files.get(index) else {
                return Ok(done);
            };
            done.push((index, cache.digest(path)?.digest));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(files.len());
        for handle in handles {
            all.extend(
                handle
                    .join()
                    .map_err(|_| io::Error::other("a digesting thread died"))??,
            );
        }
        Ok::<_, io::Error>(all)
    })?;
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all
        .into_iter()
        .map(|(index, digest)| (files[index].0.clone(), digest))
        .collect())
}

/// Whether a file of the sysroot, or a directory of them, is part of [`toolchain`]'s digest.
pub(crate) fn is_in_identity(path: &RelPath) -> bool {
    let mut parts = path.as_str().split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("lib"), Some("rustlib"), Some(name)) => !SOURCES.contains(&name),
        (Some(part), ..) => PARTS.contains(&part),
        (None, ..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_library_is_another_toolchain() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("lib/rustlib/t/lib");
        fs::create_dir_all(&library).unwrap();
        fs::write(library.join("libstd.rlib"), "1").unwrap();
        let cache = StatCache::default();
        let one = toolchain(&cache, directory.path()).unwrap();
        assert_eq!(toolchain(&cache, directory.path()).unwrap(), one);
        fs::write(library.join("libstd.rlib"), "2").unwrap();
        assert_ne!(toolchain(&cache, directory.path()).unwrap(), one);
    }

    #[test]
    fn what_the_identity_covers_is_known() {
        let covers = |path: &str| is_in_identity(&RelPath::new(path).unwrap());
        assert!(covers("lib/librustc_driver.so"));
        assert!(covers("lib/rustlib/x/lib/libstd.rlib"));
        assert!(!covers("lib/rustlib/src/rust/x.rs"));
        assert!(covers("bin/rustc"));
        assert!(covers("bin"));
        assert!(!covers(""));
        assert!(!covers("share/doc"));
    }
}
