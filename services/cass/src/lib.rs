//! The content-addressed store: blobs by digest, results by key, records by name.
//!
//! It owns everything below its directory, alone writes there, and alone places files out of
//! it. It must not know what the contents mean, trees excepted, whose files it has to keep.
//!
//! | to see | read |
//! | --- | --- |
//! | what is on disk, and whose it is | `directory` |
//! | how content gets there and is checked | `blobs`, `stamp` |
//! | what is known of it, and survives | `state`, `index`, `keeper` |
//! | what goes when it grows too large | `evict` |
//! | what its holders can do | `store`, `results`, `claims`, `place` |
//! | its process | `serve` |
//! | every bound | `limits` |

mod blobs;
mod claims;
mod config;
mod directory;
mod evict;
mod index;
mod keeper;
mod limits;
mod place;
mod pool;
mod publish;
mod read;
mod records;
mod results;
pub mod serve;
mod service;
mod shared;
mod stamp;
mod state;
mod store;
#[cfg(test)]
mod stress;
mod write;

pub use blobs::FIXED_MTIME;
pub use config::{CassConfig, ConfigError, LIMIT_VARIABLE, PLACE_VARIABLE, parse_limit};
pub use directory::OpenError;
pub use service::{Cass, CloseError};
