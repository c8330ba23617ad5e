//! Build scripts that the configuration replaces: `[target.<triple>.<links>]`.

use crate::build_output::BuildOutput;
use crate::config::{Value, words_of};
use crate::error::PlanError;
use crate::locate::Workspace;
use crate::model::{Mode, Package, Unit};
use crate::parse_build_output::parse_rustc_flags;

/// Keys of a target's table that are no packages.
const OTHER_KEYS: &[&str] = &["ar", "linker", "runner", "rustflags", "rustdocflags"];

/// What the configuration says in place of a package's build script, for its run. Cargo's
/// graph has the run without a program then.
pub(crate) fn of_package(
    workspace: &Workspace,
    unit: &Unit,
    package: &Package,
) -> Result<Option<BuildOutput>, PlanError> {
    debug_assert_eq!(unit.mode, Mode::RunBuildScript);
    let Some(links) = package
        .links
        .as_deref()
        .filter(|links| !OTHER_KEYS.contains(links))
    else {
        return Ok(None);
    };
    let triple = unit
        .platform
        .as_deref()
        .unwrap_or(&workspace.toolchain.host);
    let Some(Value::Table(table)) = workspace.config.get(&["target", triple, links]) else {
        return Ok(None);
    };
    let error = |detail: String| PlanError::Config {
        path: workspace.config.files.first().cloned().unwrap_or_default(),
        detail: format!("`target.{triple}.{links}`: {detail}"),
    };
    let mut output = BuildOutput::default();
    for (key, value) in table {
        let fixed = || {
            words_of_list(value)
                .into_iter()
                .map(|word| workspace.fixed(&word))
        };
        match key.as_str() {
            "rustc-flags" => {
                let text = scalar(value);
                let (paths, links) = parse_rustc_flags(&workspace.fixed(&text), &package.name)
                    .map_err(|e| error(e.to_string()))?;
                output.library_paths.extend(paths);
                output.library_links.extend(links);
            }
            "rustc-link-lib" => output.library_links.extend(fixed()),
            "rustc-link-search" => output.library_paths.extend(fixed()),
            "rustc-cfg" => output.cfgs.extend(fixed()),
            "rustc-check-cfg" => output.check_cfgs.extend(fixed()),
            "rustc-env" => output.env.extend(pairs(workspace, value)),
            "warning" | "rerun-if-changed" | "rerun-if-env-changed" => {
                return Err(error(format!(
                    "`{key}` is not supported in build script overrides"
                )));
            }
            key if key.starts_with("rustc-link-arg") || key == "rustc-cdylib-link-arg" => {
                return Err(PlanError::Unsupported {
                    what: format!("`target.{triple}.{links}.{key}` in cargo's configuration"),
                    advice: "let the package's build script say it, or build with cargo".to_owned(),
                });
            }
            key => output
                .metadata
                .push((key.to_owned(), workspace.fixed(&scalar(value)))),
        }
    }
    Ok(Some(output))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Scalar { value, .. } => value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
        _ => words_of(value).join(" "),
    }
}

/// A string is one item here, and not a list of words.
fn words_of_list(value: &Value) -> Vec<String> {
    match value {
        Value::List(_) => words_of(value),
        _ => vec![scalar(value)],
    }
}

fn pairs(workspace: &Workspace, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Table(table) => table
            .iter()
            .map(|(name, value)| (name.clone(), workspace.fixed(&scalar(value))))
            .collect(),
        _ => Vec::new(),
    }
}
