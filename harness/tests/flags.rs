//! Selection: the same flags build the same crates and leave the same programs as cargo's.

use std::collections::BTreeSet;
use std::path::Path;

use vx_harness::{Env, Project};

const WORKSPACE: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["one", "two", "library"]
    default-members = ["one"]
    resolver = "3"
    [profile.quick]
    inherits = "release"
    opt-level = 1
    //- /one/Cargo.toml
    [package]
    name = "one"
    version = "0.1.0"
    edition = "2024"
    default-run = "one"
    [features]
    default = ["loud"]
    loud = []
    extra = ["dep:library"]
    [dependencies]
    library = { path = "../library", optional = true }
    //- /one/src/lib.rs
    pub fn features() -> [bool; 2] { [cfg!(feature = "loud"), cfg!(feature = "extra")] }
    //- /one/src/main.rs
    fn main() {
        println!("one {:?} {}", one::features(), cfg!(debug_assertions));
        for argument in std::env::args().skip(1) { println!("given {argument}"); }
    }
    //- /one/src/bin/side.rs
    fn main() { println!("side {:?}", one::features()); }
    //- /one/examples/sample.rs
    fn main() { println!("sample {:?}", one::features()); }
    //- /two/Cargo.toml
    [package]
    name = "two"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    library = { path = "../library" }
    //- /two/src/main.rs
    fn main() { println!("two {}", library::SIZE); }
    //- /library/Cargo.toml
    [package]
    name = "library"
    version = "0.1.0"
    edition = "2024"
    //- /library/src/lib.rs
    pub const SIZE: usize = 2;
"#;

/// The programs in a directory of final outputs, by name.
fn programs(directory: &Path) -> BTreeSet<String> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let metadata = entry.metadata().expect("an output can be looked at");
            metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Builds with both and compares crates compiled, programs left, and what they print.
fn assert_as_cargo(env: &Env, project: &Project, profile: &str, flags: &[&str]) {
    // A home of its own, so that nothing is a hit.
    let env = env.sibling();
    let checkout = env.copy(project);
    let vx = env.build_with(&checkout, flags);
    let before = env.toolchain().compiles().len();
    let cargo = env.cargo_build(&checkout, profile, flags);
    assert_eq!(
        vx.compiles,
        env.compiled_since(before),
        "{flags:?}: vx's compilers beside cargo's"
    );
    for (inner, label) in [("", "programs"), ("examples", "examples")] {
        let ours = checkout.output(profile, inner);
        let theirs = cargo.join(inner);
        let names: BTreeSet<String> =
            // Cargo leaves a second name with a hash beside each example.
            programs(&theirs).into_iter().filter(|name| !name.contains('-')).collect();
        assert_eq!(programs(&ours), names, "{flags:?}: {label}");
        for name in names {
            vx_harness::assert_same_behaviour(
                &ours.join(&name),
                &theirs.join(&name),
                checkout.path(),
                &[&[]],
            );
        }
    }
}

#[test]
fn packages_and_targets() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    let selections: [&[&str]; 9] = [
        &[],
        &["-p", "two"],
        &["--workspace"],
        &["--workspace", "--exclude", "two"],
        &["--bin", "side"],
        &["--bins"],
        &["--lib"],
        &["--example", "sample"],
        &["--examples"],
    ];
    for flags in selections {
        assert_as_cargo(&env, &project, "debug", flags);
    }
}

#[test]
fn features() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    let selections: [&[&str]; 4] = [
        &["-F", "extra"],
        &["--no-default-features"],
        &["--all-features"],
        &[
            "--no-default-features",
            "--features",
            "one/extra",
            "-p",
            "one",
        ],
    ];
    for flags in selections {
        assert_as_cargo(&env, &project, "debug", flags);
    }
}

#[test]
fn profiles() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    assert_as_cargo(&env, &project, "release", &["--release"]);
    assert_as_cargo(&env, &project, "release", &["--profile", "release"]);
    assert_as_cargo(&env, &project, "quick", &["--profile", "quick"]);
}

#[test]
fn from_elsewhere_by_the_manifests_path() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    let manifest = project.join("two/Cargo.toml");
    let manifest = manifest.to_str().expect("an environment's paths are text");
    let _ = env
        .vx(env.root(), &["build", "--manifest-path", manifest])
        .success();
    assert!(project.output("debug", "two").is_file());
    // And from within a member, as cargo finds it.
    project.remove(".vx");
    let _ = env.vx(project.join("two/src"), &["build"]).success();
    assert_eq!(
        programs(&project.output("debug", "")),
        BTreeSet::from(["two".to_owned()])
    );
}

#[test]
fn run_runs_the_right_program() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    let run = env.vx(&project, &["run", "--", "--a", "b c"]).success();
    assert_eq!(run.stdout, "one [true, false] true\ngiven --a\ngiven b c\n");
    let run = env
        .vx(&project, &["run", "--bin", "side", "--no-default-features"])
        .success();
    assert_eq!(run.stdout, "side [false, false]\n");
    let run = env
        .vx(&project, &["run", "-p", "two", "--release"])
        .success();
    assert_eq!(run.stdout, "two 2\n");
    project.write("one/src/main.rs", "fn main() { std::process::exit(37) }\n");
    let _ = env.vx(&project, &["run"]).code(37);
}

#[test]
fn clean_removes_what_was_left_and_nothing_is_built_again() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    let _ = env.build(&project);
    let _ = env.vx(&project, &["clean"]).success();
    assert!(!project.output("debug", "one").exists());
    env.build(&project).assert_nothing();
    assert!(project.output("debug", "one").is_file());
}

#[test]
fn keep_going_builds_what_can_be_built() {
    let env = Env::new();
    let project = env.project(WORKSPACE);
    project.write("two/src/main.rs", "fn main() { broken }\n");
    project.write(
        "library/src/lib.rs",
        "pub const SIZE: usize = 2; fn unused() {}\n",
    );
    let run = env
        .vx(&project, &["build", "--workspace", "--keep-going"])
        .code(101);
    assert_eq!(run.report().totals.failed, 1, "{run}");
    assert!(project.output("debug", "one").is_file(), "{run}");
}
