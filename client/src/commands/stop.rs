//! `vx stop`: ends the daemons and waits until they are gone. It starts none.

use super::Context;
use crate::error::CommandResult;

/// Ends them, of whatever build they are.
pub(crate) async fn run(context: Context<'_>) -> CommandResult {
    if context.aether.leave(context.shell).await? {
        context
            .shell
            .status("Stopped", "vx-aether and the services it started");
    } else {
        let home = context.aether.home().path().display();
        context.shell.status(
            "Stopped",
            &format!("already: vx-aether does not run in {home}"),
        );
    }
    Ok(())
}
