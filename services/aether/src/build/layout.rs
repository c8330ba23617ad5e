//! Where things are in a workspace's own directory, `.vx`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vx_core::error::ServiceError;

use crate::build::Build;
use crate::host::files;
use crate::host::visibility::real;

/// The workspace's own directory, where it really is. Absolute without links on the way, as the
/// places of an isolation root are.
pub(crate) fn own_directory(build: &Build) -> PathBuf {
    real(&build.workspace.join(".vx"))
}

/// The project's `.vx`, made when absent, with the file that keeps it out of git.
///
/// # Errors
/// When it can't be made.
pub(crate) fn project_directory(workspace: &Path) -> io::Result<PathBuf> {
    let directory = workspace.join(".vx");
    fs::create_dir_all(directory.join("runs"))?;
    let ignore = directory.join(".gitignore");
    if !ignore.exists() {
        files::write_whole(&ignore, b"*\n")?;
    }
    Ok(directory)
}

/// The directory of a triple's final outputs.
pub(crate) fn outputs_directory(build: &Build, unit: usize) -> PathBuf {
    let plan = &build.plan;
    build
        .workspace
        .join(".vx/build")
        .join(plan.triple(&plan.units[unit]))
        .join(&plan.profile_dir)
}

/// Final outputs, or what belongs to them, can't be written.
pub(crate) fn cannot_write(workspace: &Path, error: &io::Error) -> ServiceError {
    ServiceError::Failed(format!(
        "final outputs can't be written below {}: {error}\n\
         make the directory writable, or free some space, and build again",
        workspace.join(".vx").display()
    ))
}
