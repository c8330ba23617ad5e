//! The workspace's own directory, `.vx`, in whose stead actions find `OUT_DIR`s that they took in.

use std::path::{Path, PathBuf};

use crate::context::BuildContext;
use crate::deliver;
use crate::report;
use crate::sight::real;
use crate::spec::Prepared;

/// The workspace's own directory, where it really is. Absolute without links on the way, as the
/// places of an isolation root are.
pub(crate) fn path(context: &BuildContext) -> PathBuf {
    real(&context.workspace.join(".vx"))
}

/// Whether an action is to find inputs in the stead of the workspace's own directory.
fn is_shown(context: &BuildContext, prepared: &Prepared) -> bool {
    let mut shown = prepared.spec.real_places.iter();
    shown.any(|place| Path::new(place) == path(context))
}

/// Whether that directory was taken away before an action could be started on it.
pub(crate) fn went(context: &BuildContext, prepared: &Prepared) -> bool {
    is_shown(context, prepared) && !path(context).is_dir()
}

/// Makes that directory: nothing can be shown at a path that a read-only checkout does not have.
pub(crate) fn make(context: &BuildContext, prepared: &Prepared) -> Result<(), String> {
    if !is_shown(context, prepared) {
        return Ok(());
    }
    let workspace = &context.workspace;
    tokio::task::block_in_place(|| report::project_directory(workspace))
        .map(|_| ())
        .map_err(|error| deliver::cannot_write(workspace, &error).to_string())
}
