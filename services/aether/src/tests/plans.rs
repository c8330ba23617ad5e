//! Plans made by hand: crates that depend on one another, in one checkout.

use vx_plan::{
    Lto, Mode, Package, PackageRoot, Plan, PlanPath, Platform, Profile, Target, TargetKind, Unit,
    UnitDep,
};

/// One crate of a test's workspace and the crates it depends on.
pub(crate) struct Crate {
    pub(crate) name: &'static str,
    pub(crate) kind: TargetKind,
    pub(crate) needs: &'static [&'static str],
}

/// A library.
pub(crate) fn library(name: &'static str, needs: &'static [&'static str]) -> Crate {
    let kind = TargetKind::Lib(vec!["lib".to_owned()]);
    Crate { name, kind, needs }
}

/// A program.
pub(crate) fn program(name: &'static str, needs: &'static [&'static str]) -> Crate {
    let kind = TargetKind::Bin;
    Crate { name, kind, needs }
}

/// The plan of a workspace of `crates`, each after those it needs; the last one is asked for.
pub(crate) fn plan(crates: &[Crate]) -> Plan {
    let index = |name: &str| {
        crates
            .iter()
            .position(|one| one.name == name)
            .expect("a crate of the test")
    };
    let units = crates
        .iter()
        .enumerate()
        .map(|(package, one)| Unit {
            package,
            target: Target {
                name: one.name.to_owned(),
                kind: one.kind.clone(),
                src: format!("{}/src/lib.rs", one.name),
                edition: "2024".to_owned(),
                test: true,
                doctest: true,
            },
            mode: Mode::Compile,
            profile: profile(),
            platform: None,
            features: Vec::new(),
            deps: one
                .needs
                .iter()
                .map(|need| UnitDep {
                    unit: index(need),
                    extern_name: (*need).to_owned(),
                    public: false,
                    noprelude: false,
                })
                .collect(),
            lto: Lto::OnlyObject,
            rustflags: Vec::new(),
            identity: format!("{package:016x}"),
            metadata: format!("{package:016x}"),
            hashed_names: true,
            link_scripts: Vec::new(),
            plugin_scripts: Vec::new(),
            overridden: None,
        })
        .collect();
    Plan {
        version: vx_plan::PLAN_VERSION,
        workspace_dir: String::new(),
        packages: crates.iter().map(package).collect(),
        units,
        roots: vec![crates.len() - 1],
        profile: "dev".to_owned(),
        profile_dir: "debug".to_owned(),
        host: "x86_64-unknown-linux-gnu".to_owned(),
        rustc_version: "rustc 1.95.0".to_owned(),
        platforms: vec![platform()],
        env: Vec::new(),
        target_dir: None,
        compiler: vx_plan::Compiler::default(),
        env_inputs: Vec::new(),
        messages: Vec::new(),
    }
}

fn package(one: &Crate) -> Package {
    Package {
        name: one.name.to_owned(),
        version: "0.1.0".to_owned(),
        id: one.name.to_owned(),
        root: PackageRoot::Checkout {
            dir: one.name.to_owned(),
        },
        dir: format!("/vx/the-checkout-at-its-fixed-place/{}", one.name),
        is_local: true,
        is_member: true,
        is_primary: true,
        links: None,
        features: Vec::new(),
        targets: Vec::new(),
        rust_version: None,
        default_run: None,
        lint_flags: Vec::new(),
        metadata_env: Vec::new(),
        declared: vx_plan::Declared::default(),
        found_at: PlanPath::Checkout(one.name.to_owned()),
    }
}

fn profile() -> Profile {
    Profile {
        name: "dev".to_owned(),
        is_release: false,
        opt_level: "0".to_owned(),
        lto: "false".to_owned(),
        codegen_backend: None,
        codegen_units: None,
        debuginfo: "2".to_owned(),
        split_debuginfo: None,
        debug_assertions: true,
        overflow_checks: true,
        rpath: false,
        incremental: false,
        panic: "unwind".to_owned(),
        strip: None,
        rustflags: Vec::new(),
    }
}

fn platform() -> Platform {
    let names = [("bin", "", ""), ("rlib", "lib", ".rlib")];
    Platform {
        target: None,
        triple: "x86_64-unknown-linux-gnu".to_owned(),
        cfg: Vec::new(),
        split_debuginfo: Vec::new(),
        file_names: names
            .iter()
            .map(|(kind, prefix, suffix)| {
                (
                    (*kind).to_owned(),
                    (*prefix).to_owned(),
                    (*suffix).to_owned(),
                )
            })
            .collect(),
        rustflags: Vec::new(),
        linker: None,
    }
}
