//! Running actions where the kernel refuses isolation roots: on the host, as it is.
//!
//! What an isolation root mounts at fixed places lies here at real ones: below a base directory
//! for each checkout, where the [`shelf`] puts inputs for all actions of that checkout. The
//! [`places`] of an action are what its command line and environment are moved to, and what it
//! says is moved back from, so that the orchestrator sees fixed places in either case.

pub(crate) mod places;
pub(crate) mod prepare;
mod put;
pub(crate) mod shelf;
mod stamps;
