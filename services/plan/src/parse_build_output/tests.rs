//! Every directive once, and what is refused.

use super::*;
use crate::model::{PackageRoot, PackageTarget, PlanPath};

fn package(rust_version: Option<&str>) -> Package {
    let target = |name: &str, kind| PackageTarget {
        name: name.to_owned(),
        kind,
    };
    Package {
        name: "p".to_owned(),
        version: "1.0.0".to_owned(),
        id: "p".to_owned(),
        root: PackageRoot::Checkout { dir: String::new() },
        dir: "/vx/the-checkout-at-its-fixed-place".to_owned(),
        is_local: true,
        is_member: true,
        is_primary: true,
        links: None,
        features: Vec::new(),
        targets: vec![
            target("p", TargetKind::Bin),
            target("p-lib", TargetKind::Lib(vec!["lib".to_owned()])),
        ],
        rust_version: rust_version.map(str::to_owned),
        default_run: None,
        lint_flags: Vec::new(),
        metadata_env: Vec::new(),
        declared: crate::Declared::default(),
        found_at: PlanPath::Checkout(String::new()),
    }
}

fn read(text: &str) -> Result<BuildOutput, BuildScriptError> {
    parse(&package(None), false, text.as_bytes())
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn every_directive() {
    let output = read(
        "noise\ncargo:rustc-flags=-L /a -lb -L/c\n  cargo::rustc-link-lib=static=x\ncargo:rustc-link-search=native=/d \n\
         cargo::rustc-link-arg=-s\ncargo:rustc-link-arg-bins=-b\ncargo::rustc-link-arg-bin=p=-p\n\
         cargo:rustc-cfg=feature=\"f\"\ncargo::rustc-check-cfg=cfg(y)\ncargo:rustc-env=K=V=W\n\
         cargo::metadata=include=/i\ncargo:root=/r\ncargo:rerun-if-changed=build.rs\n\
         cargo::rerun-if-env-changed=CC\ncargo:warning=careful\ncargo::error=broken\n",
    )
    .unwrap();
    assert_eq!(output.library_paths, ["/a", "/c", "native=/d"]);
    assert_eq!(output.library_links, ["b", "static=x"]);
    assert_eq!(
        output.linker_args,
        [
            (LinkArgTarget::All, "-s".to_owned()),
            (LinkArgTarget::Bin, "-b".to_owned()),
            (LinkArgTarget::SingleBin("p".to_owned()), "-p".to_owned())
        ]
    );
    assert_eq!(output.cfgs, ["feature=\"f\""]);
    assert_eq!(output.check_cfgs, ["cfg(y)"]);
    assert_eq!(output.env, owned(&[("K", "V=W")]));
    assert_eq!(output.metadata, owned(&[("include", "/i"), ("root", "/r")]));
    assert_eq!(output.rerun_if_changed, ["build.rs"]);
    assert_eq!(output.rerun_if_env_changed, ["CC"]);
    assert_eq!(
        (output.warnings, output.errors),
        (vec!["careful".to_owned()], vec!["broken".to_owned()])
    );
}

#[test]
fn what_cargo_refuses() {
    assert!(matches!(
        read("cargo::nonsense=1"),
        Err(BuildScriptError::Invalid { .. })
    ));
    assert!(matches!(
        read("cargo::metadata"),
        Err(BuildScriptError::Invalid { .. })
    ));
    assert!(matches!(
        read("cargo:no-value"),
        Err(BuildScriptError::Invalid { .. })
    ));
    assert!(matches!(
        read("cargo::rustc-flags=-O"),
        Err(BuildScriptError::Flags { .. })
    ));
    assert!(matches!(
        read("cargo::rustc-flags=-l"),
        Err(BuildScriptError::NoValue { .. })
    ));
    assert!(matches!(
        read("cargo::rustc-env=A"),
        Err(BuildScriptError::NoValue { .. })
    ));
    assert!(matches!(
        read("cargo::rustc-link-arg-tests=-s"),
        Err(BuildScriptError::Instruction { .. })
    ));
    assert!(matches!(
        read("cargo::rustc-link-arg-bin=q=-s"),
        Err(BuildScriptError::Instruction { .. })
    ));
    assert!(matches!(
        read("cargo::rustc-env=RUSTC_BOOTSTRAP=1"),
        Err(BuildScriptError::Bootstrap { .. })
    ));
    let old = package(Some("1.70"));
    assert!(matches!(
        parse(&old, false, b"cargo::warning=x"),
        Err(BuildScriptError::TooNew { .. })
    ));
    assert!(parse(&old, false, b"cargo:warning=x").is_ok());
    assert!(parse(&package(Some("1.77.1")), false, b"cargo::warning=x").is_ok());
}

#[test]
fn a_cdylib_argument_without_cdylib_is_a_warning() {
    let output = read("cargo:rustc-cdylib-link-arg=-x").unwrap();
    assert_eq!(
        output.linker_args,
        [(LinkArgTarget::Cdylib, "-x".to_owned())]
    );
    assert_eq!(output.warnings.len(), 1);
}

#[test]
fn of_a_failed_run_only_messages_count() {
    let output = parse_failed_output(b"cargo:rustc-cfg=x\ncargo:warning=w\ncargo::error=e\n");
    assert_eq!(
        (
            output.warnings.len(),
            output.errors.len(),
            output.cfgs.len()
        ),
        (1, 1, 0)
    );
}
