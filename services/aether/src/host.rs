//! Identities of what every action runs with: the toolchain, and the host's C tools.
//!
//! Both are digests of content. The host's stands for what links and build scripts read of it
//! without being seen: the C compiler, the linker, libc and its start files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use vx_core::Digest;

use crate::statcache::StatCache;

/// Programs looked for in the directories that actions have on `PATH`.
const PROGRAMS: &[&str] = &[
    "cc",
    "gcc",
    "c++",
    "g++",
    "clang",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "ar",
    "as",
    "ranlib",
    "pkg-config",
    "make",
    "cmake",
    "sh",
    "perl",
];

/// Directories of the host that actions have on `PATH`.
const PATH_DIRECTORIES: &[&str] = &["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Files looked for where a C compiler looks for libraries.
const C_FILES: &[&str] = &[
    "crt1.o",
    "Scrt1.o",
    "rcrt1.o",
    "crti.o",
    "crtn.o",
    "crtbegin.o",
    "crtbeginS.o",
    "crtbeginT.o",
    "crtend.o",
    "crtendS.o",
    "libgcc.a",
    "libgcc_eh.a",
    "libgcc_s.so",
    "libgcc_s.so.1",
    "libc.so",
    "libc.so.6",
    "libc.a",
    "libc_nonshared.a",
    "libm.so",
    "libm.so.6",
    "libpthread.so.0",
    "libpthread.a",
    "libdl.so.2",
    "libdl.a",
    "librt.a",
    "libutil.a",
    "libstdc++.so.6",
    "libstdc++.a",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];

/// Programs looked for where a C compiler looks for its own.
const C_PROGRAMS: &[&str] = &["cc1", "cc1plus", "collect2", "as", "ld", "lto1"];

/// The toolchain's identity: every file of its sysroot that compilers read.
///
/// # Errors
/// When the sysroot can't be read.
pub(crate) fn toolchain(cache: &StatCache, sysroot: &Path) -> io::Result<Digest> {
    let mut files = Vec::new();
    collect(sysroot, &sysroot.join("lib"), 0, &mut files)?;
    for program in ["bin/rustc", "bin/rustdoc"] {
        let path = sysroot.join(program);
        if path.is_file() {
            files.push((program.to_owned(), path));
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
            let sources = installer && matches!(name.as_str(), "src" | "etc");
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
            done.push((index, cache.digest(path)?.0));
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

/// The host's identity for what links or runs foreign code.
///
/// # Errors
/// When a tool is there and can't be read.
pub(crate) fn host(cache: &StatCache) -> io::Result<Digest> {
    let mut found: Vec<(String, Digest)> = Vec::new();
    let mut add = |name: String, path: &Path| -> io::Result<()> {
        if path.is_file() {
            found.push((name, cache.digest(path)?.0));
        }
        Ok(())
    };
    for program in PROGRAMS {
        for directory in PATH_DIRECTORIES {
            add(
                format!("{directory}/{program}"),
                &Path::new(directory).join(program),
            )?;
        }
    }
    if let Some(compiler) = find_on_path("cc") {
        let identity = cache.digest(&compiler)?.0;
        let (programs, libraries) = search_directories(&compiler, identity);
        for (directories, names) in [(programs, C_PROGRAMS), (libraries, C_FILES)] {
            for name in names {
                let path = directories
                    .iter()
                    .map(|directory| directory.join(name))
                    .find(|path| path.is_file());
                if let Some(path) = path {
                    add(path.to_string_lossy().into_owned(), &path)?;
                }
            }
        }
    }
    Ok(Digest::of_value("vx host 1", &found))
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    PATH_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
}

/// Directories of programs, and of libraries.
type SearchDirectories = (Vec<PathBuf>, Vec<PathBuf>);

/// Where the compiler looks for its programs and for libraries, in its order: one question
/// that gcc and clang both answer.
///
/// Asked again only when the compiler's content is another.
fn search_directories(compiler: &Path, identity: Digest) -> SearchDirectories {
    static KNOWN: Mutex<Option<(Digest, SearchDirectories)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, directories)) = &*known
        && *of == identity
    {
        return directories.clone();
    }
    let asked = ask_search_directories(compiler);
    *known = Some((identity, asked.clone()));
    asked
}

fn ask_search_directories(compiler: &Path) -> SearchDirectories {
    let output = Command::new(compiler)
        .arg("-print-search-dirs")
        .env_clear()
        .env("PATH", PATH_DIRECTORIES.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // A compiler that does not answer is still known by its own content.
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let list = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))
            .map(|list| std::env::split_paths(list).collect())
            .unwrap_or_default()
    };
    (list("programs:"), list("libraries:"))
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
    fn the_host_has_an_identity_and_keeps_it() {
        let cache = StatCache::default();
        assert_eq!(host(&cache).unwrap(), host(&cache).unwrap());
    }
}
