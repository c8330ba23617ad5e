//! `vx clean`.

use super::Context;
use crate::args::ManifestArgs;
use crate::error::{CommandError, CommandResult};
use crate::request::Schedule;

/// Has the workspace's final outputs and reports removed.
pub(crate) async fn run(context: Context<'_>, args: &ManifestArgs) -> CommandResult {
    let request = context
        .caller
        .request(args.selection(), Schedule::default());
    let orchestrator = context.aether.start(context.shell).await?;
    let project = orchestrator
        .clean(request)
        .await
        .map_err(|error| CommandError::service("cleaning", &error))?;
    context.shell.status(
        "Removed",
        &format!("final outputs and reports in {}/.vx", project.workspace),
    );
    Ok(())
}
