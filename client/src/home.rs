//! `VX_HOME`: where the daemons' sockets, secrets and logs are.
//!
//! A directory that is made is made private; one that exists is checked and never changed.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{CommandError, CommandResult};

const ELSEWHERE: &str = "set VX_HOME to a directory of your own, or make this one usable";

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
        let unusable =
            || CommandError::failure(format!("VX_HOME is not usable: {}", self.0.display()));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| {
                unusable()
                    .because(format!("it can't be made: {error}"))
                    .help(ELSEWHERE)
            })?;
        let metadata = std::fs::metadata(&self.0)
            .map_err(|error| unusable().because(error).help(ELSEWHERE))?;
        let owner = rustix::process::geteuid().as_raw();
        if metadata.uid() != owner {
            return Err(unusable()
                .because(format!(
                    "it belongs to user {}, not to you ({owner})",
                    metadata.uid()
                ))
                .help(ELSEWHERE));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(unusable()
                .because(format!(
                    "others may write into it (mode {:03o}), and could put a daemon of their own there",
                    metadata.mode() & 0o777
                ))
                .help(format!("run `chmod go-w {}`", self.0.display())));
        }
        rustix::fs::access(
            &self.0,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        )
        .map_err(|error| {
            unusable()
                .because(format!("it can't be written: {error}"))
                .help(ELSEWHERE)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        let error = home.prepare().unwrap_err();
        assert!(error.help.unwrap().contains("chmod"));
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
