//! Faults of a service, as its callers can act on them.
//!
//! Expected outcomes (a blob that is missing, a compile that failed) are values of their own;
//! these are what is left.

/// What a service answered in place of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The connection or the process behind it is gone; another try on a new one may succeed.
    #[error("{service} is gone: {reason}")]
    Disconnected {
        /// Which service.
        service: String,
        /// What was seen.
        reason: String,
    },
    /// The grant this capability came of is over.
    #[error("the grant behind this capability was dropped")]
    Revoked,
    /// The caller may not do this.
    #[error("refused: {0}")]
    Denied(String),
    /// A store was not told to accept results of actions that were not isolated.
    #[error("{0}")]
    Unaccepted(String),
    /// The caller sent something that can't be meant.
    #[error("bad request: {0}")]
    Invalid(String),
    /// A bound was reached; later may be better.
    #[error("over a limit: {0}")]
    Overloaded(String),
    /// The service failed; its log says more.
    #[error("{0}")]
    Failed(String),
}

impl ServiceError {
    /// A lost connection to `service`.
    pub fn disconnected(service: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Disconnected {
            service: service.into(),
            reason: reason.to_string(),
        }
    }

    /// A failure with its reason.
    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// Whether a new connection may succeed where this one failed.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected { .. })
    }
}

/// A service's answer.
pub type ServiceResult<T> = Result<T, ServiceError>;
