//! `VX_HOME`: where the daemons' sockets, secrets and logs are.
//!
//! A directory that is made is made private; one that exists is checked and never changed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use vx_rpc::directory::ensure_private;

use crate::error::{CommandError, CommandResult};

/// The directory that one set of daemons lives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// Where it is by these variables: `VX_HOME`, else `.vx` in the home directory.
    pub(crate) fn locate(
        vx_home: Option<OsString>,
        user_home: Option<PathBuf>,
    ) -> CommandResult<Self> {
        let path = match vx_home.filter(|value| !value.is_empty()) {
            Some(value) => PathBuf::from(value),
            None => user_home
                .filter(|path| !path.as_os_str().is_empty())
                .ok_or_else(|| {
                    CommandError::failure("there is no place for vx's files")
                        .because("neither VX_HOME nor HOME is set")
                        .help("set VX_HOME to an absolute path")
                })?
                .join(".vx"),
        };
        if !path.is_absolute() {
            return Err(CommandError::failure(format!(
                "VX_HOME is not usable: {}",
                path.display()
            ))
            .because("it is not an absolute path, so each directory would have its own")
            .help("set VX_HOME to an absolute path"));
        }
        Ok(Self(path))
    }

    /// As the process's environment says.
    pub(crate) fn of_process() -> CommandResult<Self> {
        Self::locate(std::env::var_os("VX_HOME"), std::env::home_dir())
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The orchestrator's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("aether.sock")
    }

    /// Held by whoever listens on that socket, until its process is gone.
    pub(crate) fn socket_lock(&self) -> PathBuf {
        self.0.join("aether.sock.lock")
    }

    /// The secret that the orchestrator redeems for its capability.
    pub(crate) fn secret(&self) -> PathBuf {
        self.0.join("aether.secret")
    }

    /// The orchestrator's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("aether.log")
    }

    /// Held while one vx starts the orchestrator, so that others find it started.
    pub(crate) fn start_lock(&self) -> PathBuf {
        self.0.join("start.lock")
    }

    /// Makes the directory where it is not there, and checks that it is usable.
    pub(crate) fn prepare(&self) -> CommandResult {
        let unusable = |reason: &dyn std::fmt::Display| {
            CommandError::failure(format!("VX_HOME is not usable: {}", self.0.display()))
                .because(reason)
                .help("set VX_HOME to a directory of your own, or make this one usable")
        };
        ensure_private(&self.0).map_err(|error| unusable(&error))?;
        access(&self.0, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| unusable(&format!("it can't be written: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn it_is_in_the_home_directory_unless_told_otherwise() {
        let located = |home: Option<&str>, user: Option<&str>| {
            Home::locate(home.map(Into::into), user.map(Into::into))
        };
        assert_eq!(
            located(None, Some("/home/me")).unwrap().path(),
            Path::new("/home/me/.vx")
        );
        assert_eq!(
            located(Some(""), Some("/home/me")).unwrap().path(),
            Path::new("/home/me/.vx")
        );
        assert_eq!(located(Some("/v"), None).unwrap().path(), Path::new("/v"));
        assert!(located(Some("v"), None).is_err());
        assert!(located(None, None).is_err());
    }

    #[test]
    fn it_is_made_private_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let home = Home(path.clone());
        home.prepare().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(home.prepare().is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o777);
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "").unwrap();
        assert!(Home(path.join("below")).prepare().is_err());
    }
}
