//! Identities of actions.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

digest_newtype! {
    /// Names an action with everything it depends on: its static part, what it read, and the
    /// outputs of its dependencies. Results are published under it.
    ActionKey
}
digest_newtype! {
    /// Names what the plan alone says of an action; read sets are kept under it.
    StaticDigest
}
digest_newtype! {
    /// Names a short list of records kept beside results: read sets, graph records, plans.
    RecordName
}

impl From<StaticDigest> for RecordName {
    fn from(value: StaticDigest) -> Self {
        Self(value.0)
    }
}
