//! The variables cargo sets for a compile and for the run of a build script.

use std::collections::BTreeMap;

use vx_core::places;

use crate::build_output::BuildOutput;
use crate::command::{in_dir, plain_path, said};
use crate::invocation::CompileInputs;
use crate::model::{Package, Plan, TargetKind, Unit};
use crate::needs::own_build_script;
use crate::outputs::{deps_dir, out_dir, profile_dir};

type Env = BTreeMap<String, String>;

/// Where build scripts and macros look for cargo.
const CARGO: &str = "/vx/toolchain/bin/cargo";
const RUSTDOC: &str = "/vx/toolchain/bin/rustdoc";

/// `NUM_JOBS` is no fact of a build: a constant that lets `make -j` overlap on any machine.
/// The executor may put another number there; it is not keyed.
const NUM_JOBS: &str = "4";

/// Variables of a compile.
pub(crate) fn of_compile(plan: &Plan, unit: usize, inputs: &CompileInputs) -> Env {
    let this = &plan.units[unit];
    let package = &plan.packages[this.package];
    let mut env = of_package(package);
    let mut libraries = vec![deps_dir(plan, None)];
    libraries.extend(plugin_dirs(plan, this, inputs));
    set(&mut env, "LD_LIBRARY_PATH", libraries.join(":"));
    set(&mut env, "CARGO_CRATE_NAME", this.target.crate_name());
    if this.target.is_executable() {
        set(&mut env, "CARGO_BIN_NAME", &this.target.name);
    }
    add_passed_on(plan, &mut env);
    if let Some(run) = own_build_script(plan, this) {
        set(&mut env, "OUT_DIR", out_dir(plan, run));
    }
    if matches!(this.target.kind, TargetKind::Test | TargetKind::Bench) {
        set(
            &mut env,
            "CARGO_TARGET_TMPDIR",
            format!("{}/tmp", places::TARGET),
        );
    }
    let script = own_build_script(plan, this).and_then(|run| said(plan, inputs, run));
    for (name, value) in script.into_iter().flat_map(|output| &output.env) {
        set(&mut env, name, value);
    }
    env
}

/// Variables of a build script's run.
pub(crate) fn of_run(plan: &Plan, unit: usize, inputs: &CompileInputs) -> Env {
    let this = &plan.units[unit];
    let package = &plan.packages[this.package];
    let platform = plan.platform(this);
    let mut env = of_package(package);
    let mut libraries = vec![
        profile_dir(plan, None),
        deps_dir(plan, None),
        format!("{}/lib/rustlib/{}/lib", places::TOOLCHAIN, plan.host),
    ];
    libraries.extend(plugin_dirs(plan, this, inputs));
    set(&mut env, "LD_LIBRARY_PATH", libraries.join(":"));
    add_passed_on(plan, &mut env);

    set(&mut env, "OUT_DIR", out_dir(plan, unit));
    set(&mut env, "NUM_JOBS", NUM_JOBS);
    set(&mut env, "TARGET", &platform.triple);
    set(&mut env, "HOST", &plan.host);
    set(
        &mut env,
        "DEBUG",
        (this.profile.debuginfo != "0").to_string(),
    );
    set(&mut env, "OPT_LEVEL", &this.profile.opt_level);
    set(
        &mut env,
        "PROFILE",
        if this.profile.is_release {
            "release"
        } else {
            "debug"
        },
    );
    set(&mut env, "RUSTC", plan.compiler.rustc());
    let wrappers = [
        ("RUSTC_WRAPPER", &plan.compiler.wrapper),
        ("RUSTC_WORKSPACE_WRAPPER", &plan.compiler.workspace_wrapper),
    ];
    for (name, wrapper) in wrappers {
        if let Some(wrapper) = wrapper {
            set(&mut env, name, wrapper);
        }
    }
    set(&mut env, "RUSTDOC", RUSTDOC);
    set(
        &mut env,
        "CARGO_ENCODED_RUSTFLAGS",
        this.rustflags.join("\x1f"),
    );
    if let Some(linker) = &platform.linker {
        set(&mut env, "RUSTC_LINKER", linker);
    }
    if let Some(links) = &package.links {
        set(&mut env, "CARGO_MANIFEST_LINKS", links);
    }
    for feature in &this.features {
        set(&mut env, &format!("CARGO_FEATURE_{}", envify(feature)), "1");
    }
    add_cfgs(this, &platform.cfg, &mut env);
    add_metadata_of_dependencies(plan, this, inputs, &mut env);
    env
}

fn set(env: &mut Env, name: &str, value: impl Into<String>) {
    env.insert(name.to_owned(), value.into());
}

/// Cargo's spelling of names in variables.
fn envify(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn of_package(package: &Package) -> Env {
    let mut env: Env = package.metadata_env.iter().cloned().collect();
    let (numbers, pre) = split_version(&package.version);
    let mut numbers = numbers.split('.');
    for part in ["MAJOR", "MINOR", "PATCH"] {
        set(
            &mut env,
            &format!("CARGO_PKG_VERSION_{part}"),
            numbers.next().unwrap_or_default(),
        );
    }
    set(&mut env, "CARGO_PKG_VERSION_PRE", pre);
    set(&mut env, "CARGO_PKG_VERSION", &package.version);
    set(&mut env, "CARGO_PKG_NAME", &package.name);
    set(&mut env, "CARGO", CARGO);
    set(&mut env, "CARGO_MANIFEST_DIR", &package.dir);
    set(
        &mut env,
        "CARGO_MANIFEST_PATH",
        format!("{}/Cargo.toml", package.dir),
    );
    env
}

fn split_version(version: &str) -> (&str, &str) {
    let version = version.split('+').next().unwrap_or_default();
    version.split_once('-').unwrap_or((version, ""))
}

/// Variables beside `LD_*` by which the C library finds what it opens, whatever the program.
const OF_C_LIBRARY: [&str; 3] = ["GCONV_PATH", "LOCPATH", "NLSPATH"];

/// Whether variables that the configuration or a build script sets have files loaded into a
/// compiler, which it tells nobody of.
pub fn loads_by_variables(plan: &Plan, inputs: &CompileInputs) -> bool {
    let scripts = inputs.build_outputs.values();
    let set = scripts.flat_map(|output| &output.env).chain(&plan.env);
    let mut names = set.map(|(name, _)| name.as_str());
    names.any(|name| name.starts_with("LD_") || OF_C_LIBRARY.contains(&name))
}

/// What cargo has set by then stands.
fn add_passed_on(plan: &Plan, env: &mut Env) {
    for (name, value) in &plan.env {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// Directories in which build scripts of host dependencies made dynamic libraries.
fn plugin_dirs(plan: &Plan, this: &Unit, inputs: &CompileInputs) -> Vec<String> {
    let root = profile_dir(plan, None);
    let outputs = this
        .plugin_scripts
        .iter()
        .filter_map(|run| said(plan, inputs, *run));
    outputs
        .flat_map(|output| &output.library_paths)
        .filter(|path| in_dir(path, &root))
        .map(|path| plain_path(path).to_owned())
        .collect()
}

/// rustc does not know the profile, so what it says of debug assertions is not asked.
fn add_cfgs(this: &Unit, cfgs: &[String], env: &mut Env) {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    values.insert(
        "feature",
        this.features.iter().map(String::as_str).collect(),
    );
    if this.profile.debug_assertions {
        values.insert("debug_assertions", Vec::new());
    }
    for cfg in cfgs.iter().filter(|cfg| *cfg != "debug_assertions") {
        match cfg.split_once('=') {
            Some((name, value)) => values
                .entry(name)
                .or_default()
                .push(value.trim_matches('"')),
            None => {
                values.insert(cfg, Vec::new());
            }
        }
    }
    for (name, values) in values {
        set(
            env,
            &format!("CARGO_CFG_{}", envify(name)),
            values.join(","),
        );
    }
}

fn add_metadata_of_dependencies(plan: &Plan, this: &Unit, inputs: &CompileInputs, env: &mut Env) {
    for dep in &this.deps {
        let links = plan.packages[plan.units[dep.unit].package].links.as_ref();
        let (Some(links), Some(output)) = (links, said_of_run(plan, inputs, dep.unit)) else {
            continue;
        };
        for (key, value) in &output.metadata {
            set(
                env,
                &format!("DEP_{}_{}", envify(links), envify(key)),
                value,
            );
        }
    }
}

fn said_of_run<'a>(
    plan: &'a Plan,
    inputs: &'a CompileInputs,
    unit: usize,
) -> Option<&'a BuildOutput> {
    (plan.units[unit].mode == crate::model::Mode::RunBuildScript)
        .then(|| said(plan, inputs, unit))
        .flatten()
}
