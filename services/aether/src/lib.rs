//! The orchestrator: plans builds, computes keys, schedules actions, writes reports.
//!
//! Data flows one way: a request is made ready ([`prepare`]), its actions are looked up
//! ([`resolve`]) and run ([`schedule`], [`execute`]), final outputs are delivered
//! ([`deliver`]), and a report is written ([`report`]). No artifact byte passes through here
//! but final outputs where the store can't put them in place itself.

mod aether;
mod afterwards;
mod blobs;
mod build;
mod by_path;
mod cause;
mod change_times;
mod context;
mod declared;
mod deliver;
mod deliveries;
mod dependency;
mod dependency_parts;
mod diagnostics;
mod durations;
mod end;
mod engine;
mod environment;
mod execute;
mod files;
mod given;
mod given_trees;
mod graph;
mod host;
mod identities;
mod inflight;
mod inputs;
mod job;
mod keys;
mod labels;
mod layout;
mod memo;
mod named;
mod narrate;
mod observe;
mod offline;
mod once;
mod out_dirs;
mod outside;
mod own_directory;
mod payload;
mod prepare;
mod readsets;
mod real_places;
mod report;
mod resolve;
mod rustc_info;
mod schedule;
mod secrets;
mod serve;
mod services;
mod session;
mod shared;
mod sight;
mod slots;
mod sources;
mod spec;
mod staging;
mod stamps;
mod statcache;
#[cfg(test)]
mod tests;
mod unseen;
mod verify;

pub use serve::main;
