//! Keys: what an action is, and what it depends on.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use vx_core::digest::Digest;
use vx_core::key::{ActionKey, StaticDigest};
use vx_core::readset::{Observed, Read, ReadSet};

use crate::observe::{Places, observe};
use crate::statcache::StatCache;

/// The version of everything that decides keys and results: a change to it forgets all
/// earlier results.
pub(crate) const KEY_SCHEMA: u32 = 1;

/// What the plan alone says of an action, and what it runs with.
#[derive(Serialize)]
pub(crate) struct StaticPart<'a> {
    /// [`KEY_SCHEMA`].
    pub(crate) schema: u32,
    /// What the plan says: kind, package, command line, environment.
    pub(crate) plan: &'a [u8],
    /// The toolchain's content.
    pub(crate) toolchain: Digest,
    /// The host's, for what links or runs foreign code.
    pub(crate) host: Option<Digest>,
    /// What the action sees of immutable packages: places, and what names their content.
    pub(crate) packages: Vec<(String, Digest)>,
    /// Variables let through, as they are.
    pub(crate) allowed_env: Vec<(String, String)>,
}

impl StaticPart<'_> {
    /// Its digest.
    pub(crate) fn digest(&self) -> StaticDigest {
        StaticDigest(Digest::of_value("vx static part 1", self))
    }
}

/// One thing that enters a key as a dependency's output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DependencyPart {
    /// What it is, such as a file name.
    pub(crate) name: String,
    /// Its digest.
    pub(crate) digest: Digest,
}

/// Everything a key is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyParts {
    /// The static part.
    pub(crate) static_digest: StaticDigest,
    /// Outputs of dependencies, by role.
    pub(crate) dependencies: Vec<DependencyPart>,
    /// What was read, as it was found.
    pub(crate) reads: Vec<(Read, Observed)>,
    /// Variables named, and digests of the values of those that are set.
    pub(crate) env: Vec<(String, Option<Digest>)>,
    /// The checkout's real path, for what took it in.
    pub(crate) checkout: Option<String>,
}

impl KeyParts {
    /// The key.
    pub(crate) fn key(&self) -> ActionKey {
        ActionKey(Digest::of_value("vx action key 1", self))
    }
}

/// Observes what read sets name, for one build.
pub(crate) struct Observer<'a> {
    /// Digests of host files.
    pub(crate) cache: &'a StatCache,
    /// Where things are.
    pub(crate) places: &'a Places,
    /// The caller's environment.
    pub(crate) env: &'a BTreeMap<String, String>,
}

impl Observer<'_> {
    /// The key parts of an action under a read set, as things are now, and the time of the
    /// newest file among them, in nanoseconds since the epoch.
    ///
    /// # Errors
    /// When something that was read is there and can't be read.
    pub(crate) fn parts(
        &self,
        static_digest: StaticDigest,
        dependencies: &[DependencyPart],
        set: &ReadSet,
    ) -> io::Result<(KeyParts, i128)> {
        let mut newest_ns = i128::MIN;
        let mut reads = Vec::with_capacity(set.reads.len());
        for read in &set.reads {
            let observation = observe(self.cache, self.places, read)?;
            newest_ns = newest_ns.max(observation.newest_ns);
            reads.push((read.clone(), observation.observed));
        }
        let parts = KeyParts {
            static_digest,
            dependencies: dependencies.to_vec(),
            reads,
            env: self.env_parts(set),
            checkout: set
                .takes_path
                .then(|| self.places.checkout.to_string_lossy().into_owned()),
        };
        Ok((parts, newest_ns))
    }

    fn env_parts(&self, set: &ReadSet) -> Vec<(String, Option<Digest>)> {
        set.env
            .iter()
            .map(|name| {
                let value = self.env.get(name).map(|value| Digest::of(value.as_bytes()));
                (name.clone(), value)
            })
            .collect()
    }
}
