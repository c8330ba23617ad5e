//! The workspace's own directory, `.vx`, in whose stead actions find `OUT_DIR`s that they took in.

use std::path::Path;

use crate::build::Build;
use crate::build::layout;
use crate::execute::spec::Prepared;

/// Whether an action is to find inputs in the stead of the workspace's own directory.
fn is_shown(build: &Build, prepared: &Prepared) -> bool {
    let mut shown = prepared.spec.real_places.iter();
    shown.any(|place| Path::new(place) == layout::own_directory(build))
}

/// Whether that directory was taken away before an action could be started on it.
pub(crate) fn went(build: &Build, prepared: &Prepared) -> bool {
    is_shown(build, prepared) && !layout::own_directory(build).is_dir()
}

/// Makes that directory: nothing can be shown at a path that a read-only checkout does not have.
pub(crate) fn make(build: &Build, prepared: &Prepared) -> Result<(), String> {
    if !is_shown(build, prepared) {
        return Ok(());
    }
    let workspace = &build.workspace;
    tokio::task::block_in_place(|| layout::project_directory(workspace))
        .map(|_| ())
        .map_err(|error| layout::cannot_write(workspace, &error).to_string())
}
