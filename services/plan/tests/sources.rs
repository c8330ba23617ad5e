//! Packages from elsewhere: a git repository with several packages, build scripts that the
//! configuration replaces, shared libraries; again held against cargo.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{cargo, compare, execute, planned, request, write_project};
use vx_plan::{PackageRoot, Selection};

const REPOSITORY: &str = "\
//- Cargo.toml
[workspace]
members = ['one', 'two']
[workspace.lints.rust]
unused_mut = 'allow'
//- one/Cargo.toml
[package]
name = 'one'
version = '0.1.0'
edition = '2021'
[dependencies]
two = { path = '../two' }
[lints]
workspace = true
//- one/src/lib.rs
pub fn one() -> u32 { two::two() - 1 }
//- two/Cargo.toml
[package]
name = 'two'
version = '0.1.0'
edition = '2021'
//- two/build.rs
fn main() { println!(\"cargo::rustc-env=SHARED={}\", include_str!(\"../shared.txt\").trim()); }
//- two/src/lib.rs
pub fn two() -> u32 { env!(\"SHARED\").parse().unwrap() }
//- shared.txt
2
";

fn git(dir: &Path, args: &[&str]) -> bool {
    let identity = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "init.defaultBranch=main",
    ];
    Command::new("git")
        .args(identity)
        .args(args)
        .current_dir(dir)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn compare_with_cargo(
    dir: &Path,
    root: &Path,
    selection: Selection,
    cargo_home: Option<&Path>,
) -> support::Planned {
    let mut request = request(root, selection);
    if let Some(home) = cargo_home {
        request
            .env
            .insert("CARGO_HOME".to_owned(), home.to_str().unwrap().to_owned());
    }
    let planned = planned(request);
    let executed = execute::execute(&planned, &dir.join("ours"));
    let (plain_target, verbose_target) = (dir.join("theirs"), dir.join("verbose"));
    let plain = cargo::build(&planned, &plain_target, "-v");
    let verbose = cargo::build(&planned, &verbose_target, "-vv");
    let report = compare::differences(
        &planned,
        &executed,
        &plain,
        &verbose,
        &plain_target,
        &verbose_target,
    );
    assert!(report.is_empty(), "{report}");
    planned
}

#[test]
fn a_git_repository_is_one_tree() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    write_project(&repository, REPOSITORY);
    let made = git(&repository, &["init"])
        && git(&repository, &["add", "."])
        && git(&repository, &["commit", "-m", "x"]);
    if !made {
        eprintln!("skipped: there is no git");
        return;
    }
    let text = format!(
        "//- Cargo.toml\n[package]\nname = 'app'\nversion = '1.0.0'\nedition = '2021'\n[dependencies]\n\
         one = {{ git = 'file://{}' }}\n//- src/main.rs\nfn main() {{ assert_eq!(one::one(), 1); }}\n",
        repository.display()
    );
    std::fs::create_dir(dir.path().join("app")).unwrap();
    let root = write_project(&dir.path().join("app"), &text);
    let home = dir.path().join("cargo-home");
    let planned = compare_with_cargo(dir.path(), &root, Selection::default(), Some(&home));
    let one = planned
        .plan
        .packages
        .iter()
        .find(|package| package.name == "one")
        .unwrap();
    match &one.root {
        PackageRoot::Tree {
            source,
            place,
            subdir,
        } => {
            assert!(source.starts_with("git+file://"));
            assert!(place.ends_with("/repository"), "{place}");
            assert_eq!(subdir, "one");
        }
        other => panic!("{other:?}"),
    }
    assert!(one.lint_flags.contains(&"--allow=unused_mut".to_owned()));
}

const OVERRIDDEN: &str = "\
//- Cargo.toml
[package]
name = 'app'
version = '1.0.0'
edition = '2021'
[dependencies]
shared = { path = 'shared' }
x-sys = { path = 'x-sys' }
[lints.rust]
unexpected_cfgs = { level = 'allow', priority = 3 }
//- .cargo/config.toml
[build]
rustflags = ['--cfg', 'all']
[target.TRIPLE.x]
rustc-link-search = ['native=/usr/lib']
rustc-cfg = ['replaced']
rustc-env = { SAID = 'by configuration' }
root = '/usr'
[target.TRIPLE]
linker = 'tools/linker'
//- tools/linker
#!/bin/sh
exec cc \"$@\"
//- src/main.rs
fn main() { println!(\"{} {}\", shared::name(), x_sys::SAID) }
//- shared/Cargo.toml
[package]
name = 'shared'
version = '1.0.0'
edition = '2021'
[lib]
crate-type = ['dylib']
//- shared/src/lib.rs
pub fn name() -> &'static str { \"shared\" }
//- x-sys/Cargo.toml
[package]
name = 'x-sys'
version = '1.0.0'
edition = '2021'
links = 'x'
//- x-sys/build.rs
fn main() { panic!() }
//- x-sys/src/lib.rs
#[cfg(replaced)]
pub const SAID: &str = env!(\"SAID\");
";

#[test]
fn configuration_in_the_stead_of_a_build_script() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app");
    std::fs::create_dir(&app).unwrap();
    let probe = planned(request(
        &write_project(
            &app,
            "//- Cargo.toml\n[package]\nname = 'p'\nedition = '2021'\n//- src/lib.rs\n",
        ),
        Selection::default(),
    ));
    let root = write_project(&app, &OVERRIDDEN.replace("TRIPLE", &probe.plan.host));
    std::fs::remove_file(root.join("src/lib.rs")).unwrap();
    std::fs::remove_file(root.join("Cargo.lock")).unwrap();
    make_executable(&root.join("tools/linker"));
    let planned = compare_with_cargo(dir.path(), &root, Selection::default(), None);
    let linker = planned.plan.platforms[0].linker.as_deref();
    assert_eq!(
        linker,
        Some("/vx/the-checkout-at-its-fixed-place/tools/linker")
    );
    let softens = |planned: &vx_plan::Plan| {
        let links = |unit: &vx_plan::Unit| unit.links() && unit.target.is_executable();
        let unit = planned.units.iter().position(links).unwrap();
        let soft = vx_plan::soft_env(planned, unit);
        soft.iter().any(|(name, _)| name == "CARGO_PKG_DESCRIPTION")
    };
    assert!(!softens(&planned.plan), "the user's linker may read it");
    let mut plain = planned.plan.clone();
    plain.platforms[0].linker = None;
    assert!(softens(&plain), "the host's does not");
    let main = plain.units.iter_mut().find(|unit| unit.links()).unwrap();
    main.rustflags.push("-Clink-arg=-fuse-ld=mold".to_owned());
    assert!(!softens(&plain), "what a linker is told to run may read it");
    assert!(
        planned
            .plan
            .units
            .iter()
            .any(|unit| unit.overridden.is_some())
    );
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
