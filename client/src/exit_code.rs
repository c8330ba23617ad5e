//! Exit codes: the one place that says what each means.
//!
//! Cargo's where cargo has one. `vx run` replaces itself by the program it built, so from
//! then on the code is the program's.

use vx_core::ServiceError;
use vx_core::orchestrator::BuildFailure;

/// How vx ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// 0: what was asked for is done.
    Success,
    /// 1: the arguments can't be parsed; cargo's code for that.
    Usage,
    /// 101: a compiler, a build script or the workspace is at fault, or the request can't be
    /// met; cargo's code for every failure of its own.
    Failure,
    /// 70: vx's services could not do their work (`EX_SOFTWARE` of sysexits.h, so that it can
    /// be told from a broken project; cargo has no such case).
    Engine,
    /// 130: ended by Ctrl-C, as shells report SIGINT.
    Interrupted,
    /// 143: ended by SIGTERM, as shells report it.
    Terminated,
}

impl ExitCode {
    /// The number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Usage => 1,
            Self::Failure => 101,
            Self::Engine => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// For a build that failed.
    pub(crate) fn of_build_failure(failure: &BuildFailure) -> Self {
        match failure {
            BuildFailure::Actions { .. } | BuildFailure::Request(_) => Self::Failure,
            BuildFailure::Engine(_) => Self::Engine,
        }
    }

    /// For a call that got no result.
    pub(crate) fn of_service_error(error: &ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_) | ServiceError::Denied(_) => Self::Failure,
            ServiceError::Disconnected { .. }
            | ServiceError::Revoked
            | ServiceError::Unaccepted(_)
            | ServiceError::Overloaded(_)
            | ServiceError::Failed(_) => Self::Engine,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// The table for `vx help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done
    1  the arguments can't be understood
   70  vx's own services failed; nothing is wrong with the project
  101  the build failed, or can't be done as asked
  130  ended by Ctrl-C (143: by SIGTERM)
  vx run exits as the program it runs.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_exits_as_cargo_does() {
        let failed = BuildFailure::Actions { failed: vec![] };
        assert_eq!(ExitCode::of_build_failure(&failed).number(), 101);
        let request = BuildFailure::Request("no manifest".to_owned());
        assert_eq!(ExitCode::of_build_failure(&request).number(), 101);
    }

    #[test]
    fn a_lost_engine_is_not_a_failed_build() {
        let engine = BuildFailure::Engine("the store is full".to_owned());
        assert_eq!(ExitCode::of_build_failure(&engine), ExitCode::Engine);
        let lost = ServiceError::disconnected("vx-aether", "end of file");
        assert_eq!(ExitCode::of_service_error(&lost), ExitCode::Engine);
        let denied = ServiceError::Denied("other settings".to_owned());
        assert_eq!(ExitCode::of_service_error(&denied), ExitCode::Failure);
    }

    #[test]
    fn the_table_names_every_code() {
        for code in [
            ExitCode::Success,
            ExitCode::Usage,
            ExitCode::Failure,
            ExitCode::Engine,
            ExitCode::Interrupted,
            ExitCode::Terminated,
        ] {
            assert!(HELP.contains(&code.number().to_string()), "{code:?}");
        }
    }
}
