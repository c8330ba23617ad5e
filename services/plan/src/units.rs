//! Cargo's units, made into the plan's.

use std::cmp::Ordering;
use std::collections::HashMap;

use vx_core::places;

use crate::cargo_json::{GraphProfile, GraphTarget, GraphUnit};
use crate::error::PlanError;
use crate::locate::Workspace;
use crate::model::{Lto, Mode, Package, Profile, Target, TargetKind, Unit, UnitDep};
use crate::packages::target_kind;
use crate::paths::{join, text};

/// What units are made with.
pub(crate) struct Making<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) packages: &'a [Package],
    /// Host directories of the packages.
    pub(crate) dirs: &'a [std::path::PathBuf],
    pub(crate) is_release: bool,
}

/// Makes a unit; what depends on the whole graph is filled in later.
pub(crate) fn unit(
    making: &Making<'_>,
    found: GraphUnit,
    package: usize,
    rustflags: Vec<String>,
) -> Result<Unit, PlanError> {
    let mode = match found.mode.as_str() {
        "build" => Mode::Compile,
        "run-custom-build" => Mode::RunBuildScript,
        other => return Err(unsupported(&format!("a unit of mode `{other}`"))),
    };
    if found.is_std {
        return Err(unsupported("building the standard library"));
    }
    let target = target(making, &found.target, package)?;
    Ok(Unit {
        package,
        hashed_names: has_hashed_names(
            &target,
            &making.packages[package],
            found.platform.as_deref(),
        ),
        target,
        mode,
        profile: profile(found.profile, making.is_release)?,
        platform: found.platform,
        features: found.features,
        deps: found
            .dependencies
            .into_iter()
            .map(|dep| UnitDep {
                unit: dep.index,
                extern_name: dep.extern_crate_name,
                public: dep.public,
                noprelude: dep.noprelude,
            })
            .collect(),
        lto: Lto::OnlyObject,
        rustflags,
        identity: String::new(),
        metadata: String::new(),
        link_scripts: Vec::new(),
        plugin_scripts: Vec::new(),
        overridden: None,
    })
}

fn unsupported(what: &str) -> PlanError {
    PlanError::Unsupported {
        what: what.to_owned(),
        advice: "build with cargo".to_owned(),
    }
}

fn target(making: &Making<'_>, found: &GraphTarget, package: usize) -> Result<Target, PlanError> {
    let src = std::path::Path::new(&found.src_path);
    let workspace = making.workspace;
    let package_of = &making.packages[package];
    let src = if !package_of.is_local {
        let relative = src.strip_prefix(&making.dirs[package]);
        let relative = relative.map_err(|_| odd_source(found, package_of))?;
        join(&package_of.dir, text(relative)?)
    } else if let Ok(relative) = src.strip_prefix(&workspace.root) {
        text(relative)?.to_owned()
    } else if let Ok(relative) = src.strip_prefix(&workspace.checkout) {
        join(places::CHECKOUT, text(relative)?)
    } else {
        return Err(odd_source(found, package_of));
    };
    Ok(Target {
        name: found.name.clone(),
        kind: target_kind(&found.kind, &found.crate_types),
        src,
        edition: found.edition.clone(),
        test: found.test,
        doctest: found.doctest,
    })
}

fn odd_source(found: &GraphTarget, package: &Package) -> PlanError {
    PlanError::Unsupported {
        what: format!(
            "package `{}`, whose source `{}` lies outside of it,",
            package.name, found.src_path
        ),
        advice: "move the source into the package, or build with cargo".to_owned(),
    }
}

fn profile(found: GraphProfile, is_release: bool) -> Result<Profile, PlanError> {
    if found.trim_paths.is_some() {
        return Err(unsupported("the unstable profile key `trim-paths`"));
    }
    let debuginfo = match &found.debuginfo {
        serde_json::Value::Null => "0".to_owned(),
        serde_json::Value::String(name) => name.clone(),
        number => number.to_string(),
    };
    Ok(Profile {
        name: found.name,
        is_release,
        opt_level: found.opt_level,
        lto: found.lto,
        codegen_backend: found.codegen_backend,
        codegen_units: found.codegen_units,
        debuginfo,
        split_debuginfo: found.split_debuginfo,
        debug_assertions: found.debug_assertions,
        overflow_checks: found.overflow_checks,
        rpath: found.rpath,
        incremental: found.incremental,
        panic: found.panic,
        strip: strip(&found.strip),
        rustflags: found.rustflags,
    })
}

/// `{"deferred":"None"}`, `{"resolved":{"Named":"debuginfo"}}`: cargo prints its own enums.
fn strip(value: &serde_json::Value) -> Option<String> {
    let inner = value.get("resolved").or_else(|| value.get("deferred"))?;
    inner
        .get("Named")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
}

/// Shared libraries of path packages keep their names, because others link them by name; so
/// do programs where the linker writes their name into other files.
fn has_hashed_names(target: &Target, package: &Package, platform: Option<&str>) -> bool {
    let triple = platform.unwrap_or_default();
    let shared = match &target.kind {
        TargetKind::Lib(types) => types.iter().any(|name| name == "dylib" || name == "cdylib"),
        _ => false,
    };
    let named_by_linker = target.is_executable()
        && (triple == "wasm32-unknown-emscripten" || triple.contains("msvc"));
    !((shared || named_by_linker) && package.is_local)
}

/// Fills in which runs of build scripts reach which compile: cargo's `build_map`.
pub(crate) fn spread_build_scripts(units: &mut [Unit], packages: &[Package]) {
    let mut made: HashMap<usize, Reached> = HashMap::new();
    for index in 0..units.len() {
        reach(units, packages, index, &mut made);
    }
    for (index, reached) in made {
        units[index].link_scripts = reached.link;
        let mut plugins = reached.plugins;
        plugins.sort_by(|a, b| by_package(units, packages, *a, *b).then(a.cmp(b)));
        plugins.dedup();
        units[index].plugin_scripts = plugins;
    }
}

#[derive(Default, Clone)]
struct Reached {
    link: Vec<usize>,
    plugins: Vec<usize>,
}

impl Reached {
    fn link(&mut self, script: usize) {
        if !self.link.contains(&script) {
            self.link.push(script);
        }
    }
}

fn reach(units: &[Unit], packages: &[Package], index: usize, made: &mut HashMap<usize, Reached>) {
    if made.contains_key(&index) {
        return;
    }
    let unit = &units[index];
    let mut reached = Reached::default();
    if unit.target.kind != TargetKind::BuildScript {
        for dep in &unit.deps {
            let other = &units[dep.unit];
            if other.mode == Mode::RunBuildScript && other.package == unit.package {
                reached.link(dep.unit);
            }
        }
    }
    let mut deps: Vec<usize> = unit.deps.iter().map(|dep| dep.unit).collect();
    deps.sort_by(|a, b| by_package(units, packages, *a, *b));
    for dep in deps {
        reach(units, packages, dep, made);
        let of_dep = made[&dep].link.clone();
        let target = &units[dep].target;
        if target.for_host() {
            reached.plugins.extend(of_dep);
        } else if target.is_linkable() {
            of_dep.into_iter().for_each(|script| reached.link(script));
        }
    }
    made.insert(index, reached);
}

/// Cargo's order of package ids.
fn by_package(units: &[Unit], packages: &[Package], a: usize, b: usize) -> Ordering {
    let (a, b) = (&packages[units[a].package], &packages[units[b].package]);
    a.name
        .cmp(&b.name)
        .then_with(|| version_key(&a.version).cmp(&version_key(&b.version)))
        .then_with(|| a.id.cmp(&b.id))
}

/// Numbers as numbers, and a pre-release before its release.
fn version_key(version: &str) -> (Vec<u64>, bool, Vec<(bool, u64, String)>) {
    let version = version.split('+').next().unwrap_or_default();
    let (numbers, pre) = match version.split_once('-') {
        Some((numbers, pre)) => (numbers, pre),
        None => (version, ""),
    };
    let numbers = numbers
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect();
    let parts = pre.split('.').map(|part| match part.parse() {
        Ok(number) => (false, number, String::new()),
        Err(_) => (true, 0, part.to_owned()),
    });
    (numbers, pre.is_empty(), parts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_order() {
        let sorted = [
            "0.9.0",
            "0.10.0-alpha.2",
            "0.10.0-alpha.10",
            "0.10.0-beta",
            "0.10.0",
            "1.0.0",
        ];
        assert!(
            sorted
                .windows(2)
                .all(|pair| version_key(pair[0]) < version_key(pair[1]))
        );
    }

    #[test]
    fn what_cargo_prints_for_strip() {
        let named = serde_json::json!({"resolved": {"Named": "debuginfo"}});
        assert_eq!(strip(&named).as_deref(), Some("debuginfo"));
        assert_eq!(strip(&serde_json::json!({"deferred": "None"})), None);
    }
}
