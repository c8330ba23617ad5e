//! Asking the toolchain's cargo, and rustc about platforms; all side by side.

use std::collections::BTreeMap;

use crate::cargo_json::{Metadata, UNIT_GRAPH_VERSION, UnitGraph};
use crate::compiler::{self, Compiler};
use crate::config::Value;
use crate::error::PlanError;
use crate::flags;
use crate::locate::Workspace;
use crate::model::Platform;
use crate::paths::text;
use crate::process::{self, Printed, run, tool_env, without_status};
use crate::request::PlanRequest;
use crate::toolchain::joined;

/// Makes cargo alone believe that it is a nightly, so that it prints its unit graph; rustc
/// does not know this variable.
const ALLOW_UNSTABLE: (&str, &str) = ("__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS", "nightly");

/// What cargo said.
pub(crate) struct Answers {
    pub(crate) metadata: Metadata,
    pub(crate) graph: UnitGraph,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) messages: Vec<String>,
}

/// Runs cargo twice, side by side: plainly, for its refusals, its downloads and packages; and
/// for the unit graph. The second must not change the lock file, so where the first had to,
/// it is asked again.
pub(crate) fn ask(
    request: &PlanRequest,
    workspace: &Workspace,
    compiler: &Compiler,
    overrides: &[String],
) -> Result<Answers, PlanError> {
    let targets = flags::requested_targets(request, workspace)?;
    let env = cargo_env(request, workspace, compiler);
    let lock = workspace.root.join("Cargo.lock");
    std::thread::scope(|scope| {
        let platforms = scope.spawn(|| platforms(request, workspace, compiler, &targets));
        let early = workspace
            .host
            .exists(&lock)
            .then(|| scope.spawn(|| unit_graph(request, workspace, &env, overrides, true)));
        let metadata = ask_metadata(request, workspace, &env, &targets);
        let early = early.map(joined);
        let metadata = metadata?;
        let (graph, stderr) = match early {
            Some(Ok(answer)) => answer,
            _ => unit_graph(request, workspace, &env, overrides, false)?,
        };
        Ok(Answers {
            metadata,
            graph,
            platforms: joined(platforms)?,
            messages: placeless(workspace, &stderr),
        })
    })
}

/// The environment for cargo. It asks rustc through the user's wrappers, as for a build; those that
/// only cache are left out, as for a compile.
fn cargo_env(
    request: &PlanRequest,
    workspace: &Workspace,
    compiler: &Compiler,
) -> BTreeMap<String, String> {
    let mut env = tool_env(&request.env);
    let wrappers = [
        (compiler::WRAPPER, &compiler.wrapper),
        (compiler::WORKSPACE_WRAPPER, &compiler.workspace_wrapper),
    ];
    for ((variable, key), used) in wrappers {
        if used.is_none() && compiler::asked(request, workspace, variable, key).is_some() {
            // Empty is cargo's way of saying none, whatever the configuration says.
            env.insert(variable.to_owned(), String::new());
        }
    }
    if compiler.others().next().is_some() || !workspace.toolchain.rustc_is_plain {
        // Cargo would take what such a program said before, by the time of its file.
        env.insert("CARGO_CACHE_RUSTC_INFO".to_owned(), "0".to_owned());
    } else if let Some(directory) = &workspace.rustc_info
        && workspace.toolchain.has_build_dir()
        && !flags::may_name_files(request, workspace)
    {
        // Cargo uses this directory for nothing else while it plans.
        env.insert("CARGO_BUILD_BUILD_DIR".to_owned(), directory.clone());
    }
    env
}

/// Cargo's messages without the host's paths, and in an order that is the same every time.
fn placeless(workspace: &Workspace, stderr: &str) -> Vec<String> {
    let mut messages: Vec<String> = process::messages(stderr)
        .iter()
        .map(|message| workspace.message_without_place(message))
        .collect();
    messages.sort();
    messages
}

fn platforms(
    request: &PlanRequest,
    workspace: &Workspace,
    compiler: &Compiler,
    targets: &[String],
) -> Result<Vec<Platform>, PlanError> {
    std::thread::scope(|scope| {
        let others: Vec<_> = targets
            .iter()
            .map(|target| {
                scope.spawn(|| flags::platform(request, workspace, compiler, targets, Some(target)))
            })
            .collect();
        let mut platforms = vec![flags::platform(
            request, workspace, compiler, targets, None,
        )?];
        for other in others {
            platforms.push(joined(other)?);
        }
        Ok(platforms)
    })
}

fn ask_metadata(
    request: &PlanRequest,
    workspace: &Workspace,
    env: &BTreeMap<String, String>,
    targets: &[String],
) -> Result<Metadata, PlanError> {
    let mut args = strings(&["metadata", "--format-version", "1"]);
    args.extend(cargo_args(request, workspace)?);
    args.extend(request.selection.lock_args());
    // Otherwise packages for every platform would be downloaded, which a build does not do.
    for target in std::iter::once(&workspace.toolchain.host).chain(targets) {
        args.extend(["--filter-platform".to_owned(), target.clone()]);
    }
    let printed = run(
        &workspace.host,
        &workspace.toolchain.cargo,
        &args,
        &workspace.cwd,
        env,
    )?;
    let printed = accepted("cargo metadata", printed)?;
    serde_json::from_slice(&printed.stdout).map_err(|e| PlanError::malformed("`cargo metadata`", e))
}

fn unit_graph(
    request: &PlanRequest,
    workspace: &Workspace,
    env: &BTreeMap<String, String>,
    overrides: &[String],
    early: bool,
) -> Result<(UnitGraph, String), PlanError> {
    let mut args = strings(&["build", "--unit-graph", "-Z", "unstable-options"]);
    args.extend(cargo_args(request, workspace)?);
    args.extend(request.selection.build_args());
    args.extend(overrides.iter().cloned());
    args.push("--locked".to_owned());
    if early || request.selection.offline || request.selection.frozen {
        // Downloads are for the other cargo to do.
        args.push("--offline".to_owned());
    }
    let mut env = env.clone();
    if !workspace.toolchain.is_nightly() {
        env.insert(ALLOW_UNSTABLE.0.to_owned(), ALLOW_UNSTABLE.1.to_owned());
    }
    let printed = accepted(
        "cargo build",
        run(
            &workspace.host,
            &workspace.toolchain.cargo,
            &args,
            &workspace.cwd,
            &env,
        )?,
    )?;
    Ok((parse_graph(&printed.stdout)?, printed.stderr))
}

/// The version comes first: of another one, nothing else is known.
fn parse_graph(json: &[u8]) -> Result<UnitGraph, PlanError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    let what = "`cargo build --unit-graph`";
    let Versioned { version } =
        serde_json::from_slice(json).map_err(|e| PlanError::malformed(what, e))?;
    if version != UNIT_GRAPH_VERSION {
        return Err(PlanError::UnitGraphVersion {
            found: version,
            known: UNIT_GRAPH_VERSION,
        });
    }
    serde_json::from_slice(json).map_err(|e| PlanError::malformed(what, e))
}

fn cargo_args(request: &PlanRequest, workspace: &Workspace) -> Result<Vec<String>, PlanError> {
    let mut selection = request.selection.clone();
    if selection.manifest_path.is_some() {
        text(&workspace.manifest)?;
        selection.manifest_path = Some(workspace.manifest.clone());
    }
    Ok(selection.common_args())
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn accepted(command: &str, printed: Printed) -> Result<Printed, PlanError> {
    if printed.success {
        return Ok(printed);
    }
    let stderr = without_status(&printed.stderr);
    Err(PlanError::Cargo {
        command: command.to_owned(),
        stderr,
        code: printed.code,
    })
}

/// `[unstable]` tables sleep in a stable cargo and would wake up in one that prints its unit
/// graph. Booleans can be switched off again; anything else can't be cleared.
pub(crate) fn unstable_overrides(workspace: &Workspace) -> Result<Vec<String>, PlanError> {
    let Some(Value::Table(table)) = workspace.config.get(&["unstable"]) else {
        return Ok(Vec::new());
    };
    let mut args = Vec::new();
    for (key, value) in table {
        let on = match value {
            Value::Scalar {
                value: toml::Value::Boolean(on),
                ..
            } => *on,
            _ => return Err(unstable_key(key, workspace)),
        };
        if on && workspace.toolchain.is_nightly() {
            return Err(unstable_key(key, workspace));
        }
        args.extend(["--config".to_owned(), format!("unstable.{key}=false")]);
    }
    Ok(args)
}

fn unstable_key(key: &str, workspace: &Workspace) -> PlanError {
    let place = workspace
        .config
        .files
        .iter()
        .map(|file| file.display().to_string())
        .next();
    PlanError::Unsupported {
        what: format!(
            "`unstable.{key}` in cargo's configuration ({})",
            place.unwrap_or_default()
        ),
        advice: "remove it, or build with cargo".to_owned(),
    }
}
