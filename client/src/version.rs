//! What `vx --version` says.

use std::sync::LazyLock;

/// The version, and the build that a daemon must share to be talked to.
pub(crate) static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (build {})", env!("CARGO_PKG_VERSION"), vx_rpc::BUILD));
