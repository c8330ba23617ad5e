//! Published projects, built by cargo and by their plans. Not run by default: it needs their
//! sources and takes minutes. `VX_PLAN_CORPUS` lists their directories, separated by colons.

mod support;

use std::path::Path;
use std::time::Instant;

use support::{cargo, compare, execute, planned, request};
use vx_plan::Selection;

fn projects() -> Vec<String> {
    let list = std::env::var("VX_PLAN_CORPUS").unwrap_or_default();
    list.split(':')
        .filter(|dir| !dir.is_empty())
        .map(str::to_owned)
        .collect()
}

fn selection() -> Selection {
    Selection {
        locked: true,
        release: std::env::var_os("VX_PLAN_RELEASE").is_some(),
        ..Selection::default()
    }
}

#[test]
#[ignore = "needs sources of published projects"]
fn plans_build_what_cargo_builds() {
    let mut failed = Vec::new();
    for project in projects() {
        let dir = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let planned = planned(request(Path::new(&project), selection()));
        eprintln!(
            "{project}: {} units planned in {:?}",
            planned.plan.units.len(),
            begun.elapsed()
        );
        let begun = Instant::now();
        let executed = execute::execute(&planned, dir.path());
        eprintln!(
            "{project}: executed in {:?}: {:?}",
            begun.elapsed(),
            executed.finals.keys()
        );
        let plain_target = dir.path().join("theirs");
        let plain = cargo::build(&planned, &plain_target, "-v");
        let verbose_target = dir.path().join("verbose");
        let verbose = cargo::build(&planned, &verbose_target, "-vv");
        let report = compare::differences(
            &planned,
            &executed,
            &plain,
            &verbose,
            &plain_target,
            &verbose_target,
        );
        eprintln!(
            "{project}: {} commands of cargo's compared\n{report}",
            plain.len()
        );
        if !report.is_empty() {
            failed.push(project);
        }
    }
    assert!(failed.is_empty(), "{failed:?} differ");
}
