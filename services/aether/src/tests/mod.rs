//! The scheduler over an in-memory store and an executor that does what a test says.

mod plans;
mod scheduling;
mod stage;
mod statcache;
