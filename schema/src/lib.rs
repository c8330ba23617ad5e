//! The Cap'n Proto schema of vx and its committed bindings; nothing else.
//!
//! `src/generated/` is made from `*.capnp` in this crate's directory, run at the repository's
//! root:
//!
//! ```ignore
//! capnpc::CompilerCommand::new()
//!     .src_prefix("schema")
//!     .output_path("schema/src/generated")
//!     .default_parent_module(vec!["generated".into()])
//!     .file("schema/aether.capnp") // and bootstrap, executor, store, values
//!     .run()
//! ```
//!
//! with `capnp` 0.9 or later on `PATH` and its `stream.capnp` in the standard include
//! directory. The bindings are committed so that building vx needs neither; the versions they
//! were made with are stamped into each file's head.

/// What the schema compiler wrote.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unimplemented,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]
pub mod generated {
    #[rustfmt::skip]
    pub mod aether_capnp;
    #[rustfmt::skip]
    pub mod bootstrap_capnp;
    #[rustfmt::skip]
    pub mod executor_capnp;
    #[rustfmt::skip]
    pub mod store_capnp;
    #[rustfmt::skip]
    pub mod values_capnp;
}

pub use generated::{aether_capnp, bootstrap_capnp, executor_capnp, store_capnp, values_capnp};

/// The version of the schema. Two processes of different versions do not talk; it changes with
/// any change to the schema but to `bootstrap.capnp`, which only grows.
pub const PROTOCOL: u32 = 2;
