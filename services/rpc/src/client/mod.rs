//! What a connection gives, as values that any thread can use: the core's traits over the wire.

mod aether;
mod cass;
mod executor;
mod observer;
mod results;
mod store;

pub use aether::RemoteOrchestrator;
pub use cass::{CassClient, GrantGuard, Granted};
pub use executor::RemoteExecutor;
pub(crate) use observer::{RemoteBuildObserver, RemoteObserver};
pub use results::RemoteResults;
pub use store::RemoteStore;
pub(crate) use store::introduce;

use crate::error::{Fault, invalid};
use crate::limits::PAGE;

/// Refuses a request that the other side would drop the connection for.
fn fits(size: capnp::Result<capnp::MessageSize>, what: &str) -> Result<(), Fault> {
    // Pages of answers are as large at most, and the bound on messages has room for two.
    let bytes = size?.word_count.saturating_mul(8);
    if bytes > 2 * PAGE as u64 {
        return Err(invalid(format!(
            "{what} takes {bytes} bytes, over the limit of a message"
        ))
        .into());
    }
    Ok(())
}
