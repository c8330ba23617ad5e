//! Generated workspaces and edits: a plan that vx remembers is the one that cargo would make.
//!
//! `VX_PLAN_SEQUENCES=1000` runs more of them, `VX_PLAN_SEED=7` the one of that seed, and both as
//! many from that seed on.

use vx_harness::plan_property;

/// How many sequences each run of the tests takes.
const SEQUENCES: u64 = 25;

#[test]
fn remembered_plans() {
    plan_property::check(SEQUENCES);
}
