//! Generated workspaces and edits: vx is never stale and never does too much.
//!
//! `VX_PROPERTY_SEQUENCES=500` runs more of them, `VX_PROPERTY_SEED=7` the one of that seed, and
//! both as many from that seed on.

use vx_harness::property::Settings;

/// How many sequences each run of the tests takes.
const SEQUENCES: u64 = 25;

#[test]
fn sequences_of_edits() {
    Settings::from_environment(SEQUENCES).check();
}
