//! What is refused, and in whose words.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;

use support::{host, request, write_project};
use vx_plan::{Plan, PlanError, PlanRequest, Selection, locate, plan};

const PACKAGE: &str = "//- Cargo.toml\n[package]\nname = 'p'\nversion = '1.0.0'\nedition = '2024'\n//- src/main.rs\nfn main() {}\n";

fn try_plan(request: &PlanRequest) -> Result<Plan, PlanError> {
    let workspace = locate(&host(), request)?;
    plan(request, &workspace)
}

fn plan_text(text: &str, selection: Selection) -> Result<Plan, PlanError> {
    let dir = tempfile::tempdir().unwrap();
    let root = write_project(dir.path(), text);
    try_plan(&request(&root, selection))
}

#[test]
fn no_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let result = try_plan(&request(dir.path(), Selection::default()));
    assert!(
        matches!(result, Err(PlanError::NoManifest { .. })),
        "{result:?}"
    );
    let selection = Selection {
        manifest_path: Some("gone/Cargo.toml".into()),
        ..Selection::default()
    };
    let result = try_plan(&request(dir.path(), selection));
    assert!(
        matches!(result, Err(PlanError::ManifestPath { .. })),
        "{result:?}"
    );
}

#[test]
fn no_cargo() {
    let dir = tempfile::tempdir().unwrap();
    let root = write_project(dir.path(), PACKAGE);
    let mut request = request(&root, Selection::default());
    request.env.insert("PATH".to_owned(), "/nowhere".to_owned());
    let result = try_plan(&request);
    assert!(
        matches!(&result, Err(PlanError::NoProgram { program }) if program == "cargo"),
        "{result:?}"
    );
}

/// Cargo's refusals are cargo's.
fn refused(text: &str, selection: Selection, words: &str) {
    match plan_text(text, selection) {
        Err(PlanError::Cargo { stderr, code, .. }) => {
            assert!(stderr.contains(words), "{stderr}");
            assert_eq!(code, Some(101));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cargo_refuses() {
    refused(
        "//- Cargo.toml\n[package\n",
        Selection::default(),
        "Cargo.toml",
    );
    let locked = Selection {
        locked: true,
        ..Selection::default()
    };
    refused(PACKAGE, locked, "--locked");
    let bin = Selection {
        bin: vec!["other".to_owned()],
        ..Selection::default()
    };
    refused(PACKAGE, bin, "no bin target named `other`");
    let features = Selection {
        features: vec!["nope".to_owned()],
        ..Selection::default()
    };
    refused(PACKAGE, features, "nope");
}

/// Nightly features are refused by a stable cargo, although its graph is asked of a would-be
/// nightly.
#[test]
fn nightly_features_stay_refused() {
    let text = PACKAGE.replace(
        "[package]",
        "cargo-features = ['profile-rustflags']\n[package]",
    );
    let (stable, result) = {
        let dir = tempfile::tempdir().unwrap();
        let root = write_project(dir.path(), &text);
        let request = request(&root, Selection::default());
        let workspace = locate(&host(), &request).unwrap();
        (
            !workspace.toolchain.rustc_version.contains("nightly"),
            plan(&request, &workspace),
        )
    };
    assert!(
        !stable || matches!(result, Err(PlanError::Cargo { .. })),
        "{result:?}"
    );
}

#[test]
fn unstable_tables_sleep_on() {
    let with = |table: &str| format!("{PACKAGE}//- .cargo/config.toml\n[unstable]\n{table}\n");
    let stable = plan_text(PACKAGE, Selection::default()).unwrap();
    if stable.rustc_version.contains("nightly") {
        return;
    }
    let asleep = plan_text(&with("minimal-versions = true"), Selection::default()).unwrap();
    assert!(asleep.units == stable.units);
    let result = plan_text(&with("build-std = ['core']"), Selection::default());
    assert!(
        matches!(&result, Err(PlanError::Unsupported { what, .. }) if what.contains("build-std")),
        "{result:?}"
    );
}

#[test]
fn wrappers() {
    let dir = tempfile::tempdir().unwrap();
    let root = write_project(dir.path(), PACKAGE);
    let mut request = request(&root, Selection::default());
    request
        .env
        .insert("RUSTC_WRAPPER".to_owned(), "no-such-wrapper".to_owned());
    assert!(matches!(
        try_plan(&request),
        Err(PlanError::NoProgram { program }) if program == "no-such-wrapper"
    ));
    request
        .env
        .insert("RUSTC_WRAPPER".to_owned(), "/bin/sccache".to_owned());
    let plan = try_plan(&request).unwrap();
    assert!(plan.messages[0].contains("sccache"), "{:?}", plan.messages);
    assert_eq!(plan.compiler, vx_plan::Compiler::default());
    request.env.remove("RUSTC_WRAPPER");
    let config = "[build]\nrustc-workspace-wrapper = \"tools/wrapper\"\n";
    for (path, text) in [
        (".cargo/config.toml", config),
        ("tools/wrapper", "#!/bin/sh\nexec \"$@\"\n"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).unwrap();
    }
    let compiler = try_plan(&request).unwrap().compiler;
    let wrapper = compiler.workspace_wrapper.as_deref();
    assert_eq!(
        wrapper,
        Some("/vx/the-checkout-at-its-fixed-place/tools/wrapper")
    );
    assert_eq!((compiler.wrapper, compiler.rustc), (None, None));
}

#[test]
fn a_path_package_outside_of_a_git_checkout() {
    let dir = tempfile::tempdir().unwrap();
    let text = "//- in/Cargo.toml\n[package]\nname = 'p'\nversion = '1.0.0'\nedition = '2024'\n[dependencies]\nq = { path = '../q' }\n\
                //- in/src/main.rs\nfn main() {}\n//- q/Cargo.toml\n[package]\nname = 'q'\nversion = '1.0.0'\n//- q/src/lib.rs\n";
    let root = write_project(dir.path(), text);
    // Without git, the checkout is what holds both.
    assert!(try_plan(&request(&root.join("in"), Selection::default())).is_ok());
    std::fs::create_dir(root.join("in/.git")).unwrap();
    let result = try_plan(&request(&root.join("in"), Selection::default()));
    assert!(
        matches!(&result, Err(PlanError::OutsideCheckout { package, .. }) if package == "q"),
        "{result:?}"
    );
}

#[test]
fn the_lock_file_is_made_where_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let root = write_project(dir.path(), PACKAGE);
    let plan = try_plan(&request(&root, Selection::default())).unwrap();
    assert_eq!(plan.units.len(), 1);
    assert!(Path::new(&root.join("Cargo.lock")).exists());
    assert!(!root.join("target").exists());
}
