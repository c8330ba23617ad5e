//! What is on the host, as it is now: files by their content, and what actions can see of them.
//!
//! In: paths that read sets name. Out: observations, digests that stay right, the toolchain's identity.
//! Knows nothing of plans, actions and builds.

pub(crate) mod change_times;
pub(crate) mod files;
pub(crate) mod observe;
pub(crate) mod read_sets;
pub(crate) mod stamps;
pub(crate) mod stat_cache;
pub(crate) mod toolchain;
pub(crate) mod visibility;
pub(crate) mod withheld;
