//! The executor: runs actions in isolation roots.

pub mod guard;
mod host;
mod jobs;
mod scratch;
mod spawner;
