//! Real projects give the same bytes wherever they are built, but for what is named with its
//! cause; and what is found in the store is what running it again gives.

use std::collections::BTreeMap;

use vx_harness::{Action, Env, Report};

/// Checks what running everything again says: each difference has a cause.
fn verified(env: &Env, project: &vx_harness::Project) -> Report {
    let report = env.build_with(project, &["--verify"]).report;
    for action in report.of("hit") {
        let Some(verified) = &action.verified else {
            panic!("{} {} was not verified", action.package, action.unit);
        };
        assert_eq!(verified.fault, None, "{} {}", action.package, action.unit);
        for difference in &verified.differences {
            assert!(
                !difference.causes.contains(&"unknown".to_owned()),
                "{} {}: {difference:?}",
                action.package,
                action.unit
            );
        }
    }
    report
}

fn name(action: &Action) -> String {
    format!("{} {}", action.package, action.unit)
}

/// Builds a project of the corpus as two homes do, at two paths, and holds every action's
/// outputs against each other.
fn same_everywhere(project: &str) {
    let one = Env::new();
    let two = one.sibling();
    let here = one.corpus(project);
    let there = two.copy(&here);
    let first = one.build(&here).report;
    let second = two.build(&there).report;
    assert_eq!(first.totals.built, first.totals.actions, "{project}");
    assert_eq!(second.totals.built, second.totals.actions, "{project}");
    let report = verified(&one, &here);
    let causes: BTreeMap<String, &Vec<String>> = report
        .actions
        .iter()
        .map(|action| (name(action), &action.unstable))
        .collect();
    let others: BTreeMap<String, &Action> = second
        .actions
        .iter()
        .map(|action| (name(action), action))
        .collect();
    // What is built on other bytes is other bytes; only where the difference starts counts.
    let mut unexplained = Vec::new();
    for action in &first.actions {
        let other = others[&name(action)];
        let took_path = action.reason.as_deref() == Some("path");
        let unstable = !causes[&name(action)].is_empty();
        if action.key == other.key && action.outputs != other.outputs && !took_path && !unstable {
            unexplained.push(name(action));
        }
    }
    assert!(unexplained.is_empty(), "{project}: {unexplained:?} differ");

    // With one store the second checkout only builds what took its path in.
    let copy = one.copy(&here);
    let again = one.build(&copy).report;
    for action in again.of("built") {
        assert_eq!(
            action.reason.as_deref(),
            Some("path"),
            "{project}: {} was built again",
            name(action)
        );
    }
}

#[test]
fn ripgrep() {
    same_everywhere("ripgrep");
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn tokei() {
    same_everywhere("tokei");
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn fd_find() {
    same_everywhere("fd-find");
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn du_dust() {
    same_everywhere("du-dust");
}

#[test]
#[ignore = "takes a quarter of an hour; run with --ignored"]
fn starship() {
    same_everywhere("starship");
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn sd_and_hyperfine_can_be_verified() {
    for project in ["sd", "hyperfine"] {
        let env = Env::new();
        let project = env.corpus(project);
        let _ = env.build(&project);
        let _ = verified(&env, &project);
    }
}
