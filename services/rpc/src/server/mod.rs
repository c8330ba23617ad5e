//! What services offer: the core's traits, as objects on the wire.

mod aether;
mod bootstrap;
mod cass;
mod executor;
mod grant;
mod listen;
mod observer;
mod results;
mod store;
mod work;

pub use executor::Handover;
pub use listen::{ReadyServer, Server, ServerBuilder, ServerHandle};
pub(crate) use observer::{BuildObserverServer, ObserverServer};
pub(crate) use store::StoreServer;
pub(crate) use work::{StreamGuard, Streams, Task, run, run_at_hand};
