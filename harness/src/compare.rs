//! What two programs do, side by side.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::env::Env;
use crate::fixture::Project;

/// What a program wrote and how it ended, started under a fixed name with few variables.
///
/// # Panics
/// When it can't be started.
#[must_use]
pub fn program_output(program: &Path, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        // Some programs print how they were called.
        .arg0("program")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("COLUMNS", "80")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    format!(
        "{}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs two programs with each of several command lines and compares.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn assert_same_behaviour(ours: &Path, cargos: &Path, directory: &Path, lines: &[&[&str]]) {
    for arguments in lines {
        let (own, other) = (
            program_output(ours, directory, arguments),
            program_output(cargos, directory, arguments),
        );
        assert_eq!(
            own,
            other,
            "{} {arguments:?}, vx's beside cargo's",
            ours.display()
        );
    }
}

impl Env {
    /// Builds a project with cargo into a target directory of its own and gives the directory
    /// of the profile's outputs.
    ///
    /// # Panics
    /// When cargo fails.
    #[track_caller]
    pub fn cargo_build(
        &self,
        project: &Project,
        profile: &str,
        arguments: &[&str],
    ) -> std::path::PathBuf {
        let target = self.fresh_path("cargo-target");
        let directory = target.to_str().expect("an environment's paths are text");
        let all: Vec<&str> = ["build", "--target-dir", directory]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let _ = self.cargo(project, &all).success();
        target.join(profile)
    }
}
