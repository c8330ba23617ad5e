//! The identity of what every action runs with: the toolchain, by its content. And the machine's
//! processor, for what is made for it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use vx_core::{Digest, RelPath};

use crate::host::observe::is_executable;
use crate::host::stat_cache::StatCache;

/// What of `/proc/cpuinfo` says what a processor is and can do; the rest changes all the time.
const OF_PROCESSOR: &[&str] = &[
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "Features",
    "isa",
    "uarch",
];

/// A file's name in the sysroot, where it is, and whether it can be run.
type Found = (String, PathBuf, bool);

/// Directories of a sysroot that are part of the identity: whatever is run or loaded.
const PARTS: &[&str] = &["bin", "lib", "libexec"];

/// Directories of `lib/rustlib` that are no part of it: sources, and what debuggers read.
const SOURCES: &[&str] = &["src", "etc"];

/// The source by which a compiler finds out whether the component `rust-src` is there: then it
/// shows the standard library's sources in diagnostics, and names them in debug information.
const SOURCE_MARK: &str = "lib/rustlib/src/rust/library/std/src/lib.rs";

/// The toolchain's identity: every file of its sysroot that compilers read, and which of them can
/// be run.
///
/// # Errors
/// When the sysroot can't be read.
pub(crate) fn toolchain(cache: &StatCache, sysroot: &Path) -> io::Result<Digest> {
    let mut files = Vec::new();
    for part in PARTS {
        let directory = sysroot.join(part);
        if directory.is_dir() {
            collect(sysroot, &directory, &mut files)?;
        }
    }
    files.sort();
    let digests = in_parallel(cache, &files)?;
    let runnable: Vec<bool> = files.iter().map(|(_, _, runnable)| *runnable).collect();
    let has_sources = sysroot.join(SOURCE_MARK).is_file();
    Ok(Digest::of_value(
        "vx toolchain 2",
        &(digests, runnable, has_sources),
    ))
}

/// What names the processors of this machine, by what their kinds are and can do.
pub(crate) fn processor() -> Digest {
    static PROCESSOR: OnceLock<Digest> = OnceLock::new();
    *PROCESSOR.get_or_init(|| {
        let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Digest::of_value("vx processor 1", &kinds(&told))
    })
}

/// The lines of `/proc/cpuinfo` that count, each once: a machine may have processors of two kinds.
fn kinds(told: &str) -> BTreeSet<&str> {
    let counts = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim();
        OF_PROCESSOR.contains(&name)
    };
    told.lines().filter(counts).collect()
}

/// Files below `directory` that [`is_in_identity`] says are in, named relative to `sysroot`.
fn collect(sysroot: &Path, directory: &Path, files: &mut Vec<Found>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let relative = path.strip_prefix(sysroot).unwrap_or(&path);
        // What has no such name is never dropped from what an action reads.
        let Some(relative) = relative.to_str().and_then(|name| RelPath::new(name).ok()) else {
            continue;
        };
        if !is_in_identity(&relative) {
            continue;
        }
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // A dangling link can't be read by a compiler either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            collect(sysroot, &path, files)?;
        } else if metadata.is_file() {
            let runnable = is_executable(&metadata);
            files.push((relative.as_str().to_owned(), path, runnable));
        }
    }
    Ok(())
}

/// Digests many files on as many threads as there are processors.
fn in_parallel(cache: &StatCache, files: &[Found]) -> io::Result<Vec<(String, Digest)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Digest)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((_, path, _)) = files.get(index) else {
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

/// Whether a file of the sysroot, or a directory of them, is part of [`toolchain`]'s digest. What
/// lies too deep is not, so that links that lead in circles end.
pub(crate) fn is_in_identity(path: &RelPath) -> bool {
    const DEEPEST: usize = 8;
    let parts: Vec<&str> = path.as_str().split('/').collect();
    match parts.as_slice() {
        parts if parts.len() > DEEPEST => false,
        ["lib", "rustlib", name, ..] => !SOURCES.contains(name),
        [part, ..] => PARTS.contains(part),
        [] => false,
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
    fn what_is_in_the_identity_changes_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let deep = "lib/rustlib/t/1/2/3/4";
        let cache = StatCache::default();
        fs::create_dir_all(root.join(deep)).unwrap();
        let mut before = toolchain(&cache, root).unwrap();
        let mut changes = |path: &str, how: &dyn Fn(&Path)| {
            let path = RelPath::new(path).unwrap();
            how(&path.under(root));
            let now = toolchain(&cache, root).unwrap();
            let changed = std::mem::replace(&mut before, now) != before;
            assert_eq!(changed, is_in_identity(&path), "{}", path.as_str());
        };
        let write = |path: &Path| fs::write(path, "1").unwrap();
        let run = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        changes("lib/rustlib/components", &write);
        changes("lib/rustlib/components", &run);
        changes(&format!("{deep}/deepest"), &write);
        fs::create_dir(root.join(deep).join("5")).unwrap();
        changes(&format!("{deep}/5/deeper"), &write);
        let source = root.join(SOURCE_MARK);
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        assert_eq!(toolchain(&cache, root).unwrap(), before);
        fs::write(source, "").unwrap();
        assert_ne!(toolchain(&cache, root).unwrap(), before);
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

    #[test]
    fn a_processor_is_what_it_can_do() {
        let told = |model: &str, mhz: &str| {
            format!("processor\t: 0\nmodel name\t: {model}\nflags\t: sse avx\ncpu MHz\t: {mhz}\n\n")
        };
        let [one, two] = [told("A", "1000.1"), told("A", "2000.2")];
        assert_eq!(kinds(&format!("{one}{two}")), kinds(&one));
        assert_ne!(kinds(&told("B", "1000.1")), kinds(&one));
    }
}
