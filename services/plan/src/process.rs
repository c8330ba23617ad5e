//! Child processes: the toolchain's cargo and rustc, and nothing else.
//!
//! They get the request's environment, less what would change their answers, and nothing of
//! the daemon's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vx_core::{Exit, HostProgram};

use crate::error::PlanError;
use crate::host::{Host, Ran};
use crate::paths::text;

/// What a process printed.
pub(crate) struct Printed {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Printed {
    pub(crate) fn of(ran: Ran) -> Self {
        Self {
            success: ran.exit.success(),
            code: match ran.exit {
                Exit::Code(code) => Some(code),
                Exit::Signal(_) => None,
            },
            stdout: ran.stdout,
            stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        }
    }
}

/// A program to run.
pub(crate) fn program(
    argv: impl IntoIterator<Item = String>,
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<HostProgram, PlanError> {
    Ok(HostProgram {
        argv: argv.into_iter().collect(),
        env: env.clone().into_iter().collect(),
        cwd: text(cwd)?.to_owned(),
        nobodys: Vec::new(),
    })
}

/// Runs a program to its end, without input.
pub(crate) fn run(
    host: &Host,
    name: &Path,
    args: &[String],
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Printed, PlanError> {
    let argv = std::iter::once(text(name)?.to_owned()).chain(args.iter().cloned());
    let ran = host.run(program(argv, cwd, env)?);
    ran.map(Printed::of).map_err(|why| not_run(name, why))
}

/// Why a program could not be run.
pub(crate) fn not_run(name: &Path, why: String) -> PlanError {
    PlanError::io("run", name)(std::io::Error::other(why))
}

/// The environment for cargo and rustc: the request's, without colours and progress, and
/// without what would start other programs or wake unstable features.
pub(crate) fn tool_env(request: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = request
        .iter()
        .filter(|(name, _)| !name.starts_with("CARGO_UNSTABLE_"))
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "RUSTC_LOG" | "CARGO_LOG" | "CARGO_TERM_QUIET" | "CARGO_TERM_VERBOSE"
            )
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    env.insert("CARGO_TERM_COLOR".to_owned(), "never".to_owned());
    env.insert("CARGO_TERM_PROGRESS_WHEN".to_owned(), "never".to_owned());
    env
}

/// Finds a program as `execvp` would with the request's `PATH`.
pub(crate) fn find_program(
    host: &Host,
    name: &str,
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<PathBuf, PlanError> {
    let found = if name.contains('/') {
        Some(cwd.join(name)).filter(|path| host.is_program(path))
    } else {
        env.get("PATH").and_then(|path| {
            std::env::split_paths(path)
                .map(|dir| cwd.join(dir).join(name))
                .find(|path| host.is_program(path))
        })
    };
    found.ok_or_else(|| PlanError::NoProgram {
        program: name.to_owned(),
    })
}

/// What cargo printed to standard error, without its status lines (`   Updating index`).
///
/// Cargo right-aligns a status in twelve columns; nothing else it prints has a capitalised
/// word ending there.
pub(crate) fn without_status(stderr: &str) -> String {
    let kept: Vec<&str> = stderr.lines().filter(|line| !is_status(line)).collect();
    kept.join("\n").trim().to_owned()
}

fn is_status(line: &str) -> bool {
    let (Some(head), Some(" ")) = (line.get(..12), line.get(12..13)) else {
        return false;
    };
    let word = head.trim_start();
    word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.chars().all(|char| char.is_ascii_alphabetic())
}

/// The messages in what cargo printed: each begins at a line that is not indented.
pub(crate) fn messages(stderr: &str) -> Vec<String> {
    let text = without_status(stderr);
    let mut messages: Vec<String> = Vec::new();
    for line in text.lines() {
        let begins =
            line.starts_with("warning") || line.starts_with("note") || line.starts_with("error");
        match messages.last_mut() {
            Some(last) if !begins => {
                last.push('\n');
                last.push_str(line);
            }
            _ => messages.push(line.to_owned()),
        }
    }
    for message in &mut messages {
        message.truncate(message.trim_end().len());
    }
    messages.retain(|message| !message.is_empty());
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_no_messages() {
        let stderr = "    Updating the index\nwarning: unused manifest key: package.x\n  --> Cargo.toml\n     Locking 3 packages\nwarning: other\n";
        assert_eq!(
            messages(stderr),
            [
                "warning: unused manifest key: package.x\n  --> Cargo.toml",
                "warning: other"
            ]
        );
    }

    #[test]
    fn a_program_is_looked_for_on_the_path_that_is_given() {
        let host = Host::new(std::sync::Arc::new(crate::host::Plain));
        let env = [("PATH".to_owned(), "/nowhere:/bin".to_owned())].into();
        assert_eq!(
            find_program(&host, "sh", Path::new("/"), &env).unwrap(),
            Path::new("/bin/sh")
        );
        assert!(matches!(
            find_program(&host, "no-such-program", Path::new("/"), &env),
            Err(PlanError::NoProgram { .. })
        ));
    }
}
