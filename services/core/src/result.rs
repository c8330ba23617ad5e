//! What an execution left behind.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::{Blob, Digest};

/// How an output's blob is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputForm {
    /// A file's content.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// An encoded [`crate::Tree`]; its files are blobs of their own.
    Tree,
}

/// One output of an action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Output {
    /// Its name within the action: a file name below the output directory, or `stdout`,
    /// `stderr`, or the name a collected tree was given.
    pub name: String,
    /// The content, or the encoded tree.
    pub blob: Blob,
    /// How to understand it.
    pub form: OutputForm,
}

/// What is published under an action's key. A result is served only while every blob it names
/// is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The outputs, sorted by name.
    pub outputs: Vec<Output>,
    /// What the orchestrator adds; the store does not look into it.
    pub payload: Bytes,
    /// Whether it ran where actions are not isolated. A store keeps such a result only where
    /// it was told to.
    pub unisolated: bool,
}

impl ActionResult {
    /// The output of this name.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// The digests of all outputs.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.outputs.iter().map(|output| output.blob.digest)
    }
}
