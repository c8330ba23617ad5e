//! Removes directories that an action filled, however it did: any depth, any mode, any number.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Removes a directory with everything below it; one that is not there is removed already.
///
/// What lies deeper is moved up before it is emptied, so neither depth nor length of paths needs
/// stack, descriptors or names of its own.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut moved: u64 = 0;
    loop {
        let directories = empty(top.as_fd())?;
        if directories.is_empty() {
            break;
        }
        for name in directories {
            let directory = open(top.as_fd(), name.as_c_str())?;
            for inner in empty(directory.as_fd())? {
                lift(directory.as_fd(), &inner, top.as_fd(), &mut moved)?;
            }
            rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(rustix::fs::rmdir(path)?)
}

/// Opens a directory, whatever its mode, and makes it one that can be changed.
fn open(at: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(at, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    rustix::fs::fchmod(&directory, Mode::RWXU)?;
    Ok(directory)
}

/// Removes everything in a directory but its directories, which it names.
fn empty(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut directories = Vec::new();
    let mut others = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let found = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(found.st_mode)
            }
            kind => kind,
        };
        match kind {
            FileType::Directory => directories.push(name),
            _ => others.push(name),
        }
    }
    for name in others {
        rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
    }
    Ok(directories)
}

/// Removes an empty directory, and moves any other one up.
fn lift(
    from: BorrowedFd<'_>,
    name: &CString,
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> Result<(), Errno> {
    if rustix::fs::unlinkat(from, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    // A directory that is moved is written to: its parent is another.
    rustix::fs::chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
    loop {
        let to = format!("{moved}");
        *moved += 1;
        match rustix::fs::renameat(from, name, top, &to) {
            // Something has that name.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn whatever_is_there_goes_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "1").unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("a/b/c/d")).unwrap();
        fs::create_dir_all(root.join("0/1/0/1")).unwrap();
        fs::write(root.join("1"), "in the way").unwrap();
        fs::write(root.join("a/b/file"), "1").unwrap();
        symlink(&kept, root.join("a/link")).unwrap();
        fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
        assert!(kept.join("file").exists());
        remove(&root).unwrap();
    }

    #[test]
    fn depth_needs_no_stack() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut at = open(CWD, &root).unwrap();
        for _ in 0..3_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(at.as_fd(), "d").unwrap();
        }
        remove(&root).unwrap();
        assert!(!root.exists());
    }
}
