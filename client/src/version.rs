//! What `vx --version` says.

use std::sync::LazyLock;

/// The build of vx; a daemon of another one is replaced.
pub(crate) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+dev");

/// The version, and the build that a daemon must share to be talked to.
pub(crate) static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (build {BUILD})", env!("CARGO_PKG_VERSION")));
