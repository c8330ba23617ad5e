//! Sysroots that tests use one after the other.
//!
//! One is a real sysroot, of hard links, but for `bin/rustc`, a script that counts. Each link moves
//! the change time of the file, for all that have it, and who knows files by that has to read the
//! whole toolchain again. So a sysroot is not made for each test: those that were made are lent, to
//! one test at a time, and made anew where one was changed. The script is the same in each, so they
//! are one toolchain to vx.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::locate;

/// The counting script. A compile is what cargo's kind of command line asks for: a crate name
/// and `-C metadata`; everything else (`-vV`, `--print`, a build script's own experiments) is a
/// question and is not counted.
const SHIM: &str = r#"#!/bin/sh
bin=${0%/*}
name= metadata= take=
for argument; do
    case $take in
    name) name=$argument ;;
    codegen) case $argument in metadata=*) metadata=${argument#*=} ;; esac ;;
    esac
    take=
    case $argument in
    --crate-name) take=name ;;
    -C) take=codegen ;;
    -Cmetadata=*) metadata=${argument#*=} ;;
    --print | --print=*) name=___ ;;
    esac
done
if [ -n "$metadata" ] && [ "$name" != ___ ]; then
    # Read and write at once: opening a FIFO that way never blocks.
    printf '%s %s\n' "$name" "$metadata" 1<>"$bin/../vx-counter.fifo" 2>/dev/null
    hold=$bin/../hold/$name
    # One look: whoever lets go removes it, and two looks could see two things.
    { read -r _ <"$hold"; } 2>/dev/null
fi
exec "$bin/rustc-real" "$@"
"#;

/// The FIFO's name in the sysroot.
pub(crate) const FIFO: &str = "vx-counter.fifo";

/// The directory of the FIFOs that compilers wait at.
pub(crate) const HOLD: &str = "hold";

/// A sysroot that is nobody else's until it is dropped.
pub(crate) struct Sysroot {
    path: PathBuf,
    before: Vec<Entry>,
    /// Whether it is whole: what it was made of.
    made: PathBuf,
    /// Held as long as it is in use, also by a process that is killed.
    _lock: File,
}

/// What a file or directory is known by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    path: PathBuf,
    inode: u64,
    mode: u32,
    modified: (i64, i64),
}

impl Sysroot {
    /// One that is free, made if there is none.
    pub(crate) fn take() -> Self {
        let real = locate::real_sysroot();
        let pool = locate::shared_dir().join("sysroots");
        fs::create_dir_all(&pool).expect("the target directory can be written");
        let free = (0..).find_map(|number: u32| {
            let lock = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(pool.join(format!("{number}.lock")))
                .expect("the target directory can be written");
            lock.try_lock().is_ok().then_some((number, lock))
        });
        let (number, lock) = free.expect("numbers do not end");
        let path = pool.join(number.to_string());
        let made = pool.join(format!("{number}.made"));
        let of = made_of(real);
        if fs::read_to_string(&made).is_ok_and(|text| text == of) && path.is_dir() {
            clear(&path);
        } else {
            let _ = fs::remove_file(&made);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
                .and_then(|()| fill(real, &path))
                .and_then(|()| fs::write(&made, of))
                .expect("the toolchain can be linked or copied");
        }
        Self {
            before: entries(&path),
            path,
            made,
            _lock: lock,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Sysroot {
    fn drop(&mut self) {
        clear(&self.path);
        if entries(&self.path) != self.before {
            let _ = fs::remove_file(&self.made);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Takes out what belongs to one use.
fn clear(path: &Path) {
    let _ = fs::remove_file(path.join(FIFO));
    let _ = fs::remove_dir_all(path.join(HOLD));
}

/// What a sysroot is made of, so that another toolchain's is no other's.
fn made_of(real: &Path) -> String {
    let rustc = fs::metadata(real.join("bin/rustc")).expect("the toolchain has a compiler");
    let (device, inode) = (rustc.dev(), rustc.ino());
    let time = (rustc.mtime(), rustc.mtime_nsec());
    format!("{} {device} {inode} {time:?}\n{SHIM}", real.display())
}

/// Everything in there, less what belongs to one use.
fn entries(path: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                pending.push(entry.path());
            }
            found.push(Entry {
                path: entry.path(),
                inode: metadata.ino(),
                mode: metadata.mode(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            });
        }
    }
    found.sort();
    found
}

/// Makes a sysroot of links to another's files, with the counting script as its compiler.
fn fill(real: &Path, own: &Path) -> io::Result<()> {
    let bin = own.join("bin");
    fs::create_dir(&bin)?;
    for program in ["cargo", "rustdoc"] {
        link_or_copy(&real.join("bin").join(program), &bin.join(program))?;
    }
    link_or_copy(&real.join("bin/rustc"), &bin.join("rustc-real"))?;
    let shim = bin.join("rustc");
    fs::write(&shim, SHIM)?;
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755))?;
    // One time for all: vx may tell toolchains apart by their files' times.
    let time = fs::metadata(real.join("bin/rustc"))?.modified()?;
    File::options()
        .write(true)
        .open(&shim)?
        .set_modified(time)?;
    link_tree(&real.join("lib"), &own.join("lib"))
}

/// Links everything below `from`, but sources and documentation, which no compile reads.
fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "src" {
                link_tree(&entry.path(), &target)?;
            }
        } else {
            link_or_copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// A hard link; where that can't be (another file system), a link to a copy that is made once.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let from = fs::canonicalize(from)?;
    if fs::hard_link(&from, to).is_ok() {
        return Ok(());
    }
    let name = from.to_string_lossy().replace('/', "%");
    let copies = locate::shared_dir().join("toolchain-copies");
    fs::create_dir_all(&copies)?;
    let copy: PathBuf = copies.join(name);
    if !copy.exists() {
        // Tests of several processes may do this at once: the file appears whole.
        let staged = tempfile::NamedTempFile::new_in(&copies)?;
        fs::copy(&from, staged.path())?;
        let time = fs::metadata(&from)?.modified()?;
        staged.as_file().set_modified(time)?;
        staged.persist(&copy).map_err(|error| error.error)?;
    }
    fs::hard_link(&copy, to)
}
