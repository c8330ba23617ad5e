//! The executor: runs actions in isolation roots.
//!
//! [`Rhea`] takes an action through these steps, one module each: `fetch` and `stage` bring
//! its inputs, `packages` and `unpack` its packages; `layout` says what is mounted where;
//! `spawner` starts a [`guard`], which builds the root and runs the program; `streams` and
//! `messages` carry what it writes; `collect` and `ingest` store what it leaves, and `marker`
//! looks through it. [`serve`] is the program around it, `jobs` is the jobserver over all of
//! them, `memory` says how much each may have, `scratch` is the directory they work in.
//!
//! What holds throughout:
//! - An action sees what its spec names and the host's tools, and nothing else.
//! - Everything an action started has ended before its execution is answered, and when the
//!   executor is gone, however it went.
//! - Files shared with the store are visible only through read-only mounts.
//! - What an action leaves is never followed: no link, no special file.
//!
//! The executor decides no keys and can't publish: it only ever holds a
//! [`vx_core::Store`].

mod attend;
mod bare;
mod collect;
mod engine;
mod fault;
mod fetch;
pub mod guard;
mod host;
mod ingest;
mod jobs;
mod layout;
mod marker;
mod memory;
mod messages;
mod meter;
mod on_host;
mod packages;
mod removal;
mod run;
mod scratch;
pub mod serve;
mod source;
mod spawner;
mod stage;
mod streams;
mod unpack;

pub use engine::{PACKAGE_BYTES, Rhea, SHELF_BYTES, Settings, StartError};
pub use memory::MemoryBounds;
pub use scratch::DirectoryError;
