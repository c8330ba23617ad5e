//! Flags and linkers that the user's environment and configuration ask for.

use std::str::FromStr;

use cargo_platform::{Cfg, CfgExpr};

use crate::compiler::Compiler;
use crate::config::{Value, words_of};
use crate::error::PlanError;
use crate::locate::Workspace;
use crate::model::Platform;
use crate::request::PlanRequest;
use crate::toolchain::{TargetAnswer, ask_target};

/// The targets that are asked for, by flags or configuration; empty is the host.
pub(crate) fn requested_targets(
    request: &PlanRequest,
    workspace: &Workspace,
) -> Result<Vec<String>, PlanError> {
    let targets = if request.selection.target.is_empty() {
        let config = &workspace.config;
        let key = ["build", "target"];
        match (config.get(&key), request.env.get("CARGO_BUILD_TARGET")) {
            // The variable adds to a list, and comes before a name. Empty, it is nothing.
            (Some(Value::List(_)), _) => config.words(&key).unwrap_or_default(),
            (_, Some(target)) if !target.is_empty() => vec![target.clone()],
            (named, _) => named.map(words_of).unwrap_or_default(),
        }
    } else {
        request.selection.target.clone()
    };
    let host = &workspace.toolchain.host;
    let named = targets
        .into_iter()
        .filter(|target| !target.is_empty())
        .map(|target| {
            if target == "host-tuple" {
                host.clone()
            } else {
                target
            }
        });
    let named: Vec<String> = named.collect();
    match named.iter().find(|target| target.ends_with(".json")) {
        Some(file) => Err(PlanError::Unsupported {
            what: format!("the target specification file `{file}`"),
            advice: "build for one of rustc's own targets, or with cargo".to_owned(),
        }),
        None => Ok(named),
    }
}

/// Everything about the host (`None`) or a target.
pub(crate) fn platform(
    request: &PlanRequest,
    workspace: &Workspace,
    compiler: &Compiler,
    requested: &[String],
    target: Option<&str>,
) -> Result<Platform, PlanError> {
    let triple = target.unwrap_or(&workspace.toolchain.host);
    let ask = |flags: &[String]| ask_target(request, workspace, compiler, target, flags);
    // Flags can set cfgs, and cfgs can choose flags: cargo asks twice at most, and so do we.
    let mut flags = rustflags(request, workspace, requested, target, None)?;
    let mut answer = ask(&flags)?;
    let chosen = rustflags(request, workspace, requested, target, Some(&cfgs(&answer)?))?;
    if chosen != flags {
        flags = chosen;
        answer = ask(&flags)?;
    }
    let linker = linker(workspace, triple, &cfgs(&answer)?)?;
    Ok(Platform {
        target: target.map(str::to_owned),
        triple: triple.to_owned(),
        cfg: answer.cfg,
        split_debuginfo: answer.split_debuginfo,
        file_names: answer.file_names,
        rustflags: flags.iter().map(|flag| workspace.fixed(flag)).collect(),
        linker: linker.map(|linker| workspace.fixed(&linker)),
    })
}

fn cfgs(answer: &TargetAnswer) -> Result<Vec<Cfg>, PlanError> {
    answer
        .cfg
        .iter()
        .map(|line| Cfg::from_str(line).map_err(|e| PlanError::malformed("`rustc --print=cfg`", e)))
        .collect()
}

/// Cargo's order: the environment, else the target's tables, else `[build]`. With `--target`,
/// what is built for the host gets none of them.
fn rustflags(
    request: &PlanRequest,
    workspace: &Workspace,
    requested: &[String],
    target: Option<&str>,
    cfgs: Option<&[Cfg]>,
) -> Result<Vec<String>, PlanError> {
    if target.is_none() && !requested.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(flags) = request.env.get("CARGO_ENCODED_RUSTFLAGS") {
        let flags = flags.split('\x1f').filter(|_| !flags.is_empty());
        return Ok(flags.map(str::to_owned).collect());
    }
    if let Some(flags) = request.env.get("RUSTFLAGS") {
        let flags = flags
            .split(' ')
            .map(str::trim)
            .filter(|flag| !flag.is_empty());
        return Ok(flags.map(str::to_owned).collect());
    }
    let config = &workspace.config;
    let triple = target.unwrap_or(&workspace.toolchain.host);
    let mut flags = config
        .words(&["target", triple, "rustflags"])
        .unwrap_or_default();
    if let Some(cfgs) = cfgs {
        for (key, table) in config.tables(&["target"]) {
            if matches_cfg(key, cfgs)
                && let Some(value) = table.get("rustflags")
            {
                flags.extend(words_of(value));
            }
        }
    }
    if flags.is_empty() {
        flags = config.words(&["build", "rustflags"]).unwrap_or_default();
    }
    Ok(flags)
}

/// Whether flags or variables may have rustc read files. What it says of itself then depends on their
/// content, and cargo only looks at their names.
pub(crate) fn may_name_files(request: &PlanRequest, workspace: &Workspace) -> bool {
    let config = &workspace.config;
    let tables = config.tables(&["target"]).into_iter();
    let of_targets = tables.filter_map(|(_, table)| table.get("rustflags").map(words_of));
    let of_all = config.words(&["build", "rustflags"]);
    let configured = of_targets.chain(of_all).flatten();
    let variables = request.env.iter();
    let given = variables.filter(|(name, _)| name.ends_with("RUSTFLAGS"));
    let names_file = |text: &str| {
        ["/", "@", ".json", "sysroot"]
            .iter()
            .any(|part| text.contains(part))
    };
    let target_path = "RUST_TARGET_PATH";
    request.env.contains_key(target_path)
        || config.get(&["env", target_path]).is_some()
        || given.into_iter().any(|(_, value)| names_file(value))
        || configured.into_iter().any(|flag| names_file(&flag))
}

fn matches_cfg(key: &str, cfgs: &[Cfg]) -> bool {
    key.starts_with("cfg(") && CfgExpr::matches_key(key, cfgs)
}

fn linker(workspace: &Workspace, triple: &str, cfgs: &[Cfg]) -> Result<Option<String>, PlanError> {
    let config = &workspace.config;
    if let Some(linker) = config.program(&["target", triple, "linker"]) {
        return Ok(Some(linker));
    }
    let tables = config.tables(&["target"]);
    let mut matching = tables
        .into_iter()
        .filter(|(key, _)| matches_cfg(key, cfgs))
        .filter_map(|(key, table)| Some((key, config.program_of(table.get("linker")?)?)));
    let first = matching.next();
    match (first, matching.next()) {
        (Some((first, _)), Some((second, _))) => Err(PlanError::Config {
            path: config.files.first().cloned().unwrap_or_default(),
            detail: format!(
                "several matching instances of `target.'cfg(..)'.linker`: `{first}` and `{second}`"
            ),
        }),
        (first, _) => Ok(first.map(|(_, linker)| linker)),
    }
}
