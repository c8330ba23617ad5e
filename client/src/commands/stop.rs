//! `vx stop`: ends the daemons and waits until they are gone. It starts none.

use super::Context;
use crate::connect::{self, Found};
use crate::error::{CommandError, CommandResult};

/// Ends them.
pub(crate) async fn run(context: Context<'_>) -> CommandResult {
    match connect::find(&context.home).await? {
        Found::Nobody => {
            context
                .shell
                .status("Stopped", "already: vx-aether does not run");
            return Ok(());
        }
        Found::OtherBuild(other) => other.drain(context.shell).await?,
        Found::Ours(found) => {
            let process = found.process()?;
            found
                .orchestrator()
                .stop()
                .await
                .map_err(|error| CommandError::service("stopping", &error))?;
            process.ended(context.shell).await?;
        }
    }
    context
        .shell
        .status("Stopped", "vx-aether and the services it started");
    Ok(())
}
