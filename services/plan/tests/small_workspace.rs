//! A workspace of a bit of everything, built by cargo and by its plan.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::process::Command;

use support::{cargo, compare, execute, planned, request, write_project};
use vx_plan::{PackageRoot, Plan, Selection};

const PROJECT: &str = include_str!("small_workspace.txt");

fn project() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("checkout/.git")).unwrap();
    let root = write_project(&dir.path().join("checkout"), PROJECT);
    (dir, root)
}

fn check(selection: Selection) {
    let (dir, root) = project();
    let planned = planned(request(&root.join("ws"), selection));
    let executed = execute::execute(&planned, &dir.path().join("ours"));
    let plain_target = dir.path().join("theirs");
    let plain = cargo::build(&planned, &plain_target, "-v");
    let verbose_target = dir.path().join("theirs-verbose");
    let verbose = cargo::build(&planned, &verbose_target, "-vv");
    assert!(!plain.is_empty());
    let report = compare::differences(
        &planned,
        &executed,
        &plain,
        &verbose,
        &plain_target,
        &verbose_target,
    );
    assert!(report.is_empty(), "{report}");

    let program = executed.finals.get("app-main").unwrap();
    let output = Command::new(program).output().unwrap();
    let theirs = std::fs::read_dir(&plain_target)
        .unwrap()
        .flatten()
        .find_map(|entry| {
            let nested = entry.path();
            let profile = planned.plan.profile_dir.as_str();
            [
                nested.join("app-main"),
                nested.join(profile).join("app-main"),
            ]
            .into_iter()
            .find(|path| path.exists())
        });
    let their_output = Command::new(theirs.unwrap()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&their_output.stdout)
    );
    assert!(output.status.success());
}

#[test]
fn dev_builds_as_cargo_does() {
    check(Selection {
        workspace: true,
        examples: false,
        ..Selection::default()
    });
}

#[test]
fn release_with_features_builds_as_cargo_does() {
    check(Selection {
        release: true,
        features: vec!["loud".to_owned()],
        ..Selection::default()
    });
}

#[test]
fn a_target_builds_as_cargo_does() {
    let (_dir, root) = project();
    let host = planned(request(&root.join("ws"), Selection::default()))
        .plan
        .host;
    check(Selection {
        target: vec![host],
        profile: Some("small".to_owned()),
        ..Selection::default()
    });
}

#[test]
fn a_plan_is_the_same_wherever_the_checkout_is() {
    let plan_in = || {
        let (_dir, root) = project();
        planned(request(&root.join("ws"), Selection::default())).plan
    };
    let (one, other) = (plan_in(), plan_in());
    assert!(one == other, "{}", first_difference(&one, &other));
    let text = format!("{one:?}");
    assert!(!text.contains("checkout/ws"), "{text}");
    let bytes = postcard::to_allocvec(&one).unwrap();
    assert!(postcard::from_bytes::<Plan>(&bytes).unwrap() == one);
}

fn first_difference(one: &Plan, other: &Plan) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let lines = one
        .lines()
        .zip(other.lines())
        .find(|(one, other)| one != other);
    lines
        .map(|(one, other)| format!("{one}\n{other}"))
        .unwrap_or_default()
}

#[test]
fn messages_name_the_checkout_where_it_is() {
    let (_dir, root) = project();
    let planned = planned(request(&root.join("ws"), Selection::default()));
    let messages = vx_plan::messages(&planned.workspace, &planned.plan);
    let manifest = root.join("ws/app/Cargo.toml").display().to_string();
    assert!(
        messages.iter().any(|message| message.contains(&manifest)),
        "{messages:?}"
    );
}

#[test]
fn a_plan_knows_roots_and_messages() {
    let (_dir, root) = project();
    let plan = planned(request(&root.join("ws"), Selection::default())).plan;
    assert!(
        plan.messages
            .iter()
            .any(|message| message.contains("unused manifest key")),
        "{:?}",
        plan.messages
    );
    let roots: Vec<_> = plan.packages.iter().map(|package| &package.root).collect();
    assert!(roots.contains(&&PackageRoot::Checkout {
        dir: "outside".to_owned()
    }));
}
