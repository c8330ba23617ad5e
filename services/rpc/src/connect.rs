//! Why connecting to a service failed, as its callers can act on it.

use vx_core::ServiceError;

use crate::endpoint::Endpoint;
use crate::identity::Hello;
use crate::socket::DialError;

/// Why a service can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody was reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Whoever listens did not answer in time.
    #[error("whoever listens on {endpoint} did not answer within {seconds} seconds")]
    Silent {
        /// Where.
        endpoint: Endpoint,
        /// How long it had.
        seconds: u64,
    },
    /// What listens does not speak as vx does.
    #[error("what listens on {endpoint} is no service of vx: {reason}")]
    Stranger {
        /// Where.
        endpoint: Endpoint,
        /// What was seen.
        reason: String,
    },
    /// It is another build of vx.
    #[error(
        "{endpoint} is {theirs}, and this is {ours}: two builds of vx don't work together; stop that one first"
    )]
    OtherBuild {
        /// Where.
        endpoint: Endpoint,
        /// Who is there.
        theirs: Box<Hello>,
        /// Who asks.
        ours: Box<Hello>,
    },
    /// It is another of vx's programs.
    #[error("{endpoint} is {found}, and {expected} was wanted there")]
    OtherService {
        /// Where.
        endpoint: Endpoint,
        /// Who should be there.
        expected: String,
        /// Who is.
        found: String,
    },
    /// It did not take the secret, or gave nothing for it.
    #[error("{endpoint} refused: {reason}")]
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        reason: ServiceError,
    },
    /// This process is ending.
    #[error(transparent)]
    Ended(ServiceError),
}

impl ConnectError {
    /// Whether nothing listens there, so that a service can be started.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Dial(DialError::Absent { .. }))
    }

    /// Whether a daemon of another build of vx listens there.
    #[must_use]
    pub fn is_other_build(&self) -> bool {
        matches!(self, Self::OtherBuild { .. })
    }
}

impl From<ServiceError> for ConnectError {
    fn from(error: ServiceError) -> Self {
        Self::Ended(error)
    }
}
