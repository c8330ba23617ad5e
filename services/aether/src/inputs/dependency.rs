//! What an action takes of its dependencies, once they are there.

use std::collections::BTreeSet;

use vx_core::digest::{Blob, Digest};
use vx_core::result::ActionResult;
use vx_core::{ActionKey, Output};
use vx_plan::BuildOutput;

use crate::build::Build;
use crate::graph::{Need, Role};
use crate::inputs::cause::Cause;
use crate::inputs::payload::{Held, Payload, out_dir};
use crate::key::KeyParts;

/// An action that is done.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// What it was published under; `None` when it could not be.
    pub(crate) key: Option<ActionKey>,
    /// What the key was made of.
    pub(crate) parts: Option<KeyParts>,
    /// What it left behind.
    pub(crate) result: ActionResult,
    /// The payload, decoded.
    pub(crate) payload: Payload,
    /// Why its program was run again before this was settled, once for each time.
    pub(crate) again: Vec<String>,
    /// Why earlier runs of the action were found to differ by themselves.
    pub(crate) unstable: BTreeSet<Cause>,
}

/// What of one dependency is used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Used {
    /// Files.
    Files {
        /// Each with the place where the action expects it.
        files: Vec<UsedFile>,
        /// Real places that they hold; of metadata it is not told.
        holds: Vec<Held>,
    },
    /// A build script's run.
    Run {
        /// What it said.
        output: Box<BuildOutput>,
        /// The tree in its `OUT_DIR`.
        out_dir: Option<Digest>,
        /// What stands for all of it in keys.
        digest: Digest,
        /// Whether it names the checkout's real place, so that what it names is only there.
        names_place: bool,
    },
}

impl Used {
    /// Real places that it holds.
    pub(crate) fn holds(&self) -> &[Held] {
        match self {
            Self::Files { holds, .. } => holds,
            Self::Run { .. } => &[],
        }
    }
}

/// One file of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedFile {
    /// Where the action expects it.
    pub(crate) place: String,
    /// Its content.
    pub(crate) blob: Blob,
}

/// What of a dependency that is done a need takes; `None` when its result lacks it.
pub(crate) fn of_finished(build: &Build, need: Need, finished: &Finished) -> Option<Used> {
    if need.role == Role::Run {
        return Some(Used::Run {
            output: Box::new(finished.payload.build_output.clone().unwrap_or_default()),
            out_dir: out_dir(&finished.result),
            digest: finished.payload.run_digest(&finished.result),
            names_place: finished.payload.taken.checkout,
        });
    }
    // Metadata is used before its execution ends, when nobody knows yet.
    let holds = match need.role {
        Role::Rmeta => Vec::new(),
        _ => finished.payload.holds.clone(),
    };
    files(build, need, &finished.result.outputs, holds)
}

/// What of a dependency that still runs a need takes: only metadata is of use before the end.
pub(crate) fn of_early(build: &Build, need: Need, early: &[Output]) -> Option<Used> {
    (need.role == Role::Rmeta).then(|| files(build, need, early, Vec::new()))?
}

fn files(build: &Build, need: Need, outputs: &[Output], holds: Vec<Held>) -> Option<Used> {
    let mut used = Vec::new();
    for file in &build.graph.files[need.unit] {
        if !need.role.is(file.kind) {
            continue;
        }
        let output = outputs.iter().find(|output| output.name == file.name);
        match output {
            Some(output) => used.push(UsedFile {
                place: file.place.clone(),
                blob: output.blob,
            }),
            None if file.optional => {}
            None => return None,
        }
    }
    (!used.is_empty()).then_some(Used::Files { files: used, holds })
}
