//! Checked relative paths.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

/// A relative path of normal components, `/`-separated UTF-8: no root, no `.`, no `..`, no
/// empty component, no NUL. The empty path names the directory it is relative to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(transparent)]
pub struct RelPath(String);

/// Why text is not a [`RelPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts at the root.
    #[error("{0:?} is absolute where a relative path is needed")]
    Absolute(String),
    /// A component is empty, `.` or `..`.
    #[error("{0:?} has a component that is empty, `.` or `..`")]
    Component(String),
    /// It is not UTF-8 or holds a NUL byte.
    #[error("{0:?} is not plain UTF-8")]
    Text(String),
}

impl RelPath {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not a relative path of normal components.
    pub fn new(text: impl Into<String>) -> Result<Self, PathError> {
        let text = text.into();
        if text.is_empty() {
            return Ok(Self(text));
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute(text));
        }
        if text.contains('\0') {
            return Err(PathError::Text(text));
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(PathError::Component(text));
        }
        Ok(Self(text))
    }

    /// Checks a path of the host.
    ///
    /// # Errors
    /// As [`RelPath::new`], and when it is not UTF-8.
    pub fn from_path(path: &Path) -> Result<Self, PathError> {
        match path.to_str() {
            Some(text) => Self::new(text),
            None => Err(PathError::Text(path.to_string_lossy().into_owned())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names the base directory itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This path below `base`.
    #[must_use]
    pub fn under(&self, base: &Path) -> PathBuf {
        if self.0.is_empty() {
            base.to_owned()
        } else {
            base.join(&self.0)
        }
    }

    /// `other` below this path.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        match (self.0.is_empty(), other.0.is_empty()) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            _ => Self(format!("{}/{}", self.0, other.0)),
        }
    }

    /// Whether this is `base` or lies below it.
    #[must_use]
    pub fn starts_with(&self, base: &Self) -> bool {
        base.0.is_empty()
            || self.0 == base.0
            || (self.0.starts_with(&base.0) && self.0.as_bytes()[base.0.len()] == b'/')
    }

    /// The path without its last component; `None` for the empty path.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(
            self.0
                .rsplit_once('/')
                .map_or("", |(head, _)| head)
                .to_owned(),
        ))
    }

    /// The last component; `None` for the empty path.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        Some(
            self.0
                .rsplit_once('/')
                .map_or(self.0.as_str(), |(_, tail)| tail),
        )
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_leave_the_base() {
        for bad in ["/a", "..", "a/../b", "a//b", "./a", "a/", "a\0b"] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn walks() {
        let path = RelPath::new("a/b.rs").unwrap();
        assert_eq!(path.parent(), Some(RelPath::new("a").unwrap()));
        assert_eq!(path.file_name(), Some("b.rs"));
        assert!(path.starts_with(&RelPath::new("a").unwrap()));
        assert!(
            !RelPath::new("ab")
                .unwrap()
                .starts_with(&RelPath::new("a").unwrap())
        );
        assert_eq!(RelPath::default().join(&path), path);
    }

    #[test]
    fn decoding_checks_too() {
        let encoded = postcard::to_stdvec("../x").unwrap();
        assert!(postcard::from_bytes::<RelPath>(&encoded).is_err());
    }
}
