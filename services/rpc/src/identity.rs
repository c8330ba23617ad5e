//! Who a process is, as it says in the handshake.

use std::fmt;
use std::io;

use crate::secret::Secret;

/// The build of vx that this is: two processes agree on everything when theirs are the same.
///
/// What the variable `VX_BUILD_ID` held when this was compiled, and without it the version:
/// whoever builds the four programs for use sets it once for all of them, to something that
/// changes with the sources.
pub const BUILD: &str = match option_env!("VX_BUILD_ID") {
    Some(id) => id,
    None => concat!(env!("CARGO_PKG_VERSION"), "+dev"),
};

/// What someone says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The program, such as `vx-cass`.
    pub service: String,
    /// Its build of vx, as [`BUILD`].
    pub build: String,
    /// The version of the schema it speaks.
    pub protocol: u32,
    /// This run of the process; never reused.
    pub instance: String,
    /// Its process id.
    pub pid: u32,
}

impl Hello {
    /// This process under the name of `service`.
    ///
    /// # Errors
    /// When the kernel gives no random numbers.
    pub fn mine(service: &str) -> io::Result<Self> {
        Ok(Self {
            service: service.to_owned(),
            build: BUILD.to_owned(),
            protocol: vx_schema::PROTOCOL,
            instance: Secret::random()?.fingerprint().short(),
            pid: std::process::id(),
        })
    }

    /// Whether the two can talk.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.build == other.build && self.protocol == other.protocol
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (process {}, build {}, protocol {})",
            self.service, self.pid, self.build, self.protocol
        )
    }
}
