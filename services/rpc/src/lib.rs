//! Every line of Cap'n Proto plumbing in vx.
//!
//! A service hands an `Arc` of a core trait to a [`Server`]; whoever uses a service gets the
//! same trait from a [`Hub`]. In between are endpoints and sockets ([`endpoint`], [`directory`],
//! `socket`), secrets and the handshake ([`secret`], [`identity`]), one watched connection
//! (`connection`), the threads that capabilities live on (`vat`), byte streams (`blob`), the
//! conversions (`wire`, `error`), and the bounds ([`limits`]).
//!
//! Invariants:
//! - No file, hash or child process is touched on a connection's thread: adapters await the
//!   core's futures on the service's runtime.
//! - Whatever a connection holds at the other side ends with it: a grant, an action, a build.
//! - Nothing depends on pipelining, so everything works through a relay.
//! - An object implements one interface, so no capability can be cast to a greater one.

mod blob;
mod client;
mod connect;
mod connection;
pub mod daemon;
pub mod directory;
pub mod endpoint;
mod error;
mod hub;
pub mod identity;
pub mod limits;
mod line;
pub mod secret;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod vat;
mod wire;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

pub use client::{
    CassClient, GrantGuard, Granted, RemoteExecutor, RemoteOrchestrator, RemoteResults, RemoteStore,
};
pub use connect::ConnectError;
pub use endpoint::{Endpoint, EndpointError};
pub use hub::Hub;
pub use identity::{BUILD, Hello};
pub use limits::Limits;
pub use line::{ConnectionStats, Direction, Route, StoreTraffic};
pub use secret::{Secret, SecretError};
pub use server::{Handover, ReadyServer, Server, ServerBuilder, ServerHandle};
pub use socket::{DialError, ListenError};
