//! What a store is opened with.

use std::path::{Path, PathBuf};

use vx_core::size::{SizeError, parse_size};

use crate::limits::MIN_LIMIT;

/// The variable that bounds a store's size where the command line does not.
pub const LIMIT_VARIABLE: &str = "VX_CASS_LIMIT";

/// The variable that switches placing off, with the value `off`.
pub const PLACE_VARIABLE: &str = "VX_CASS_PLACE";

/// The largest size a store gets where nothing says otherwise, in bytes.
const DEFAULT_LIMIT: u64 = 20 << 30;

/// What a store is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CassConfig {
    /// Where it keeps everything.
    pub directory: PathBuf,
    /// The size it is kept under, in bytes; what grants hold is kept beyond it.
    pub limit: u64,
    /// Whether files are placed for holders on this host.
    pub placing: bool,
    /// Whether results of actions that were not isolated are kept.
    pub accept_unisolated: bool,
}

/// A size or switch that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A size a store can't work with.
    #[error("a limit of {0} bytes is too small: give at least {MIN_LIMIT}")]
    TooSmall(u64),
    /// Neither on nor off.
    #[error("{PLACE_VARIABLE} is {0:?}: give `on` or `off`")]
    Switch(String),
}

impl CassConfig {
    /// A store in `directory` with the default size and placing on.
    ///
    /// The default size is 20 GiB or a tenth of the disk, whichever is less: it holds dozens of
    /// workspaces, and nobody's disk fills up with it.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        let limit = default_limit(&directory);
        Self {
            directory,
            limit,
            placing: true,
            accept_unisolated: false,
        }
    }

    /// Takes the limit and the switch from the variables where they are set.
    ///
    /// # Errors
    /// When a value can't be meant.
    pub fn with_variables(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        if let Some(text) = variable(LIMIT_VARIABLE) {
            self.limit = parse_limit(&text)?;
        }
        self.placing = match variable(PLACE_VARIABLE).as_deref() {
            None | Some("" | "on" | "1") => true,
            Some("off" | "0") => false,
            Some(other) => return Err(ConfigError::Switch(other.to_owned())),
        };
        Ok(self)
    }
}

fn default_limit(directory: &Path) -> u64 {
    let tenth = directory
        .ancestors()
        .find_map(|path| rustix::fs::statvfs(path).ok())
        .map_or(DEFAULT_LIMIT, |disk| {
            disk.f_blocks.saturating_mul(disk.f_frsize) / 10
        });
    tenth.clamp(MIN_LIMIT, DEFAULT_LIMIT)
}

/// The size a store is kept under, as [`parse_size`] reads it.
///
/// # Errors
/// When it is not a size, or too small for a store.
pub fn parse_limit(text: &str) -> Result<u64, ConfigError> {
    let bytes = parse_size(text)?;
    if bytes < MIN_LIMIT {
        return Err(ConfigError::TooSmall(bytes));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_limit("5G"), Ok(5 << 30));
        assert!(matches!(parse_limit("12"), Err(ConfigError::TooSmall(12))));
        assert!(matches!(parse_limit("much"), Err(ConfigError::Size(_))));
    }

    #[test]
    fn variables_win_over_defaults() {
        let config = CassConfig::new("/nonexistent/store");
        assert!(config.placing && config.limit >= MIN_LIMIT);
        let set = |name: &str| match name {
            LIMIT_VARIABLE => Some("2G".to_owned()),
            PLACE_VARIABLE => Some("off".to_owned()),
            _ => None,
        };
        let config = config.with_variables(set).unwrap();
        assert!(!config.placing && config.limit == 2 << 30);
        let odd = |name: &str| (name == PLACE_VARIABLE).then(|| "maybe".to_owned());
        assert!(CassConfig::new("/").with_variables(odd).is_err());
    }
}
