//! From a request to a plan: cargo is asked, and what it says is put together.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ask::{Answers, ask, unstable_overrides};
use crate::compiler::Compiler;
use crate::config::{Config, Value};
use crate::error::PlanError;
use crate::identity::name_units;
use crate::locate::{Workspace, read_manifest};
use crate::lto;
use crate::model::{Mode, PLAN_VERSION, Plan};
use crate::overrides;
use crate::packages::{Checksums, package};
use crate::paths::text;
use crate::request::{PlanRequest, plan_env};
use crate::units::{Making, spread_build_scripts, unit};

/// Variables of the user's that change what rustc does and that cargo passes on.
const HEEDED_BY_RUSTC: &[&str] = &["RUSTC_BOOTSTRAP", "RUSTC_FORCE_RUSTC_VERSION"];

/// Asks cargo what it would build.
pub fn plan(request: &PlanRequest, workspace: &Workspace) -> Result<Plan, PlanError> {
    let mut notes = Vec::new();
    let compiler = Compiler::of(request, workspace, &mut notes)?;
    let overrides = unstable_overrides(workspace)?;
    let answers = ask(request, workspace, &compiler, &overrides)?;
    let mut plan = assemble(request, workspace, answers, compiler)?;
    plan.messages.splice(0..0, notes);
    Ok(plan)
}

/// What cargo had to say, with this host's paths: [`Plan::messages`] has none.
pub fn messages(workspace: &Workspace, plan: &Plan) -> Vec<String> {
    let messages = plan.messages.iter();
    messages
        .map(|message| workspace.message_in_place(message))
        .collect()
}

/// A plan for people and tests to read: all of it but what it depends on.
pub fn describe(plan: &Plan) -> serde_json::Value {
    let mut value = serde_json::to_value(plan)
        .expect("strings, numbers, lists and maps of strings always serialise");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("env_inputs");
    }
    value
}

/// The part of a memo's key that is known without cargo: what was selected, where in the
/// checkout, with which variables and which toolchain.
pub fn memo_static(request: &PlanRequest, workspace: &Workspace) -> Vec<u8> {
    #[derive(Serialize)]
    struct Static<'a> {
        version: u32,
        selection: crate::Selection,
        manifest: String,
        root: String,
        cwd: String,
        env: BTreeMap<String, String>,
        rustc: &'a str,
        cargo: &'a str,
        /// Found by the caller's `PATH`, which is no part of `env`.
        compiler: Option<Compiler>,
    }
    let within = |path: &Path| {
        let path = path.strip_prefix(&workspace.checkout).unwrap_or(path);
        path.to_string_lossy().into_owned()
    };
    let compiler = Compiler::of(request, workspace, &mut Vec::new()).ok();
    // A program of the user's that stands before rustc, or for cargo, may heed any variable.
    let foreign = compiler
        .as_ref()
        .is_none_or(|compiler| compiler.others().next().is_some())
        || !workspace.toolchain.cargo_is_plain
        || !workspace.toolchain.rustc_is_plain;
    let statics = Static {
        version: PLAN_VERSION,
        selection: crate::Selection {
            manifest_path: None,
            ..request.selection.clone()
        },
        manifest: within(&workspace.manifest),
        root: within(&workspace.root),
        cwd: within(&workspace.cwd),
        env: if foreign {
            request.env.clone()
        } else {
            plan_env(&request.env)
        },
        rustc: &workspace.toolchain.rustc_version,
        cargo: &workspace.toolchain.cargo_version,
        compiler,
    };
    serde_json::to_vec(&statics).expect("strings, flags and maps of strings always serialise")
}

fn assemble(
    request: &PlanRequest,
    workspace: &Workspace,
    answers: Answers,
    compiler: Compiler,
) -> Result<Plan, PlanError> {
    let Answers {
        metadata,
        graph,
        platforms,
        messages,
    } = answers;
    let _ = workspace
        .target
        .set(metadata.target_directory.clone().into());
    let root = Path::new(&metadata.workspace_root);
    if root != workspace.root {
        return Err(PlanError::malformed(
            "`cargo metadata`",
            format!(
                "the workspace root is `{}`, not `{}`",
                root.display(),
                workspace.root.display()
            ),
        ));
    }
    let primary: Vec<&str> = graph
        .roots
        .iter()
        .map(|root| graph.units[*root].pkg_id.as_str())
        .collect();
    let known: HashMap<&str, usize> = metadata
        .packages
        .iter()
        .enumerate()
        .map(|(index, package)| (package.id.as_str(), index))
        .collect();
    let checksums = Checksums::read(&workspace.host, &workspace.root)?;
    let mut indices: HashMap<String, usize> = HashMap::new();
    let mut packages = Vec::new();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for found in &graph.units {
        if indices.contains_key(&found.pkg_id) {
            continue;
        }
        let of = known
            .get(found.pkg_id.as_str())
            .map(|index| &metadata.packages[*index]);
        let of = of.ok_or_else(|| {
            PlanError::malformed(
                "`cargo metadata`",
                format!("package `{}` is missing", found.pkg_id),
            )
        })?;
        indices.insert(found.pkg_id.clone(), packages.len());
        let is_primary = primary.contains(&found.pkg_id.as_str());
        packages.push(package(workspace, &metadata, &checksums, of, is_primary)?);
        dirs.push(
            Path::new(&of.manifest_path)
                .parent()
                .unwrap_or(Path::new("/"))
                .to_owned(),
        );
    }

    let is_release = descends_of_release(request.selection.profile_name(), workspace);
    let making = Making {
        workspace,
        packages: &packages,
        dirs: &dirs,
        is_release,
    };
    let mut units = Vec::with_capacity(graph.units.len());
    for found in graph.units {
        let package = indices[&found.pkg_id];
        let platform = platforms
            .iter()
            .find(|platform| platform.target == found.platform);
        let flags = platform
            .map(|platform| platform.rustflags.clone())
            .ok_or_else(|| PlanError::Unsupported {
                what: format!(
                    "platform `{}`, which was not asked for,",
                    found.platform.as_deref().unwrap_or("host")
                ),
                advice: "build with cargo".to_owned(),
            })?;
        units.push(unit(&making, found, package, flags)?);
    }
    for unit in units
        .iter_mut()
        .filter(|unit| unit.mode == Mode::RunBuildScript)
    {
        unit.overridden = overrides::of_package(workspace, unit, &packages[unit.package])?;
    }
    lto::decide(&mut units, &graph.roots);
    spread_build_scripts(&mut units, &packages);
    name_units(&mut units, &packages, &workspace.toolchain.rustc_version);

    let env = passed_on(request, workspace)?;
    let profile = request.selection.profile_name().to_owned();
    let workspace_dir = text(
        workspace
            .root
            .strip_prefix(&workspace.checkout)
            .unwrap_or(Path::new("")),
    )?;
    let target_dir = Path::new(&metadata.target_directory).strip_prefix(&workspace.checkout);
    Ok(Plan {
        version: PLAN_VERSION,
        workspace_dir: workspace_dir.to_owned(),
        roots: graph.roots,
        profile_dir: profile_dir(&profile).to_owned(),
        profile,
        host: workspace.toolchain.host.clone(),
        rustc_version: workspace.toolchain.rustc_version.clone(),
        platforms,
        compiler,
        env_inputs: workspace.config.tables_and_keys(&["env"]),
        env,
        target_dir: target_dir.ok().map(text).transpose()?.map(str::to_owned),
        messages,
        packages,
        units,
    })
}

/// Cargo's names of directories.
fn profile_dir(profile: &str) -> &str {
    match profile {
        "dev" | "test" => "debug",
        "bench" => "release",
        other => other,
    }
}

/// Follows `inherits` to one of the two profiles everything descends of.
fn descends_of_release(profile: &str, workspace: &Workspace) -> bool {
    let table = read_manifest(&workspace.host, &workspace.root.join("Cargo.toml"));
    let mut name = profile.to_owned();
    // Cargo has refused a circle already; the bound is for the case that it had not.
    for _ in 0..64 {
        match name.as_str() {
            "release" | "bench" => return true,
            "dev" | "test" => return false,
            _ => {}
        }
        let in_manifest = table
            .get("profile")
            .and_then(|profiles| profiles.get(&name));
        let in_manifest = in_manifest.and_then(|profile| profile.get("inherits")?.as_str());
        let inherited = workspace.config.string(&["profile", &name, "inherits"]);
        match inherited.or_else(|| in_manifest.map(str::to_owned)) {
            Some(parent) => name = parent,
            None => return false,
        }
    }
    false
}

/// Variables for every process: those of the user's that rustc heeds, and the `[env]` tables.
fn passed_on(
    request: &PlanRequest,
    workspace: &Workspace,
) -> Result<Vec<(String, String)>, PlanError> {
    let heeded = HEEDED_BY_RUSTC.iter().filter_map(|name| {
        request
            .env
            .get(*name)
            .map(|value| ((*name).to_owned(), value.clone()))
    });
    let mut pairs: BTreeMap<String, String> = heeded.collect();
    for (name, value) in workspace.config.env_table()? {
        pairs.insert(name, workspace.fixed(&value));
    }
    Ok(pairs.into_iter().collect())
}

impl Config {
    fn tables_and_keys(&self, path: &[&str]) -> Vec<String> {
        match self.get(path) {
            Some(Value::Table(table)) => table.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }
}
