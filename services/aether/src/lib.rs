//! The orchestrator: plans builds, computes keys, schedules actions, writes reports.
//!
//! Its rooms, in the order in which one may use another: each only those before it (`cargo xtask ci`).
//!
//! | room | for |
//! | --- | --- |
//! | [`host`] | what is on the host, as it is now |
//! | [`session`] | the services that a build uses |
//! | [`graph`] | the plan as the scheduler sees it, with static keys |
//! | [`key`] | keys, and what they are made of |
//! | [`build`] | a build: what, where, for whom |
//! | [`inputs`] | what an action is given and shown |
//! | [`lookup`] | results that are there |
//! | [`execute`] | running, checking, publishing |
//! | [`report`] | events and reports |
//! | [`schedule`] | the build's loop |
//! | [`deliver`] | final outputs |
//! | [`verify`] | running again what was found |
//! | [`plan`] | from a request to a build |
//! | [`daemon`] | the process around it |
//!
//! No artifact byte passes through here but final outputs where the store can't put them in place itself.

mod build;
mod daemon;
mod deliver;
mod execute;
mod graph;
mod host;
mod inputs;
mod key;
mod lookup;
mod plan;
mod report;
mod schedule;
mod session;
#[cfg(test)]
mod tests;
mod verify;

pub use daemon::serve::main;
