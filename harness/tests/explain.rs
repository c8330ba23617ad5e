//! `vx explain` names what changed: facts of its JSON after real changes.

use std::fs;

use serde_json::Value;
use vx_harness::{Env, Project};

const CHAIN: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["top", "mid", "base"]
    resolver = "3"
    //- /top/Cargo.toml
    [package]
    name = "top"
    version = "0.1.0"
    edition = "2024"
    [features]
    extra = []
    [dependencies]
    mid = { path = "../mid" }
    //- /top/build.rs
    fn main() {
        println!("cargo::rerun-if-env-changed=VX_TEST_LEVEL");
        println!("cargo::rerun-if-env-changed=VX_TEST_TOKEN");
        let level = std::env::var("VX_TEST_LEVEL").unwrap_or_default();
        println!("cargo::rustc-env=LEVEL={level}");
    }
    //- /top/src/main.rs
    fn main() { println!("{} {}", mid::twice(), env!("LEVEL")); }
    //- /mid/Cargo.toml
    [package]
    name = "mid"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    base = { path = "../base" }
    //- /mid/src/lib.rs
    pub fn twice() -> u32 { base::ONE * 2 }
    //- /base/Cargo.toml
    [package]
    name = "base"
    version = "0.1.0"
    edition = "2024"
    //- /base/src/lib.rs
    mod part;
    pub use part::ONE;
    //- /base/src/part.rs
    pub const ONE: u32 = 1;
"#;

/// What `vx explain --json` answers.
#[track_caller]
fn explain(env: &Env, project: &Project, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["explain", "--json"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let run = env.vx(project, &arguments).success();
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"))
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

fn is_of(action: &Value, package: &str, unit: &str) -> bool {
    let of = action["package"].as_str().unwrap_or_default();
    of.split(' ').next() == Some(package) && action["unit"] == unit
}

/// What differed for an action of the last build, which ran.
#[track_caller]
fn differences(env: &Env, project: &Project, package: &str, unit: &str) -> Vec<Value> {
    let report = explain(env, project, &[]);
    let mut actions = list(&report["actions"]).iter();
    let action = actions
        .find(|one| is_of(one, package, unit))
        .expect("the action is in the plan");
    assert_eq!(action["outcome"], "built", "{action:#}");
    assert!(action["explained"]["against"].is_string(), "{action:#}");
    list(&action["explained"]["differences"]).to_vec()
}

/// The one that is expected, among as many as there are.
#[track_caller]
fn assert_tells(found: &[Value], expected: &Value) {
    let matches = |one: &Value| {
        let expected = expected.as_object().expect("an object is expected");
        expected.iter().all(|(name, value)| one[name] == *value)
    };
    assert!(found.iter().any(matches), "{expected} is not in {found:#?}");
}

const TOP: &str = "bin \"top\"";

#[test]
fn a_file_and_the_chain_that_follows() {
    let env = Env::new();
    let project = env.project(CHAIN);
    let first = env.build(&project).report;
    let report = explain(&env, &project, &[]);
    for action in list(&report["actions"]) {
        assert_eq!(action["explained"]["against"], Value::Null, "{action:#}");
    }

    project.edit("base/src/part.rs", "1", "2");
    let second = env.build(&project).report;
    second.assert_built(["base", "mid", "top"]);
    let found = differences(&env, &project, "base", "lib");
    let file = serde_json::json!({"kind": "path", "path": "base/src/part.rs",
                                  "what": "content", "change": "changed"});
    assert_eq!(found, std::slice::from_ref(&file));
    let found = differences(&env, &project, "mid", "lib");
    assert!(
        found.iter().all(|one| one["kind"] == "dependency"),
        "{found:#?}"
    );
    let output = serde_json::json!({"package": "base 0.1.0", "unit": "lib", "change": "changed"});
    assert_tells(&found, &output);

    let why = explain(&env, &project, &["--why", "top"]);
    assert_eq!(
        (&why["built"], &why["run_id"]),
        (&true.into(), &second.run_id.as_str().into())
    );
    let mut actions = list(&why["actions"]).iter();
    let top = actions.find(|one| is_of(one, "top", TOP)).unwrap();
    let [chain] = list(&top["chains"]) else {
        panic!("{top:#}")
    };
    let steps: Vec<&str> = list(&chain["steps"])
        .iter()
        .map(|step| step["package"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["top 0.1.0", "mid 0.1.0", "base 0.1.0"], "{chain:#}");
    assert_eq!(chain["causes"], serde_json::json!([file]));

    // Nothing to do any more; what was before is found in the store.
    let third = env.build(&project).report;
    let why = explain(&env, &project, &["--why", "base@0.1.0"]);
    assert_eq!(why["built"], false);
    assert_eq!(why["last_built"], second.run_id.as_str());
    let miss = explain(&env, &project, &["--last-miss"]);
    assert_eq!(miss["run_id"], second.run_id.as_str());
    let miss = explain(&env, &project, &["--run", &first.run_id]);
    assert_eq!(miss["run_id"], first.run_id.as_str());

    let diff = explain(&env, &project, &["--diff", &second.run_id, "latest"]);
    assert_eq!(diff["to"], third.run_id.as_str());
    assert_eq!(
        (&diff["same"], &diff["actions"]),
        (&5.into(), &serde_json::json!([]))
    );
    let diff = explain(&env, &project, &["--diff", &first.run_id]);
    let mut actions = list(&diff["actions"]).iter();
    let base = actions.find(|one| is_of(one, "base", "lib")).unwrap();
    assert_eq!(base["differences"], serde_json::json!([file]), "{base:#}");
    assert_eq!(base["to"]["parts_of"], second.run_id.as_str());

    for unknown in [
        &["--run", "nonsense"][..],
        &["--why", "nonsense"],
        &["--diff", "a", "b"],
    ] {
        let all: Vec<&str> = ["explain"].iter().chain(unknown).copied().collect();
        let _ = env.vx(&project, &all).refused();
    }
}

#[test]
fn variables_show_harmless_values_alone() {
    let env = Env::new().with_setting("VX_TEST_LEVEL", "low");
    let project = env.project(CHAIN);
    let _ = env.build(&project);
    let env = env.with_setting("VX_TEST_LEVEL", "high");
    env.build(&project).report.assert_built(["top"]);
    let found = differences(&env, &project, "top", "build script run");
    let level = serde_json::json!({"kind": "variable", "name": "VX_TEST_LEVEL",
                                   "change": "changed", "was": "low", "now": "high"});
    assert_eq!(found, [level]);

    let env = env.with_setting("VX_TEST_TOKEN", "hunter2");
    env.build(&project).report.assert_built(["top"]);
    let found = differences(&env, &project, "top", "build script run");
    let token = serde_json::json!({"kind": "variable", "name": "VX_TEST_TOKEN",
                                   "change": "appeared"});
    assert_tells(&found, &token);
    assert!(found[0]["now"]["digest"].is_string(), "{found:#?}");
    let report = project.read(".vx/runs/latest");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn flags_features_declarations_and_the_toolchain() {
    let env = Env::new();
    let project = env.project(CHAIN);
    let _ = env.build(&project);

    project.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"--cfg\", \"vx_test\"]\n",
    );
    let _ = env.build(&project);
    let flag = serde_json::json!({"kind": "argument", "change": "new", "now": "--cfg vx_test"});
    assert_eq!(differences(&env, &project, "base", "lib").len(), 1);
    for (package, unit) in [("base", "lib"), ("mid", "lib"), ("top", TOP)] {
        assert_tells(&differences(&env, &project, package, unit), &flag);
    }

    env.build_with(&project, &["--features", "top/extra"])
        .report
        .assert_built(["top"]);
    let feature = serde_json::json!({"kind": "argument", "change": "new",
                                     "now": "--cfg feature=\"extra\""});
    assert_tells(&differences(&env, &project, "top", TOP), &feature);
    let _ = env.build(&project);

    project.edit(
        "top/Cargo.toml",
        "edition",
        "metadata.vx.env = [\"VX_TEST_DECLARED\"]\nedition",
    );
    env.build(&project).report.assert_built(["top"]);
    let found = differences(&env, &project, "top", "build script run");
    let declared = serde_json::json!({"kind": "declared", "what": "env",
                                      "name": "VX_TEST_DECLARED", "change": "new"});
    assert_tells(&found, &declared);

    fs::write(env.toolchain().sysroot().join("lib/vx-test"), "more").unwrap();
    env.build(&project)
        .report
        .assert_built(["base", "mid", "top"]);
    let found = differences(&env, &project, "base", "lib");
    assert_tells(&found, &serde_json::json!({"kind": "toolchain"}));
}

#[test]
fn a_failure_names_what_was_not_seen() {
    let env = Env::new()
        .with_setting("VX_TEST", "")
        .with_setting("DATABASE_URL", "x");
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "asks"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {
            if std::env::var("DATABASE_URL").is_err() {
                eprintln!("DATABASE_URL is needed, and no HOME");
                std::process::exit(1);
            }
        }
        //- /src/main.rs
        fn main() {}
        "#,
    );
    let _ = env.vx(&project, &["build"]).code(101);
    let report = explain(&env, &project, &[]);
    let mut actions = list(&report["actions"]).iter();
    let failed = actions.find(|one| one["outcome"] == "failed").unwrap();
    assert_eq!(failed["unseen"], serde_json::json!(["DATABASE_URL"]));
    project.edit(
        "Cargo.toml",
        "edition",
        "metadata.vx.env = [\"DATABASE_URL\"]\nedition",
    );
    let _ = env.build(&project);
}
