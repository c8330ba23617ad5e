//! The one error of the command line: what happened, why, what to do, and the exit code.

use vx_core::ServiceError;

use crate::exit_code::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandError {
    /// How vx ends.
    pub(crate) code: ExitCode,
    /// What happened; empty when it was said already.
    pub(crate) what: String,
    /// Why; each entry the cause of the one before.
    pub(crate) causes: Vec<String>,
    /// What to do.
    pub(crate) help: Option<String>,
}

/// A command's outcome.
pub(crate) type CommandResult<T = ()> = Result<T, CommandError>;

impl CommandError {
    /// The request can't be met.
    pub(crate) fn failure(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Failure, what)
    }

    /// vx's services, or their home, are at fault.
    pub(crate) fn engine(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Engine, what)
    }

    /// Everything was said; only the code is left.
    pub(crate) fn silent(code: ExitCode) -> Self {
        Self::new(code, "")
    }

    fn new(code: ExitCode, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            causes: Vec::new(),
            help: None,
        }
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds what to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A call to the orchestrator that got no result while vx was `doing` something.
    pub(crate) fn service(doing: &str, error: &ServiceError) -> Self {
        let code = ExitCode::of_service_error(error);
        match error {
            ServiceError::Disconnected { service, reason } => {
                Self::new(code, format!("{service} went away while {doing}"))
                    .because(reason)
                    .help("run the command again: vx starts a new one, and what was finished is kept; the end of $VX_HOME/aether.log may say why it ended")
            }
            // These are the service's own words to the user, whole.
            ServiceError::Invalid(text) | ServiceError::Denied(text) => Self::new(code, text),
            ServiceError::Overloaded(_) => Self::new(code, format!("vx-aether refused while {doing}"))
                .because(error)
                .help("try again when the builds under way are done"),
            ServiceError::Revoked | ServiceError::Unaccepted(_) | ServiceError::Failed(_) => {
                Self::new(code, format!("vx-aether failed while {doing}"))
                    .because(error)
                    .help("$VX_HOME/aether.log may say more")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_daemon_is_told_in_three_parts() {
        let lost = ServiceError::disconnected("vx-aether", "connection reset");
        let error = CommandError::service("building", &lost);
        assert_eq!(error.code, ExitCode::Engine);
        assert_eq!(error.what, "vx-aether went away while building");
        assert_eq!(error.causes, ["connection reset"]);
        assert!(error.help.is_some());
    }

    #[test]
    fn a_refusal_keeps_its_own_words() {
        let denied = ServiceError::Denied("VX_CASS differs; run `vx stop` first".to_owned());
        let error = CommandError::service("building", &denied);
        assert_eq!(error.what, "VX_CASS differs; run `vx stop` first");
    }
}
