//! Secrets: 32 random bytes, kept as hexadecimal in a file that only its owner can read.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use vx_core::Digest;

/// What stands for a capability where nothing else was proved yet.
#[derive(Clone)]
pub struct Secret([u8; 32]);

/// Why a secret can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read or made.
    #[error("the secret file {path} can't be {what}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Others could read or replace it.
    #[error(
        "the secret file {path} can't be trusted: {reason}; it must be a regular file of yours with mode 0600"
    )]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It holds something else.
    #[error(
        "the secret file {path} does not hold 64 hexadecimal digits; remove it, and the service that owns it makes a new one at its next start"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(more) => filled += more,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(bytes))
    }

    /// The secret in `path`, which is made with a new one unless it is there.
    ///
    /// Of two processes that make it at once, both get the same.
    ///
    /// # Errors
    /// As [`Secret::read`], and when the file can't be made.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => return Self::read(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_fault(path, "looked at", source)),
        }
        let fresh = Self::random().map_err(|source| io_fault(path, "made", source))?;
        // Written aside and linked into place, so that nobody ever reads half of it.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!(".{name}.{}", Self::random_suffix(path)?));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)
            .and_then(|mut file| file.write_all(format!("{}\n", fresh.to_hex()).as_bytes()))
            .and_then(|()| std::fs::hard_link(&aside, path));
        let removed = std::fs::remove_file(&aside);
        match written {
            Ok(()) => removed.map_err(|source| io_fault(&aside, "removed", source))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(io_fault(path, "made", source)),
        }
        Self::read(path)
    }

    fn random_suffix(path: &Path) -> Result<String, SecretError> {
        let random = Self::random().map_err(|source| io_fault(path, "made", source))?;
        Ok(random.to_hex()[..16].to_owned())
    }

    /// The secret in `path`.
    ///
    /// # Errors
    /// When it can't be read, is not a regular file of this user with mode 0600, or holds
    /// something else.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(
                (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
                    .bits()
                    .cast_signed(),
            )
            .open(path)
            .map_err(|source| io_fault(path, "opened", source))?;
        let meta = file
            .metadata()
            .map_err(|source| io_fault(path, "looked at", source))?;
        let unsafe_because = |reason: String| SecretError::Unsafe {
            path: path.to_owned(),
            reason,
        };
        if !meta.is_file() {
            return Err(unsafe_because("it is not a regular file".to_owned()));
        }
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me {
            return Err(unsafe_because(format!(
                "it belongs to user {}, and you are {me}",
                meta.uid()
            )));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(unsafe_because(format!(
                "its mode is {:04o}",
                meta.mode() & 0o7777
            )));
        }
        let mut text = String::new();
        (&mut file)
            .take(256)
            .read_to_string(&mut text)
            .map_err(|source| io_fault(path, "read", source))?;
        Self::from_hex(text.trim_end_matches('\n')).ok_or_else(|| SecretError::Malformed {
            path: path.to_owned(),
        })
    }

    fn from_hex(text: &str) -> Option<Self> {
        text.parse::<Digest>()
            .ok()
            .map(|bytes| Self(*bytes.as_bytes()))
    }

    fn to_hex(&self) -> String {
        Digest::from_bytes(self.0).to_hex()
    }

    /// For the wire.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the wire; `None` unless it has the right length.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// A name under which it can be looked up without comparing it byte by byte.
    pub(crate) fn fingerprint(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Whether both are the same, in a time that does not tell how far they agree.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let difference = self
            .0
            .iter()
            .zip(&other.0)
            .fold(0u8, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn io_fault(path: &Path, what: &'static str, source: io::Error) -> SecretError {
    SecretError::Io {
        path: path.to_owned(),
        what,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let made = Secret::load_or_create(&path).unwrap();
        let again = Secret::load_or_create(&path).unwrap();
        assert!(made.matches(&again));
        assert!(!made.matches(&Secret::random().unwrap()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(!format!("{made:?}").contains(&made.to_hex()[..4]));
    }

    #[test]
    fn many_makers_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let makers: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Secret::load_or_create(&path).unwrap())
            })
            .collect();
        let secrets: Vec<_> = makers
            .into_iter()
            .map(|maker| maker.join().unwrap())
            .collect();
        assert!(secrets.iter().all(|secret| secret.matches(&secrets[0])));
    }

    #[test]
    fn refuses_files_others_can_read_links_and_other_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        Secret::load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Secret::read(&path),
            Err(SecretError::Unsafe { .. })
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(
            Secret::read(&path),
            Err(SecretError::Malformed { .. })
        ));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Secret::read(&link), Err(SecretError::Io { .. })));
        assert!(matches!(
            Secret::read(dir.path()),
            Err(SecretError::Unsafe { .. } | SecretError::Io { .. })
        ));
    }
}
