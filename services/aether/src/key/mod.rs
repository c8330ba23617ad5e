//! Keys: what an action depends on, observed now.
//!
//! In: a static key, outputs of dependencies, a read set. Out: the parts of a key, and the key. Runs nothing,
//! and decides nothing about results.

pub(crate) mod trees;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vx_core::digest::Digest;
use vx_core::key::{ActionKey, StaticDigest};
use vx_core::readset::{Observed, Read, ReadPlace, ReadSet};

use crate::host::observe::{Observation, Places, observe};
use crate::host::stat_cache::StatCache;
use crate::host::toolchain;
use crate::key::trees::Given;

/// One thing that enters a key as a dependency's output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DependencyPart {
    /// What it is, such as a file name.
    pub(crate) name: String,
    /// Its digest.
    pub(crate) digest: Digest,
}

/// Real places that enter a key, for what took those in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyedPlaces {
    /// The checkout's.
    pub(crate) checkout: Option<String>,
    /// Those of packages and `OUT_DIR`s, sorted, with what is in the latter.
    pub(crate) others: Vec<(String, Option<Digest>)>,
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
    /// Real paths of packages and `OUT_DIR`s, for what took those in, with what is in the latter.
    pub(crate) places: Vec<(String, Option<Digest>)>,
}

impl KeyParts {
    /// The key.
    pub(crate) fn key(&self) -> ActionKey {
        ActionKey(Digest::of_value("vx action key 1", self))
    }
}

/// What stands for a variable's value: with this machine's processor, if it asks for that.
fn value_digest(value: &str) -> Digest {
    if vx_plan::asks_for_native(value) {
        Digest::of_value(
            "vx value for a processor 1",
            &(value, toolchain::processor()),
        )
    } else {
        Digest::of(value.as_bytes())
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
    /// What an action is given by digest and watched in.
    pub(crate) given: &'a Given,
    /// What was observed of the host in this build already; without it everything is looked at
    /// afresh.
    pub(crate) seen: Option<&'a HostSeen>,
}

/// Observations of the host that one build's look-ups share.
#[derive(Default)]
pub(crate) struct HostSeen(Mutex<HashMap<Read, Observation>>);

impl HostSeen {
    fn get(&self, read: &Read) -> Option<Observation> {
        self.lock().get(read).cloned()
    }

    /// Forgets all of it.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn put(&self, read: &Read, observation: &Observation) {
        self.lock().insert(read.clone(), observation.clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Read, Observation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer<'_> {
    /// The key parts of an action under a read set, as things are now. `soft` are variables that
    /// count where they are named; `real` is what it took in; `note` is told of each observation.
    ///
    /// # Errors
    /// When something that was read is there and can't be read.
    pub(crate) fn parts(
        &self,
        static_digest: StaticDigest,
        dependencies: &[DependencyPart],
        set: &ReadSet,
        soft: &[(String, String)],
        real: &KeyedPlaces,
        mut note: impl FnMut(&Read, &Observation),
    ) -> io::Result<KeyParts> {
        let mut reads = Vec::with_capacity(set.reads.len());
        let moved = real
            .checkout
            .as_ref()
            .filter(|_| !self.places.shows_everything())
            .map(|_| self.places.at_real_checkout());
        for read in &set.reads {
            let observation = match &moved {
                // A link may lead such an action to other things, but not in what it is given.
                Some(places) if !matches!(read.place, ReadPlace::Given(_)) => {
                    observe(self.cache, places, read)?
                }
                _ => self.observe(read)?,
            };
            note(read, &observation);
            reads.push((read.clone(), observation.observed));
        }
        Ok(KeyParts {
            static_digest,
            dependencies: dependencies.to_vec(),
            reads,
            env: self.env_parts(set, soft),
            checkout: real.checkout.clone(),
            places: real.others.clone(),
        })
    }

    /// What of the host every action sees is looked at once a build while looking up: it is
    /// much the same for all of them. After an execution it is looked at again.
    fn observe(&self, read: &Read) -> io::Result<Observation> {
        if let ReadPlace::Given(path) = &read.place {
            return Ok(Observation {
                observed: self.given.observe(path, read.kind),
                newest_ns: i128::MIN,
                own_ns: None,
                by_path: false,
            });
        }
        let on_host = matches!(read.place, ReadPlace::Host(_));
        let seen = self.seen.filter(|_| on_host);
        if let Some(known) = seen.and_then(|seen| seen.get(read)) {
            return Ok(known);
        }
        let observation = observe(self.cache, self.places, read)?;
        if let Some(seen) = seen {
            seen.put(read, &observation);
        }
        Ok(observation)
    }

    /// The value of a variable that an action named.
    pub(crate) fn variable<'v>(
        &'v self,
        soft: &'v [(String, String)],
        name: &str,
    ) -> Option<&'v String> {
        let soft = soft.iter().find(|(soft, _)| soft == name);
        soft.map(|(_, value)| value).or_else(|| self.env.get(name))
    }

    fn env_parts(&self, set: &ReadSet, soft: &[(String, String)]) -> Vec<(String, Option<Digest>)> {
        let value = |name: &String| {
            let value = self.variable(soft, name);
            value.map(|value| value_digest(value))
        };
        set.env
            .iter()
            .map(|name| (name.clone(), value(name)))
            .collect()
    }
}
