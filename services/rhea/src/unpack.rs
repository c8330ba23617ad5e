//! Unpacks a package's archive into a directory, whoever made the archive.
//!
//! Files and directories come first and links last, so that nothing is ever written through a
//! link. Names that leave the directory, links that do, and anything but files, directories
//! and links is refused.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use vx_core::tree::{TreeEntry, TreeNode};
use vx_core::{PackageFormat, RelPath, Tree};

/// Every entry's time: what cargo gives the files of packages.
const TIME: i64 = 1_153_704_088;

/// The most entries a package may have.
const MAX_ENTRIES: usize = 1_000_000;

/// The most bytes a package may unpack to: against archives made to fill the disk.
const MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// Why an archive is not a package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// An entry that is refused.
    #[error("the entry {path:?} {why}")]
    Refused { path: PathBuf, why: &'static str },
    /// Too much of it.
    #[error("it unpacks to more than {MAX_ENTRIES} entries or {MAX_BYTES} bytes")]
    TooLarge,
    /// Not an archive, or the disk refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Unpacks `archive` into `to`, which is empty, and gives the size of what was written.
pub(crate) fn unpack(archive: File, format: PackageFormat, to: &Path) -> Result<u64, UnpackError> {
    let archive = BufReader::new(archive);
    match format {
        PackageFormat::Crate => Unpacking::new(to, true).run(flate2::read::GzDecoder::new(archive)),
        PackageFormat::Tar => Unpacking::new(to, false).run(archive),
    }
}

struct Unpacking<'a> {
    to: &'a Path,
    drops_top: bool,
    links: BTreeMap<RelPath, String>,
    directories: Vec<PathBuf>,
    entries: usize,
    bytes: u64,
}

impl<'a> Unpacking<'a> {
    fn new(to: &'a Path, drops_top: bool) -> Self {
        Self {
            to,
            drops_top,
            links: BTreeMap::new(),
            directories: vec![to.to_owned()],
            entries: 0,
            bytes: 0,
        }
    }

    fn run(mut self, archive: impl Read) -> Result<u64, UnpackError> {
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries()? {
            self.entry(entry?)?;
        }
        self.make_links()?;
        // Directories last and deepest first: what is made in one changes its time.
        self.directories.sort();
        self.directories.dedup();
        for directory in self.directories.iter().rev() {
            set_time(directory)?;
        }
        Ok(self.bytes)
    }

    fn entry(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), UnpackError> {
        use tar::EntryType;

        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        let written = entry.path()?.into_owned();
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(UnpackError::TooLarge);
        }
        let refuse = |why| {
            Err(UnpackError::Refused {
                path: written.clone(),
                why,
            })
        };
        let Some(path) = self.place_of(&written)? else {
            return Ok(());
        };
        match kind {
            EntryType::Directory => self.make_directories(&path),
            EntryType::Regular | EntryType::Continuous => self.file(&path, &mut entry),
            EntryType::Symlink => {
                let target = entry.link_name()?.map(|target| target.into_owned());
                match target.as_deref().and_then(Path::to_str) {
                    Some(target) => {
                        self.links.insert(path, target.to_owned());
                        Ok(())
                    }
                    None => refuse("is a link whose target is not plain UTF-8"),
                }
            }
            EntryType::Link => refuse("is a hard link, which packages don't have"),
            _ => refuse("is neither a file, a directory nor a link"),
        }
    }

    /// Where an entry goes; `None` for the top directory itself.
    fn place_of(&self, written: &Path) -> Result<Option<RelPath>, UnpackError> {
        let refuse = |why| UnpackError::Refused {
            path: written.to_owned(),
            why,
        };
        let mut parts = Vec::new();
        for component in written.components() {
            match component {
                Component::Normal(part) => parts.push(
                    part.to_str()
                        .ok_or_else(|| refuse("has a name that is not plain UTF-8"))?,
                ),
                Component::CurDir => {}
                _ => return Err(refuse("leads out of its package")),
            }
        }
        if self.drops_top && !parts.is_empty() {
            parts.remove(0);
        }
        if parts.is_empty() {
            return Ok(None);
        }
        RelPath::new(parts.join("/"))
            .map(Some)
            .map_err(|_| refuse("has no plain name"))
    }

    fn make_directories(&mut self, path: &RelPath) -> Result<(), UnpackError> {
        let mut at = self.to.to_owned();
        for part in path.as_str().split('/').filter(|part| !part.is_empty()) {
            at.push(part);
            match fs::create_dir(&at) {
                Ok(()) => self.directories.push(at.clone()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && at.is_dir() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &RelPath,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<(), UnpackError> {
        if let Some(parent) = path.parent() {
            self.make_directories(&parent)?;
        }
        let size = entry.size();
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_BYTES {
            return Err(UnpackError::TooLarge);
        }
        let executable = entry.header().mode()? & 0o111 != 0;
        let target = path.under(self.to);
        let mut file = File::create(&target)?;
        if io::copy(entry, &mut file)? != size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        drop(file);
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(&target, Permissions::from_mode(mode))?;
        set_time(&target)?;
        Ok(())
    }

    fn make_links(&mut self) -> Result<(), UnpackError> {
        let entries = self
            .links
            .iter()
            .map(|(path, target)| TreeEntry {
                path: path.clone(),
                node: TreeNode::Link {
                    target: target.clone(),
                },
            })
            .collect();
        // A tree's rules on links are a package's too.
        Tree::new(entries).map_err(|error| io::Error::other(error.to_string()))?;
        for (path, target) in std::mem::take(&mut self.links) {
            if let Some(parent) = path.parent() {
                self.make_directories(&parent)?;
            }
            let at = path.under(self.to);
            std::os::unix::fs::symlink(target, &at)?;
            set_time(&at)?;
        }
        Ok(())
    }
}

fn set_time(path: &Path) -> Result<(), UnpackError> {
    let time = Timespec {
        tv_sec: TIME,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> File {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &builder.into_inner().unwrap()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_size(0);
        // Set as raw bytes: the builder itself would refuse what is tested here.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
    }

    #[test]
    fn a_package_unpacks_with_links_and_fixed_times() {
        let to = tempfile::tempdir().unwrap();
        let file = archive(|builder| {
            add(builder, tar::EntryType::Symlink, "src/link.rs", "lib.rs");
            add(builder, tar::EntryType::Regular, "src/lib.rs", "");
            add(builder, tar::EntryType::Directory, "empty", "");
        });
        unpack(file, PackageFormat::Tar, to.path()).unwrap();
        assert!(to.path().join("empty").is_dir());
        let link = to.path().join("src/link.rs");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("lib.rs"));
        for path in [to.path().join("src"), link, to.path().join("src/lib.rs")] {
            let time = fs::symlink_metadata(path).unwrap().modified().unwrap();
            let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!(seconds.as_secs(), TIME.unsigned_abs());
        }
    }

    #[test]
    fn refuses_what_leaves_the_package() {
        use tar::EntryType;
        let bad = [
            (EntryType::Regular, "../x", ""),
            (EntryType::Regular, "/x", ""),
            (EntryType::Regular, "a/../../x", ""),
            (EntryType::Symlink, "l", "/etc/passwd"),
            (EntryType::Symlink, "l", "../x"),
            (EntryType::Link, "l", "x"),
            (EntryType::Char, "null", ""),
            (EntryType::Fifo, "fifo", ""),
        ];
        for (kind, path, target) in bad {
            let to = tempfile::tempdir().unwrap();
            let file = archive(|builder| add(builder, kind, path, target));
            assert!(
                unpack(file, PackageFormat::Tar, to.path()).is_err(),
                "{path} {target}"
            );
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let to = tempfile::tempdir().unwrap();
        let file = archive(|builder| {
            add(builder, tar::EntryType::Symlink, "l", ".");
            add(builder, tar::EntryType::Regular, "l/x", "");
        });
        assert!(unpack(file, PackageFormat::Tar, to.path()).is_err());
        assert!(!to.path().join("x").exists());
    }

    #[test]
    fn a_crate_loses_its_top_directory() {
        let to = tempfile::tempdir().unwrap();
        let mut plain = archive(|builder| {
            add(builder, tar::EntryType::Regular, "a-1.0.0/src/lib.rs", "");
        });
        let mut packed = tempfile::tempfile().unwrap();
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        io::copy(&mut plain, &mut encoder).unwrap();
        encoder.finish().unwrap();
        io::Seek::rewind(&mut packed).unwrap();
        unpack(packed, PackageFormat::Crate, to.path()).unwrap();
        assert!(to.path().join("src/lib.rs").is_file());
    }
}
