//! What units are called.

use vx_plan::{Mode, Plan};

/// What names a unit's action within its plan.
pub(crate) fn action_id(plan: &Plan, unit: usize) -> String {
    let this = &plan.units[unit];
    format!("{}-{}", plan.packages[this.package].name, this.identity)
}

/// A unit within its package, as cargo names it.
pub(crate) fn unit_label(unit: &vx_plan::Unit) -> String {
    use vx_plan::TargetKind;
    let name = &unit.target.name;
    match (&unit.target.kind, unit.mode) {
        (_, Mode::RunBuildScript) => "build script run".to_owned(),
        (TargetKind::Lib(_), _) => "lib".to_owned(),
        (TargetKind::Bin, _) => format!("bin \"{name}\""),
        (TargetKind::ExampleBin | TargetKind::ExampleLib(_), _) => format!("example \"{name}\""),
        (TargetKind::Test, _) => format!("test \"{name}\""),
        (TargetKind::Bench, _) => format!("bench \"{name}\""),
        (TargetKind::BuildScript, _) => "build script".to_owned(),
    }
}
