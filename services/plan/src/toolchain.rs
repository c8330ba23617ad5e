//! Which toolchain a request means, and what its rustc says of itself and of targets.
//!
//! Asking costs tens of milliseconds, so answers are kept in memory, under all that decides
//! which toolchain a rustup proxy picks.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::PlanError;
use crate::process::{Printed, find_program, run, tool_env};

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
}

impl Toolchain {
    /// Whether unstable features work without a trick.
    pub(crate) fn is_nightly(&self) -> bool {
        let release = line_of(&self.rustc_version, "release: ").unwrap_or_default();
        release.contains("-nightly") || release.contains("-dev")
    }
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

/// Answers kept; a daemon serves few toolchains, so the bound only stops a runaway.
const KEPT: usize = 256;

type Kept<T> = LazyLock<Mutex<HashMap<Vec<String>, T>>>;
static TOOLCHAINS: Kept<Toolchain> = LazyLock::new(Mutex::default);
static TARGETS: Kept<TargetAnswer> = LazyLock::new(Mutex::default);

fn kept<T: Clone>(
    cache: &Kept<T>,
    key: Vec<String>,
    ask: impl FnOnce() -> Result<T, PlanError>,
) -> Result<T, PlanError> {
    // A panic elsewhere can't leave a half-made answer: they are inserted whole.
    if let Some(answer) = cache.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
        return Ok(answer.clone());
    }
    let answer = ask()?;
    let mut cache = cache.lock().unwrap_or_else(|e| e.into_inner());
    if cache.len() >= KEPT {
        cache.clear();
    }
    cache.insert(key, answer.clone());
    Ok(answer)
}

/// The toolchain that cargo would use when started in `cwd`.
pub(crate) fn find(
    cwd: &Path,
    env: &BTreeMap<String, String>,
    config: &Config,
) -> Result<Toolchain, PlanError> {
    let cargo = find_program("cargo", cwd, env)?;
    let rustc_name = env.get("RUSTC").filter(|name| !name.is_empty()).cloned();
    let rustc_name = rustc_name
        .or_else(|| config.program(&["build", "rustc"]))
        .unwrap_or_else(|| "rustc".to_owned());
    let rustc = find_program(&rustc_name, cwd, env)?;
    kept(&TOOLCHAINS, identity(&cargo, &rustc, cwd, env), || {
        ask(&cargo, &rustc, cwd, env)
    })
}

/// Everything that decides which toolchain the two programs are of.
fn identity(cargo: &Path, rustc: &Path, cwd: &Path, env: &BTreeMap<String, String>) -> Vec<String> {
    let mut parts = vec![stamp(cargo), stamp(rustc)];
    for name in ["RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "HOME", "LD_LIBRARY_PATH"] {
        parts.push(format!("{name}={:?}", env.get(name)));
    }
    let rustup_home = rustup_home(env);
    parts.push(content(&rustup_home.join("settings.toml")));
    // A toolchain updated in place changes its directory's entries.
    parts.push(stamp(&rustup_home.join("toolchains")));
    if let Ok(entries) = std::fs::read_dir(rustup_home.join("toolchains")) {
        let mut stamps: Vec<String> = entries
            .flatten()
            .map(|entry| stamp(&entry.path().join("bin/rustc")))
            .collect();
        stamps.sort();
        parts.extend(stamps);
    }
    parts.extend(toolchain_files(cwd).iter().map(|path| content(path)));
    parts
}

pub(crate) fn rustup_home(env: &BTreeMap<String, String>) -> PathBuf {
    env.get("RUSTUP_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env.get("HOME").map_or("/", String::as_str)).join(".rustup"))
}

/// The files that choose a toolchain, up the parents.
pub(crate) fn toolchain_files(cwd: &Path) -> Vec<PathBuf> {
    cwd.ancestors()
        .flat_map(|dir| [dir.join("rust-toolchain"), dir.join("rust-toolchain.toml")])
        .collect()
}

fn stamp(path: &Path) -> String {
    let stamp = std::fs::metadata(path).and_then(|meta| Ok((meta.len(), meta.modified()?)));
    let (size, modified) = stamp.unwrap_or((0, SystemTime::UNIX_EPOCH));
    format!("{}:{size}:{modified:?}", path.display())
}

fn content(path: &Path) -> String {
    format!(
        "{}={:?}",
        path.display(),
        std::fs::read_to_string(path).ok()
    )
}

fn ask(
    cargo: &Path,
    rustc: &Path,
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Toolchain, PlanError> {
    let env = tool_env(env);
    let version_args = ["-vV".to_owned()];
    let sysroot_args = ["--print".to_owned(), "sysroot".to_owned()];
    let (cargo_version, rustc_version, sysroot) = std::thread::scope(|scope| {
        let cargo_version = scope.spawn(|| text(cargo, &version_args, cwd, &env));
        let rustc_version = scope.spawn(|| text(rustc, &version_args, cwd, &env));
        let sysroot = text(rustc, &sysroot_args, cwd, &env);
        (joined(cargo_version), joined(rustc_version), sysroot)
    });
    let rustc_version = rustc_version?;
    let sysroot = PathBuf::from(sysroot?.trim());
    let host = line_of(&rustc_version, "host: ")
        .ok_or_else(|| PlanError::malformed("`rustc -vV`", "there is no `host:` line"))?
        .to_owned();
    if !sysroot.join("bin/rustc").is_file() {
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
        host,
    })
}

pub(crate) fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    handle
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Cargo's question about a target: names of files, `split-debuginfo`, and cfg.
pub(crate) fn ask_target(
    toolchain: &Toolchain,
    target: Option<&str>,
    rustflags: &[String],
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Result<TargetAnswer, PlanError> {
    let rustc = toolchain.sysroot.join("bin/rustc");
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
    let key = [
        vec![stamp(&rustc), toolchain.rustc_version.clone()],
        args.clone(),
    ]
    .concat();
    kept(&TARGETS, key, || {
        let mut env = tool_env(env);
        env.remove("RUSTUP_TOOLCHAIN");
        let printed = run(&rustc, &args, cwd, &env)?;
        if !printed.success {
            return Err(failed(&rustc, &args, &printed));
        }
        parse_target(&String::from_utf8_lossy(&printed.stdout), &printed.stderr).ok_or_else(|| {
            PlanError::malformed("rustc, asked about a target,", "lines are missing")
        })
    })
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

fn text(
    program: &Path,
    args: &[String],
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<String, PlanError> {
    let printed = run(program, args, cwd, env)?;
    if !printed.success {
        return Err(failed(program, args, &printed));
    }
    Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
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
