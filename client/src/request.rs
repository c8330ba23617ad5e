//! What the orchestrator is sent of the caller: it consults nothing of its own for a build.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use rustix::fs::Mode;
use vx_core::orchestrator::{BuildRequest, Selection, settings_of};

use crate::error::{CommandError, CommandResult};

/// The process that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    cwd: String,
    env: BTreeMap<String, String>,
    umask: u32,
}

/// What is asked besides the selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// `-j`.
    pub(crate) jobs: Option<u32>,
    /// `--keep-going`.
    pub(crate) keep_going: bool,
    /// Whether what was found is run again and compared.
    pub(crate) verify: bool,
}

impl Caller {
    /// This process. To be called before there are threads: the umask is read by setting it.
    pub(crate) fn of_process() -> CommandResult<Self> {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        let cwd = std::env::current_dir().map_err(|error| {
            CommandError::failure("the current directory can't be used")
                .because(error)
                .help("change to a directory that exists")
        })?;
        Self::new(cwd, std::env::vars_os(), mask.as_raw_mode())
    }

    fn new(
        cwd: PathBuf,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        umask: u32,
    ) -> CommandResult<Self> {
        let cwd = cwd.into_os_string().into_string().map_err(|cwd| {
            CommandError::failure("the current directory can't be used")
                .because(format!("its path is not UTF-8: {}", cwd.display()))
                .help("rename it, or work in another")
        })?;
        let env = env
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self { cwd, env, umask })
    }

    /// The working directory.
    pub(crate) fn cwd(&self) -> &str {
        &self.cwd
    }

    /// Its request.
    pub(crate) fn request(&self, selection: Selection, schedule: Schedule) -> BuildRequest {
        BuildRequest {
            cwd: self.cwd.clone(),
            env: self.env.clone(),
            umask: self.umask,
            selection,
            jobs: schedule.jobs,
            keep_going: schedule.keep_going,
            verify: schedule.verify,
            settings: settings_of(self.env.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn variable(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    #[test]
    fn a_request_carries_the_caller_and_the_settings() {
        let env = [
            variable("PATH", "/bin"),
            variable("VX_CASS", "unix:/cass.sock"),
            variable("VX_RHEA", ""),
            ("BROKEN".into(), OsString::from_vec(vec![0xff])),
        ];
        let caller = Caller::new("/work".into(), env, 0o027).unwrap();
        let schedule = Schedule {
            jobs: Some(3),
            keep_going: true,
            verify: false,
        };
        let request = caller.request(Selection::default(), schedule);
        assert_eq!(request.cwd, "/work");
        assert_eq!(request.umask, 0o027);
        assert_eq!((request.jobs, request.keep_going), (Some(3), true));
        assert_eq!(request.env["PATH"], "/bin");
        assert!(!request.env.contains_key("BROKEN"));
        let settings: Vec<_> = request.settings.into_iter().collect();
        assert_eq!(
            settings,
            [("VX_CASS".to_owned(), "unix:/cass.sock".to_owned())]
        );
    }

    #[test]
    fn a_directory_that_is_not_utf8_is_refused() {
        let cwd = PathBuf::from(OsString::from_vec(b"/\xff".to_vec()));
        assert!(Caller::new(cwd, [], 0).is_err());
    }
}
