//! The process: its services, the builds it has under way, and what it serves to clients.
//!
//! In: requests. Out: outcomes. It puts the other rooms together, and none of them knows it.

pub(crate) mod aether;
pub(crate) mod engine;
pub(crate) mod serve;
pub(crate) mod services;
pub(crate) mod shared;
