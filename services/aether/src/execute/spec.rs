//! From a unit whose dependencies are there to what the executor is asked to run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use vx_core::action::{
    ActionSpec, CheckoutMode, CheckoutMount, Collect, CollectForm, FileInput, MessageFormat,
    PackageInput, TreeInput, Watch,
};
use vx_core::readset::TakenIn;
use vx_core::{Digest, places};
use vx_plan::{CompileInputs, Mode};

use crate::build::context::BuildContext;
use crate::build::layout;
use crate::build::sources::{Source, SourceError};
use crate::graph::environment;
use crate::graph::visible;
use crate::graph::visible::runs_foreign_code;
use crate::graph::{Need, Role};
use crate::inputs::dependency::Used;
use crate::inputs::payload::Held;
use crate::inputs::payload::OUT_DIR;
use crate::inputs::real_places::{
    RealPlaces, held_by_programs, markers, package_place, sees_checkout,
};
use crate::inputs::shown::shown_of_host;
use crate::session::Session;

/// A unit's action and the archives it needs.
pub(crate) struct Prepared {
    /// What to run.
    pub(crate) spec: ActionSpec,
    /// Names of all variables that were set by vx or cargo, not learned.
    pub(crate) given: BTreeSet<String>,
    /// Packed packages among the inputs.
    pub(crate) archives: BTreeSet<Digest>,
    /// What each of its markers stands for.
    pub(crate) looks_for: Vec<TakenIn>,
}

/// Makes a unit's action, with what is used of its dependencies, and what it has where that
/// really is.
///
/// # Errors
/// When sources of a package can't be put into the store, or are not where they have to be.
pub(crate) async fn prepare(
    context: &BuildContext,
    session: &dyn Session,
    unit: usize,
    used: &[(Need, Used)],
    learned: &BTreeMap<String, String>,
    taken: TakenIn,
) -> Result<Prepared, SourceError> {
    let plan = &context.plan;
    let this = &plan.units[unit];
    let package = &plan.packages[this.package];
    let real = RealPlaces::of(context, unit, used, taken);
    let mut inputs = CompileInputs {
        moved: real.moved(),
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

    let held = held_by_programs(used);
    let packages = packages(
        context,
        session,
        shown_packages(context, unit, &real, &held),
    )
    .await?;
    let archives = packages.iter().map(|package| package.archive).collect();

    let (looks_for, markers) = markers(context, unit, taken).into_iter().unzip();
    let unisolated = context.unisolated();
    let trees = trees(context, unit, used, &real, &held);
    let spec = ActionSpec {
        label: format!(
            "{} {} ({})",
            package.name, package.version, this.target.name
        ),
        argv: invocation.argv,
        env: environment::whole(invocation.env, &allowed, learned),
        cwd: invocation.cwd,
        toolchain: context.places.sysroot.to_string_lossy().into_owned(),
        checkout: sees_checkout(context, unit).then(|| checkout(context, this.mode, &real)),
        real_places: shown_places(context, &packages, &trees)?,
        packages,
        files: files(used),
        trees,
        collect: vec![collect(context, unit)],
        messages: match this.mode {
            Mode::Compile => MessageFormat::RustcJson,
            Mode::RunBuildScript => MessageFormat::Plain,
        },
        markers,
        watch: watch(context, unit, &inputs),
        host_paths: shown_of_host(context, unit),
        network: visible::declared(plan, unit).network,
        base: unisolated.map_or_else(String::new, |places| places.base.clone()),
    };
    Ok(Prepared {
        spec,
        given,
        archives,
        looks_for,
    })
}

/// Packages as inputs, which the store has then.
async fn packages(
    context: &BuildContext,
    session: &dyn Session,
    shown: BTreeMap<String, &Source>,
) -> Result<Vec<PackageInput>, SourceError> {
    let mut packages = Vec::with_capacity(shown.len());
    for (at, source) in shown {
        let archive = context
            .sources
            .ensure(session, source, &context.stat_cache, &context.places)
            .await?;
        packages.push(PackageInput {
            at,
            archive,
            format: source.format(),
        });
    }
    Ok(packages)
}

/// The checkout as an action finds it.
fn checkout(context: &BuildContext, mode: Mode, real: &RealPlaces) -> CheckoutMount {
    CheckoutMount {
        at: match &real.checkout {
            Some(moved) => moved.real.clone(),
            None => places::CHECKOUT.to_owned(),
        },
        host: context.places.checkout.to_string_lossy().into_owned(),
        hidden: context.places.hidden.clone(),
        mode: match mode {
            Mode::Compile => CheckoutMode::ReadOnly,
            Mode::RunBuildScript => CheckoutMode::PrivateLayer,
        },
    }
}

/// Packages whose sources an action sees, each with its place: its own, and those that what it
/// runs looks for where they really are.
fn shown_packages<'a>(
    context: &'a BuildContext,
    unit: usize,
    real: &RealPlaces,
    held: &[&Held],
) -> BTreeMap<String, &'a Source> {
    let plan = &context.plan;
    let source = |index: usize| context.package_sources.get(&index);
    let mut shown = BTreeMap::new();
    for &index in &context.graph.visible[unit] {
        let place = package_place(&plan.packages[index].root);
        if let (Some(place), Some(source)) = (place, source(index)) {
            shown.insert(real.of_place(place), source);
        }
    }
    for one in held {
        let Held::Package { place, at, .. } = one else {
            continue;
        };
        let has_place = |index: &usize| {
            package_place(&plan.packages[*index].root).as_deref() == Some(place.as_str())
        };
        if let Some(source) = (0..plan.packages.len()).find(has_place).and_then(source) {
            shown.insert(at.clone(), source);
        }
    }
    shown
}

/// Places of the host's in whose stead an action finds inputs.
fn shown_places(
    context: &BuildContext,
    packages: &[PackageInput],
    trees: &[TreeInput],
) -> Result<Vec<String>, SourceError> {
    let is_real = |at: &str| places::below(at, places::ROOT).is_none();
    let mut shown = Vec::new();
    for package in packages.iter().filter(|package| is_real(&package.at)) {
        let path = PathBuf::from(&package.at);
        if !path.is_dir() {
            return Err(SourceError::Unpacked { path });
        }
        shown.push(package.at.clone());
    }
    if trees.iter().any(|tree| is_real(&tree.at)) {
        shown.push(
            layout::own_directory(context)
                .to_string_lossy()
                .into_owned(),
        );
    }
    Ok(shown)
}

fn files(used: &[(Need, Used)]) -> Vec<FileInput> {
    let mut inputs = BTreeMap::new();
    for (need, used) in used {
        let Used::Files { files, .. } = used else {
            continue;
        };
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

fn trees(
    context: &BuildContext,
    unit: usize,
    used: &[(Need, Used)],
    real: &RealPlaces,
    held: &[&Held],
) -> Vec<TreeInput> {
    let mut trees = BTreeMap::new();
    for (need, used) in used {
        if let Used::Run {
            out_dir: Some(tree),
            ..
        } = used
        {
            let place = vx_plan::out_dir(&context.plan, need.unit);
            let at = real.of_place(place);
            trees.insert(at, (*tree, context.watches(unit, *need)));
        }
    }
    for one in held {
        if let Held::OutDir { at, tree } = one {
            trees.insert(at.clone(), (*tree, false));
        }
    }
    trees
        .into_iter()
        .map(|(at, (tree, watched))| TreeInput { at, tree, watched })
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

/// What of a unit's looks at paths is to be known. What sees the checkout is watched: the compiler
/// names what it includes, but not what its assembler does, nor where it looked in vain. A compile
/// of an immutable package reads what is given by digest.
fn watch(context: &BuildContext, unit: usize, inputs: &CompileInputs) -> Watch {
    let plan = &context.plan;
    // Without a root of its own a compiler finds what it is not given too.
    if context.unisolated().is_some()
        || runs_foreign_code(plan, unit)
        || vx_plan::is_wrapped(plan, unit)
        || vx_plan::flags_read_files(plan, unit)
        || bundles(inputs)
        || vx_plan::loads_by_variables(plan, inputs)
        || !context.places.named.is_empty()
        || sees_checkout(context, unit)
    {
        Watch::Everything
    } else {
        Watch::Nothing
    }
}

/// Whether a build script has a compile look for native libraries: rustc says nothing of what
/// it bundles.
fn bundles(inputs: &CompileInputs) -> bool {
    let mut outputs = inputs.build_outputs.values();
    outputs.any(vx_plan::BuildOutput::names_libraries)
}
