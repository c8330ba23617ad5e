//! Which toolchain a request means, and what its rustc says of itself and of targets.
//!
//! Asking costs tens of milliseconds, so answers are kept in memory, with what the programs looked
//! at to give them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compiler::{Compiler, is_rustup};
use crate::config::Config;
use crate::error::PlanError;
use crate::host::Host;
use crate::locate::Workspace;
use crate::paths;
use crate::process::{Printed, find_program, not_run, program, tool_env};
use crate::request::PlanRequest;

/// A toolchain on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// The cargo of the request's `PATH`; a proxy of rustup perhaps.
    pub cargo: PathBuf,
    /// The rustc that cargo would start; a proxy of rustup perhaps.
    pub rustc: PathBuf,
    /// What is mounted at `/vx/toolchain`; `bin/rustc` is in it.
    pub sysroot: PathBuf,
    /// What `rustc -vV` prints.
    pub rustc_version: String,
    /// What `cargo -vV` prints.
    pub cargo_version: String,
    /// The triple rustc runs on.
    pub host: String,
    /// Whether that cargo is a toolchain's own or rustup's stand-in for it.
    pub(crate) cargo_is_plain: bool,
    /// Whether that rustc is.
    pub(crate) rustc_is_plain: bool,
}

impl Toolchain {
    /// Whether unstable features work without a trick.
    pub(crate) fn is_nightly(&self) -> bool {
        let release = line_of(&self.rustc_version, "release: ").unwrap_or_default();
        release.contains("-nightly") || release.contains("-dev")
    }

    /// Whether its cargo may have another directory for what it keeps than for what it builds.
    pub(crate) fn has_build_dir(&self) -> bool {
        has_build_dir(&self.cargo_version)
    }
}

/// Whether a cargo that says this of its version knows `build.build-dir`: since 1.91.
fn has_build_dir(version: &str) -> bool {
    let release = version.strip_prefix("cargo ").unwrap_or_default();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(1)), Some(Some(minor))) if minor >= 91)
}

/// What rustc says of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetAnswer {
    pub(crate) file_names: Vec<(String, String, String)>,
    pub(crate) split_debuginfo: Vec<String>,
    pub(crate) cfg: Vec<String>,
}

/// Crate types rustc is asked about, in the order of its answers.
const CRATE_TYPES: &[&str] = &["bin", "rlib", "dylib", "cdylib", "staticlib", "proc-macro"];

/// The toolchain that cargo would use when started in `cwd`.
pub(crate) fn find(
    host: &Host,
    cwd: &Path,
    env: &BTreeMap<String, String>,
    config: &Config,
) -> Result<Toolchain, PlanError> {
    let cargo = find_program(host, "cargo", cwd, env)?;
    let rustc_name = env.get("RUSTC").filter(|name| !name.is_empty()).cloned();
    let rustc_name = rustc_name
        .or_else(|| config.program(&["build", "rustc"]))
        .unwrap_or_else(|| "rustc".to_owned());
    let rustc = find_program(host, &rustc_name, cwd, env)?;
    ask(host, &cargo, &rustc, cwd, env)
}

/// Whether a program is a toolchain's own, or rustup's stand-in for it, so that it is known which
/// variables it heeds. What a user or another tool put in its place may heed any.
fn is_plain(host: &Host, program: &Path) -> bool {
    let Ok(real) = host.canonicalize(program) else {
        return false;
    };
    let is_named = real.file_name() == program.file_name();
    let prefix = real.parent().and_then(Path::parent);
    let in_sysroot = prefix.is_some_and(|prefix| host.is_dir(&prefix.join("lib/rustlib")));
    (is_named && in_sysroot) || is_rustup(host, program)
}

/// Whether a variable can change which toolchain rustup's stand-ins start, or what that says of
/// itself. A program of the user's may heed any.
fn decides_toolchain(name: &str) -> bool {
    name.starts_with("RUSTUP_")
        || name.starts_with("LD_")
        || name.starts_with("RUSTC")
        || matches!(name, "HOME" | "PATH" | "CARGO_HOME" | "RUST_TARGET_PATH")
}

pub(crate) fn rustup_home(env: &BTreeMap<String, String>) -> PathBuf {
    env.get("RUSTUP_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env.get("HOME").map_or("/", String::as_str)).join(".rustup"))
}

fn ask(
    host: &Host,
    cargo: &Path,
    rustc: &Path,
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Toolchain, PlanError> {
    let env = tool_env(env);
    let (cargo_is_plain, rustc_is_plain) = (is_plain(host, cargo), is_plain(host, rustc));
    let own = cargo_is_plain && rustc_is_plain;
    let heeded = |name: &str| !own || decides_toolchain(name);
    let version_args = ["-vV".to_owned()];
    let sysroot_args = ["--print".to_owned(), "sysroot".to_owned()];
    let said = |name: &Path, args: &[String]| {
        let printed = asked(
            host,
            &[paths::text(name)?.to_owned()],
            args,
            cwd,
            &env,
            heeded,
        )?;
        Ok::<_, PlanError>(String::from_utf8_lossy(&printed.stdout).into_owned())
    };
    let (cargo_version, rustc_version, sysroot) = std::thread::scope(|scope| {
        // All of it would say which system this is, for which cargo looks long.
        let cargo_version = scope.spawn(|| said(cargo, &["-V".to_owned()]));
        let rustc_version = scope.spawn(|| said(rustc, &version_args));
        let sysroot = said(rustc, &sysroot_args);
        (joined(cargo_version), joined(rustc_version), sysroot)
    });
    let rustc_version = rustc_version?;
    let sysroot = PathBuf::from(sysroot?.trim());
    let triple = line_of(&rustc_version, "host: ")
        .ok_or_else(|| PlanError::malformed("`rustc -vV`", "there is no `host:` line"))?
        .to_owned();
    if !host.is_file(&sysroot.join("bin/rustc")) {
        return Err(PlanError::Unsupported {
            what: format!(
                "`{}`, which is not the `bin/rustc` of its sysroot `{}`,",
                rustc.display(),
                sysroot.display()
            ),
            advice: "unset RUSTC and `build.rustc`, or let them name a toolchain's own rustc"
                .to_owned(),
        });
    }
    Ok(Toolchain {
        cargo: cargo.to_owned(),
        rustc: rustc.to_owned(),
        sysroot,
        rustc_version,
        cargo_version: cargo_version?,
        host: triple,
        cargo_is_plain,
        rustc_is_plain,
    })
}

pub(crate) fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    handle
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Cargo's question about a target: names of files, `split-debuginfo`, and cfg. It is asked of what
/// compiles members of the workspace, wrappers included.
pub(crate) fn ask_target(
    request: &PlanRequest,
    workspace: &Workspace,
    compiler: &Compiler,
    target: Option<&str>,
    rustflags: &[String],
) -> Result<TargetAnswer, PlanError> {
    let mut args: Vec<String> = ["-", "--crate-name", "___", "--print=file-names"]
        .map(str::to_owned)
        .to_vec();
    args.extend_from_slice(rustflags);
    if let Some(target) = target {
        args.extend(["--target".to_owned(), target.to_owned()]);
    }
    for name in CRATE_TYPES {
        args.extend(["--crate-type".to_owned(), (*name).to_owned()]);
    }
    let rest = [
        "--print=split-debuginfo",
        "--print=crate-name",
        "--print=cfg",
        "-Wwarnings",
    ];
    args.extend(rest.map(str::to_owned));
    let mut env = tool_env(&request.env);
    let plain = compiler.others().next().is_none();
    if plain {
        env.remove("RUSTUP_TOOLCHAIN");
    } else {
        env.extend(workspace.config.env_table()?);
    }
    let words = compiler.words(workspace);
    let host = &workspace.host;
    let printed = asked(host, &words, &args, &workspace.cwd, &env, |name| {
        !plain || decides_toolchain(name)
    })?;
    parse_target(&String::from_utf8_lossy(&printed.stdout), &printed.stderr)
        .ok_or_else(|| PlanError::malformed("rustc, asked about a target,", "lines are missing"))
}

fn parse_target(stdout: &str, stderr: &str) -> Option<TargetAnswer> {
    let mut lines = stdout.lines();
    let mut file_names = Vec::new();
    for name in CRATE_TYPES {
        let quoted = format!("crate type `{name}`");
        if stderr
            .lines()
            .any(|line| line.contains("unsupported crate type") && line.contains(&quoted))
        {
            continue;
        }
        let (prefix, suffix) = lines.next()?.split_once("___")?;
        file_names.push(((*name).to_owned(), prefix.to_owned(), suffix.to_owned()));
    }
    let split_debuginfo = lines
        .by_ref()
        .take_while(|line| *line != "___")
        .map(str::to_owned)
        .collect();
    // What rustc says of proc macros is about the question, not about the target.
    let cfg = lines
        .filter(|line| *line != "proc_macro")
        .map(str::to_owned)
        .collect();
    Some(TargetAnswer {
        file_names,
        split_debuginfo,
        cfg,
    })
}

/// Has a program answer, or takes what it answered before where that holds.
fn asked(
    host: &Host,
    words: &[String],
    args: &[String],
    cwd: &Path,
    env: &BTreeMap<String, String>,
    heeded: impl Fn(&str) -> bool,
) -> Result<Printed, PlanError> {
    let argv: Vec<String> = words.iter().chain(args).cloned().collect();
    let name = Path::new(&argv[0]).to_owned();
    let ran = host.ask(program(argv, cwd, env)?, heeded);
    let printed = Printed::of(ran.map_err(|why| not_run(&name, why))?);
    if !printed.success {
        return Err(failed(&name, args, &printed));
    }
    Ok(printed)
}

fn failed(program: &Path, args: &[String], printed: &Printed) -> PlanError {
    PlanError::Rustc {
        command: format!("{} {}", program.display(), args.join(" ")),
        stderr: printed.stderr.trim().to_owned(),
    }
}

fn line_of<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_a_build_directory() {
        for version in [
            "cargo 1.91.0 (ea2d97820 2025-10-10)",
            "cargo 1.96.0-nightly (x)",
        ] {
            assert!(has_build_dir(version), "{version}");
        }
        for version in [
            "cargo 1.90.0 (840b83a10 2025-07-30)",
            "cargo",
            "",
            "cargo 2.0.0",
        ] {
            assert!(!has_build_dir(version), "{version}");
        }
    }

    #[test]
    fn a_target_without_dynamic_libraries() {
        let stdout = "___.wasm\nlib___.rlib\nlib___.a\noff\n___\nunix\nproc_macro\n";
        let stderr = ["dylib", "cdylib", "proc-macro"]
            .map(|name| format!("warning: dropping unsupported crate type `{name}` for target"))
            .join("\n");
        let answer = parse_target(stdout, &stderr).unwrap();
        let names: Vec<&str> = answer
            .file_names
            .iter()
            .map(|(name, ..)| name.as_str())
            .collect();
        assert_eq!(names, ["bin", "rlib", "staticlib"]);
        assert_eq!(answer.split_debuginfo, ["off"]);
        assert_eq!(answer.cfg, ["unix"]);
    }
}
