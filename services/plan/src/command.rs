//! The command line of a compile.
//!
//! The order of arguments is cargo's: a test compares them. Ours are the paths, the hashes
//! and the remaps alone.

use vx_core::places;

use crate::build_output::{BuildOutput, LinkArgTarget};
use crate::environment;
use crate::invocation::{CompileInputs, Invocation, at_real_places};
use crate::model::{Lto, Mode, Package, Plan, TargetKind, Unit, UnitDep};
use crate::needs::own_build_script;
use crate::outputs::{deps_dir, out_dir, outputs};
use crate::paths::join;
use crate::remap::{of_out_dir, remaps};

/// rustc in an isolation root.
pub(crate) const RUSTC: &str = "/vx/toolchain/bin/rustc";

/// The compile of a unit.
pub fn compile(plan: &Plan, unit: usize, inputs: &CompileInputs) -> Invocation {
    let this = &plan.units[unit];
    debug_assert_eq!(this.mode, Mode::Compile, "a run is `run_build_script`'s");
    let mut argv = plan.compiler.start(&plan.packages[this.package]);
    base_args(plan, unit, inputs, &mut argv);
    dependency_args(plan, this, &mut argv);
    let package = &plan.packages[this.package];
    if !package.is_local {
        push(&mut argv, &["--cap-lints", "allow"]);
    }
    // Before the user's flags, so that a remap of theirs comes last and wins.
    argv.extend(remaps(plan, package));
    argv.extend(moved_out_dir(plan, this, inputs));
    argv.extend(this.rustflags.iter().cloned());
    build_script_args(plan, unit, inputs, &mut argv);

    let invocation = Invocation {
        argv,
        env: environment::of_compile(plan, unit, inputs),
        cwd: working_dir(plan, this, package),
    };
    at_real_places(invocation, &inputs.moved)
}

/// The remap of an `OUT_DIR` that is where it really is: outputs name its files as they do
/// otherwise. It comes after the checkout's, which may hold it.
fn moved_out_dir(plan: &Plan, this: &Unit, inputs: &CompileInputs) -> Option<String> {
    let place = out_dir(plan, own_build_script(plan, this)?);
    inputs.moves(&place).then(|| of_out_dir(&place))
}

/// The workspace root for what lies below it, else the package's directory.
fn working_dir(plan: &Plan, this: &Unit, package: &Package) -> String {
    if package.is_local && !this.target.src.starts_with('/') {
        join(places::CHECKOUT, &plan.workspace_dir)
    } else {
        package.dir.clone()
    }
}

fn push(argv: &mut Vec<String>, args: &[&str]) {
    argv.extend(args.iter().map(|arg| (*arg).to_owned()));
}

fn codegen(argv: &mut Vec<String>, option: impl Into<String>) {
    argv.push("-C".to_owned());
    argv.push(option.into());
}

fn base_args(plan: &Plan, unit: usize, inputs: &CompileInputs, argv: &mut Vec<String>) {
    let this = &plan.units[unit];
    let package = &plan.packages[this.package];
    let target = &this.target;
    push(argv, &["--crate-name", &target.crate_name()]);
    argv.push(format!("--edition={}", target.edition));
    argv.push(target.src.clone());
    push(
        argv,
        &[
            "--error-format=json",
            "--json=diagnostic-rendered-ansi,artifacts,future-incompat",
        ],
    );
    for crate_type in target.crate_types() {
        push(argv, &["--crate-type", crate_type]);
    }
    let pipelined = !this.requires_upstream_objects();
    argv.push(
        if pipelined {
            "--emit=dep-info,metadata,link"
        } else {
            "--emit=dep-info,link"
        }
        .to_owned(),
    );
    profile_args(plan, this, package, argv);
    feature_args(plan, this, package, argv);
    codegen(argv, format!("metadata={}", this.metadata));
    if this.hashed_names {
        codegen(argv, format!("extra-filename=-{}", this.identity));
    }
    if this.profile.rpath {
        codegen(argv, "rpath");
    }
    push(argv, &["--out-dir", places::OUT]);
    if let Some(triple) = &this.platform {
        push(argv, &["--target", triple]);
    }
    if let Some(linker) = &plan.platform(this).linker {
        codegen(argv, format!("linker={linker}"));
    }
    if let Some(dir) = inputs
        .incremental
        .as_ref()
        .filter(|_| this.profile.incremental)
    {
        codegen(argv, format!("incremental={dir}"));
    }
    if let Some(strip) = &this.profile.strip {
        codegen(argv, format!("strip={strip}"));
    }
}

fn profile_args(plan: &Plan, this: &Unit, package: &Package, argv: &mut Vec<String>) {
    let profile = &this.profile;
    let target = &this.target;
    let makes_dylib = target.crate_types().contains(&"dylib");
    if target.is_proc_macro() || (makes_dylib && !package.is_primary) {
        codegen(argv, "prefer-dynamic");
    }
    if profile.opt_level != "0" {
        codegen(argv, format!("opt-level={}", profile.opt_level));
    }
    if profile.panic != "unwind" {
        codegen(argv, format!("panic={}", profile.panic));
    }
    if profile.panic == "immediate-abort" {
        push(argv, &["-Z", "unstable-options"]);
    }
    lto_args(&this.lto, argv);
    if let Some(backend) = &profile.codegen_backend {
        push(argv, &["-Z", &format!("codegen-backend={backend}")]);
    }
    if let Some(count) = profile.codegen_units {
        codegen(argv, format!("codegen-units={count}"));
    }
    if profile.debuginfo != "0" {
        codegen(argv, format!("debuginfo={}", profile.debuginfo));
        if let Some(split) = &profile.split_debuginfo
            && plan.platform(this).split_debuginfo.contains(split)
        {
            codegen(argv, format!("split-debuginfo={split}"));
        }
    }
    lint_args(plan, package, argv);
    argv.extend(profile.rustflags.iter().cloned());
    check_args(this, argv);
}

/// An older cargo knows no `check-cfg` in lints either.
fn lint_args(plan: &Plan, package: &Package, argv: &mut Vec<String>) {
    let known = checks_cfgs(plan);
    let mut flags = package.lint_flags.iter();
    while let Some(flag) = flags.next() {
        if flag == "--check-cfg" && !known {
            flags.next();
            continue;
        }
        argv.push(flag.clone());
    }
}

fn lto_args(lto: &Lto, argv: &mut Vec<String>) {
    match lto {
        Lto::Run(None) => codegen(argv, "lto"),
        Lto::Run(Some(kind)) => codegen(argv, format!("lto={kind}")),
        Lto::Off => {
            codegen(argv, "lto=off");
            codegen(argv, "embed-bitcode=no");
        }
        Lto::ObjectAndBitcode => {}
        Lto::OnlyBitcode => codegen(argv, "linker-plugin-lto"),
        Lto::OnlyObject => codegen(argv, "embed-bitcode=no"),
    }
}

/// Only what differs from rustc's own choice for the optimisation level is said.
fn check_args(this: &Unit, argv: &mut Vec<String>) {
    let profile = &this.profile;
    let by_default = profile.opt_level == "0";
    let word = |on: bool| if on { "on" } else { "off" };
    if profile.debug_assertions != by_default {
        codegen(
            argv,
            format!("debug-assertions={}", word(profile.debug_assertions)),
        );
    }
    if profile.overflow_checks != profile.debug_assertions {
        codegen(
            argv,
            format!("overflow-checks={}", word(profile.overflow_checks)),
        );
    }
}

fn feature_args(plan: &Plan, this: &Unit, package: &Package, argv: &mut Vec<String>) {
    for feature in &this.features {
        push(argv, &["--cfg", &format!("feature=\"{feature}\"")]);
    }
    if !checks_cfgs(plan) {
        return;
    }
    let declared: Vec<String> = package
        .features
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    let declared = format!("cfg(feature, values({}))", declared.join(", "));
    push(
        argv,
        &["--check-cfg", "cfg(docsrs,test)", "--check-cfg", &declared],
    );
}

/// `--check-cfg` is stable since Rust 1.80; an older rustc refuses it.
fn checks_cfgs(plan: &Plan) -> bool {
    let release = plan
        .rustc_version
        .lines()
        .find_map(|line| line.strip_prefix("release: "));
    let mut numbers = release
        .unwrap_or_default()
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (1, 80)
}

fn dependency_args(plan: &Plan, this: &Unit, argv: &mut Vec<String>) {
    let mut search = |platform: Option<&str>| {
        push(
            argv,
            &["-L", &format!("dependency={}", deps_dir(plan, platform))],
        );
    };
    search(this.platform.as_deref());
    if this.platform.is_some() {
        search(None);
    }
    let mut has_options = false;
    for dep in &this.deps {
        has_options |= extern_args(plan, this, dep, argv);
    }
    if this.target.is_proc_macro() {
        push(argv, &["--extern", "proc_macro"]);
    }
    if has_options {
        push(argv, &["-Z", "unstable-options"]);
    }
}

/// Names a dependency's file; says whether that took an unstable option.
fn extern_args(plan: &Plan, this: &Unit, dep: &UnitDep, argv: &mut Vec<String>) -> bool {
    let other = &plan.units[dep.unit];
    if other.mode != Mode::Compile || !other.target.is_linkable() {
        return false;
    }
    // `priv:` belongs to an unstable manifest feature, which stable cargo refuses before.
    let options = if dep.noprelude { "noprelude:" } else { "" };
    let metadata_only = !this.requires_upstream_objects() && !other.requires_upstream_objects();
    for file in outputs(plan, dep.unit) {
        let wanted = match file.kind {
            crate::OutputKind::Rmeta => metadata_only,
            kind => kind.is_linkable() && !metadata_only,
        };
        if wanted {
            push(
                argv,
                &[
                    "--extern",
                    &format!("{options}{}={}", dep.extern_name, file.place),
                ],
            );
        }
    }
    dep.noprelude
}

/// What a run of a build script said, or the configuration in its place.
pub(crate) fn said<'a>(
    plan: &'a Plan,
    inputs: &'a CompileInputs,
    run: usize,
) -> Option<&'a BuildOutput> {
    plan.units[run]
        .overridden
        .as_ref()
        .or_else(|| inputs.build_outputs.get(&run))
}

fn build_script_args(plan: &Plan, unit: usize, inputs: &CompileInputs, argv: &mut Vec<String>) {
    let this = &plan.units[unit];
    let outputs: Vec<(usize, &BuildOutput)> = this
        .link_scripts
        .iter()
        .filter_map(|run| said(plan, inputs, *run).map(|output| (*run, output)))
        .collect();
    // Directories that scripts filled come before the system's, each in order.
    let paths = |own: bool| {
        outputs.iter().flat_map(move |(run, output)| {
            let dir = out_dir(plan, *run);
            output
                .library_paths
                .iter()
                .filter(move |path| in_dir(path, &dir) == own)
        })
    };
    for path in paths(true).chain(paths(false)) {
        push(argv, &["-L", path]);
    }
    for (run, output) in &outputs {
        let own = plan.units[*run].package == this.package;
        link_args(plan, this, own, output, argv);
    }
    if let Some(output) = own_build_script(plan, this).and_then(|run| said(plan, inputs, run)) {
        for cfg in &output.cfgs {
            push(argv, &["--cfg", cfg]);
        }
        for cfg in &output.check_cfgs {
            push(argv, &["--check-cfg", cfg]);
        }
    }
}

fn link_args(plan: &Plan, this: &Unit, own: bool, output: &BuildOutput, argv: &mut Vec<String>) {
    // A program beside a library gets the library's `-l` through it.
    let has_library = plan.packages[this.package]
        .targets
        .iter()
        .any(|target| matches!(target.kind, TargetKind::Lib(_)));
    if own && (this.target.is_lib() || !has_library) {
        for name in &output.library_links {
            push(argv, &["-l", name]);
        }
    }
    for (target, arg) in &output.linker_args {
        if applies(target, this) && (own || *target == LinkArgTarget::Cdylib) {
            codegen(argv, format!("link-arg={arg}"));
        }
    }
}

fn applies(to: &LinkArgTarget, this: &Unit) -> bool {
    let kind = &this.target.kind;
    match to {
        LinkArgTarget::All => true,
        LinkArgTarget::Cdylib => {
            this.target.is_lib() && this.target.crate_types().contains(&"cdylib")
        }
        LinkArgTarget::Bin => *kind == TargetKind::Bin,
        LinkArgTarget::SingleBin(name) => *kind == TargetKind::Bin && this.target.name == *name,
        LinkArgTarget::Test => *kind == TargetKind::Test,
        LinkArgTarget::Bench => *kind == TargetKind::Bench,
        LinkArgTarget::Example => *kind == TargetKind::ExampleBin,
    }
}

/// A search path without its kind.
pub(crate) fn plain_path(path: &str) -> &str {
    match path.split_once('=') {
        Some(("native" | "crate" | "dependency" | "framework" | "all", path)) => path,
        _ => path,
    }
}

pub(crate) fn in_dir(path: &str, dir: &str) -> bool {
    std::path::Path::new(plain_path(path)).starts_with(dir)
}
