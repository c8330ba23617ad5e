//! What the orchestrator keeps beside an action's outputs.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vx_core::digest::Digest;
use vx_core::readset::TakenIn;
use vx_core::result::{ActionResult, OutputForm};
use vx_plan::BuildOutput;

/// Layout of [`Payload`]; a result of another version is no hit.
const VERSION: u32 = 2;

/// The name under which a build script's `OUT_DIR` is collected.
pub(crate) const OUT_DIR: &str = "out_dir";

/// A real place that a program holds: it looks for it there when it runs, wherever that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Held {
    /// The checkout's.
    Checkout,
    /// A package's.
    Package {
        /// Its fixed place.
        place: String,
        /// Its real one.
        at: String,
        /// What names its content.
        identity: Digest,
    },
    /// An `OUT_DIR`.
    OutDir {
        /// Its real place.
        at: String,
        /// What is in there.
        tree: Digest,
    },
}

/// Kept in [`ActionResult::payload`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    version: u32,
    /// How long the program ran, in milliseconds.
    pub(crate) duration_ms: u64,
    /// What a build script said.
    pub(crate) build_output: Option<BuildOutput>,
    /// Which places it had as they really are, because its outputs hold them.
    pub(crate) taken: TakenIn,
    /// Real places that its outputs hold, with what was linked.
    pub(crate) holds: Vec<Held>,
    /// Fixed places that its outputs hold nevertheless: files that a build script wrote say so.
    pub(crate) left: Vec<String>,
}

impl Payload {
    /// A payload of today's version.
    pub(crate) fn new(duration_ms: u64, build_output: Option<BuildOutput>) -> Self {
        Self {
            version: VERSION,
            duration_ms,
            build_output,
            ..Self::default()
        }
    }

    /// Its encoding.
    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self)
            .expect("plain values always encode")
            .into()
    }

    /// The payload of a result; `None` for one of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let payload: Self = postcard::from_bytes(bytes).ok()?;
        (payload.version == VERSION).then_some(payload)
    }

    /// What dependents of a build script's run depend on: all it said that reaches them, and
    /// its `OUT_DIR`.
    pub(crate) fn run_digest(&self, result: &ActionResult) -> Digest {
        let said = self.build_output.as_ref().map(|output| {
            (
                &output.library_paths,
                &output.library_links,
                &output.linker_args,
                &output.cfgs,
                &output.check_cfgs,
                &output.env,
                &output.metadata,
            )
        });
        Digest::of_value("vx build script run 1", &(said, out_dir(result)))
    }
}

/// The tree a build script left in its `OUT_DIR`.
pub(crate) fn out_dir(result: &ActionResult) -> Option<Digest> {
    result
        .output(OUT_DIR)
        .filter(|output| output.form == OutputForm::Tree)
        .map(|output| output.blob.digest)
}

/// Whether what a build script passes on holds the checkout's place. Search paths do not
/// count: they only lead to files, whose content is in the keys of those who use them.
pub(crate) fn says_path(output: &BuildOutput) -> bool {
    let holds = |text: &String| text.contains(vx_core::places::CHECKOUT);
    output.env.iter().any(|(_, value)| holds(value))
        || output.cfgs.iter().any(holds)
        || output.metadata.iter().any(|(_, value)| holds(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_a_build_script_do_not_reach_its_dependents() {
        let result = ActionResult {
            outputs: Vec::new(),
            payload: Bytes::new(),
            unisolated: false,
        };
        let quiet = Payload::new(1, Some(BuildOutput::default()));
        let mut loud = quiet.clone();
        loud.build_output.as_mut().unwrap().warnings = vec!["!".to_owned()];
        let mut other = quiet.clone();
        other.build_output.as_mut().unwrap().cfgs = vec!["x".to_owned()];
        assert_eq!(quiet.run_digest(&result), loud.run_digest(&result));
        assert_ne!(quiet.run_digest(&result), other.run_digest(&result));
        assert_eq!(Payload::decode(&quiet.encode()), Some(quiet));
    }
}
