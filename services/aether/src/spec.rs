//! From a unit whose dependencies are there to what the executor is asked to run.

use std::collections::{BTreeMap, BTreeSet};

use vx_core::action::{
    ActionSpec, CheckoutMode, CheckoutMount, Collect, CollectForm, FileInput, MessageFormat,
    PackageInput, TreeInput,
};
use vx_core::{Digest, places};
use vx_plan::{CompileInputs, Declared, Mode, PackageRoot, Plan, TargetKind};

use crate::context::BuildContext;
use crate::dependency::Used;
use crate::environment;
use crate::graph::{Need, Role};
use crate::payload::OUT_DIR;
use crate::session::Session;
use crate::sources::SourceError;

/// A unit's action and the archives it needs.
pub(crate) struct Prepared {
    /// What to run.
    pub(crate) spec: ActionSpec,
    /// Names of all variables that were set by vx or cargo, not learned.
    pub(crate) given: BTreeSet<String>,
    /// Packed packages among the inputs.
    pub(crate) archives: BTreeSet<Digest>,
}

/// Where an action finds the checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckoutPlace {
    /// At [`places::CHECKOUT`], so that it can't learn where the checkout is.
    Fixed,
    /// Where it really is: for what took its path in. The path is part of the key.
    Real,
}

impl CheckoutPlace {
    /// The path in the isolation root, for a checkout that is at `host`.
    pub(crate) fn at(self, host: &str) -> &str {
        match self {
            Self::Fixed => places::CHECKOUT,
            Self::Real => host,
        }
    }
}

/// Makes a unit's action, with what is used of its dependencies.
///
/// # Errors
/// When sources of a package can't be put into the store.
pub(crate) async fn prepare(
    context: &BuildContext,
    session: &dyn Session,
    unit: usize,
    used: &[(Need, Used)],
    learned: &BTreeMap<String, String>,
    place: CheckoutPlace,
) -> Result<Prepared, SourceError> {
    let plan = &context.plan;
    let this = &plan.units[unit];
    let package = &plan.packages[this.package];
    let host_checkout = context.places.checkout.to_string_lossy().into_owned();
    let mut inputs = CompileInputs {
        checkout: (place == CheckoutPlace::Real).then(|| host_checkout.clone()),
        ..CompileInputs::default()
    };
    for (need, used) in used {
        if let Used::Run { output, .. } = used {
            inputs.build_outputs.insert(need.unit, (**output).clone());
        }
    }
    let invocation = match this.mode {
        Mode::Compile => vx_plan::compile(plan, unit, &inputs),
        Mode::RunBuildScript => vx_plan::run_build_script(plan, unit, &inputs),
    };
    let allowed = match this.mode {
        Mode::RunBuildScript => environment::allowed(&context.env),
        Mode::Compile => Vec::new(),
    };
    let given = invocation
        .env
        .keys()
        .cloned()
        .chain(allowed.iter().map(|(name, _)| name.clone()))
        .chain(
            environment::FIXED
                .iter()
                .map(|(name, _)| (*name).to_owned()),
        )
        .collect();

    let mut packages = Vec::new();
    let mut archives = BTreeSet::new();
    for index in visible_packages(plan, unit) {
        let (Some(source), Some(place)) = (
            context.package_sources.get(&index),
            package_place(&plan.packages[index].root),
        ) else {
            continue;
        };
        if packages
            .iter()
            .any(|input: &PackageInput| input.at == place)
        {
            continue;
        }
        let archive = context.shared.sources.ensure(session, source).await?;
        archives.insert(archive);
        packages.push(PackageInput {
            at: place,
            archive,
            format: source.format(),
        });
    }

    let local = matches!(package.root, PackageRoot::Checkout { .. });
    let unisolated = context.unisolated();
    let mut declared = declared(plan, unit);
    if local && this.mode == Mode::RunBuildScript {
        declared
            .paths
            .extend(context.places.repository.iter().cloned());
    }
    let spec = ActionSpec {
        label: format!(
            "{} {} ({})",
            package.name, package.version, this.target.name
        ),
        argv: invocation.argv,
        env: environment::whole(invocation.env, &allowed, learned),
        cwd: invocation.cwd,
        toolchain: context.places.sysroot.to_string_lossy().into_owned(),
        checkout: local.then(|| CheckoutMount {
            at: place.at(&host_checkout).to_owned(),
            host: host_checkout.clone(),
            hidden: context.places.hidden.clone(),
            mode: match this.mode {
                Mode::Compile => CheckoutMode::ReadOnly,
                Mode::RunBuildScript => CheckoutMode::PrivateLayer,
            },
        }),
        packages,
        files: files(used),
        trees: trees(context, used),
        collect: vec![collect(context, unit)],
        messages: match this.mode {
            Mode::Compile => MessageFormat::RustcJson,
            Mode::RunBuildScript => MessageFormat::Plain,
        },
        marker: if local && place == CheckoutPlace::Fixed {
            places::CHECKOUT.to_owned()
        } else {
            String::new()
        },
        // Without a root of its own a compiler finds what it is not given too.
        trace: unisolated.is_some() || runs_foreign_code(plan, unit) || bundles(&inputs),
        host_paths: declared.paths,
        network: declared.network,
        base: unisolated.map_or_else(String::new, |places| places.base.clone()),
    };
    Ok(Prepared {
        spec,
        given,
        archives,
    })
}

/// Packages whose sources an action sees: its own, and for a build script's run those the
/// script was built of, as some of them find their own files again when they run.
pub(crate) fn visible_packages(plan: &Plan, unit: usize) -> BTreeSet<usize> {
    let mut packages = BTreeSet::from([plan.units[unit].package]);
    if let Some(program) = vx_plan::needs(plan, unit).build_script_binary {
        let linked = vx_plan::needs(plan, program).rlib;
        packages.extend(linked.into_iter().map(|unit| plan.units[unit].package));
    }
    packages
}

/// Where a package is mounted, unless it is part of the checkout.
fn package_place(root: &PackageRoot) -> Option<String> {
    match root {
        PackageRoot::Checkout { .. } => None,
        PackageRoot::Archive { place, .. } | PackageRoot::Tree { place, .. } => Some(place.clone()),
    }
}

fn files(used: &[(Need, Used)]) -> Vec<FileInput> {
    let mut inputs = BTreeMap::new();
    for (need, used) in used {
        let Used::Files(files) = used else { continue };
        for file in files {
            inputs.insert(
                file.place.clone(),
                FileInput {
                    at: file.place.clone(),
                    digest: file.blob.digest,
                    size: file.blob.size,
                    executable: need.role == Role::Program,
                },
            );
        }
    }
    inputs.into_values().collect()
}

fn trees(context: &BuildContext, used: &[(Need, Used)]) -> Vec<TreeInput> {
    used.iter()
        .filter_map(|(need, used)| match used {
            Used::Run {
                out_dir: Some(tree),
                ..
            } => Some(TreeInput {
                at: vx_plan::out_dir(&context.plan, need.unit),
                tree: *tree,
            }),
            _ => None,
        })
        .collect()
}

fn collect(context: &BuildContext, unit: usize) -> Collect {
    match context.plan.units[unit].mode {
        Mode::Compile => Collect {
            at: places::OUT.to_owned(),
            form: CollectForm::Files,
        },
        Mode::RunBuildScript => Collect {
            at: vx_plan::out_dir(&context.plan, unit),
            form: CollectForm::Tree {
                name: OUT_DIR.to_owned(),
            },
        },
    }
}

/// Whether a build script has a compile look for native libraries: rustc says nothing of what
/// it bundles.
fn bundles(inputs: &CompileInputs) -> bool {
    inputs
        .build_outputs
        .values()
        .any(|output| !output.library_links.is_empty() || !output.library_paths.is_empty())
}

/// What of its package's declarations an action gets: files where it runs foreign code,
/// variables where that code is the package's or a macro's, the network for a build script.
pub(crate) fn declared(plan: &Plan, unit: usize) -> Declared {
    let this = &plan.units[unit];
    let declared = &plan.packages[this.package].declared;
    let runs_script = this.mode == Mode::RunBuildScript;
    let runs_code = runs_script || !vx_plan::needs(plan, unit).dylib.is_empty();
    let list = |given: bool, list: &Vec<String>| if given { list.clone() } else { Vec::new() };
    Declared {
        env: list(runs_code, &declared.env),
        paths: list(runs_foreign_code(plan, unit), &declared.paths),
        network: runs_script && declared.network,
    }
}

/// Whether an action runs code that is not the toolchain's, or links: what it reads is only
/// known by watching.
pub(crate) fn runs_foreign_code(plan: &Plan, unit: usize) -> bool {
    let this = &plan.units[unit];
    this.mode == Mode::RunBuildScript
        || this.links()
        || this.target.kind == TargetKind::BuildScript
        || !vx_plan::needs(plan, unit).dylib.is_empty()
}
