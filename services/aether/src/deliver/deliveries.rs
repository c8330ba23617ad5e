//! Which build delivered what: an earlier one does not put its outputs over those of a later one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vx_core::Digest;
use vx_core::orchestrator::Selection;

use crate::graph::environment;

/// How many delivered paths are remembered; past it the memory starts over.
const MAX_DELIVERED: usize = 50_000;

/// A build among those that deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// A later build has a larger one.
    number: u64,
    /// What names what was asked for.
    asked: Digest,
}

/// Variables that a build's actions named, with digests of the values of those that were set.
pub(crate) type Named = BTreeMap<String, Option<Digest>>;

/// Which build last delivered what. One that began before that one, and was asked for the same, has
/// older sources.
#[derive(Default)]
pub(crate) struct Deliveries {
    begun: AtomicU64,
    last: Mutex<HashMap<PathBuf, (Turn, Arc<Named>)>>,
}

impl Deliveries {
    /// The turn of a build that begins. The same is asked for by the same selection from the same
    /// directory, with the same toolchain, and variables that make the same plan and that all build
    /// scripts find.
    pub(crate) fn begin(
        &self,
        selection: &Selection,
        cwd: &str,
        toolchain: &Digest,
        env: &BTreeMap<String, String>,
    ) -> Turn {
        let env = (vx_plan::plan_env(env), environment::allowed(env));
        let asked = (selection, cwd, toolchain, env);
        Turn {
            number: self.begun.fetch_add(1, Ordering::Relaxed),
            asked: Digest::of_value("vx delivery 2", &asked),
        }
    }

    /// Has a build put something at a path, unless one did that was asked for the same and began
    /// later. Builds that gave different values to a variable which both named were not asked for the
    /// same.
    ///
    /// # Errors
    /// As `put` has them.
    pub(crate) fn in_turn(
        &self,
        build: Turn,
        named: &Arc<Named>,
        path: &Path,
        put: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = |(last, their): &(Turn, Arc<Named>)| {
            let mut named = named.iter();
            last.asked == build.asked
                && last.number > build.number
                && named.all(|(name, value)| their.get(name).is_none_or(|their| their == value))
        };
        if last.get(path).is_some_and(newer) {
            return Ok(());
        }
        put()?;
        if last.len() >= MAX_DELIVERED {
            last.clear();
        }
        last.insert(path.to_owned(), (build, Arc::clone(named)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_build_delivered_stays() {
        let deliveries = Deliveries::default();
        let same = Selection::default();
        let other = Selection {
            release: true,
            ..Selection::default()
        };
        let toolchain = Digest::of(b"1");
        let env = |flags: &str| BTreeMap::from([("RUSTFLAGS".to_owned(), flags.to_owned())]);
        let begin = |selection: &Selection, cwd: &str, flags: &str| {
            deliveries.begin(selection, cwd, &toolchain, &env(flags))
        };
        let (first, second) = (begin(&same, "/", ""), begin(&same, "/", ""));
        let third = begin(&other, "/", "");
        let elsewhere = begin(&same, "/deeper", "");
        let flagged = begin(&same, "/", "--cfg=a");
        let names = |value: &[u8]| {
            let named = [("WORD".to_owned(), Some(Digest::of(value)))];
            Arc::new(Named::from(named))
        };
        let puts_as = |build, named: &Arc<Named>, path| {
            let mut put = false;
            let done = deliveries.in_turn(build, named, Path::new(path), || {
                put = true;
                Ok(())
            });
            done.unwrap();
            put
        };
        let puts = |build, path| puts_as(build, &Arc::default(), path);
        assert!(puts(first, "/a"));
        assert!(puts(second, "/a"));
        assert!(!puts(first, "/a"));
        assert!(puts(first, "/b"));
        // Who was asked for something else has what that is.
        assert!(puts(third, "/b"));
        assert!(puts(first, "/b"));
        for variant in [elsewhere, flagged] {
            assert!(puts(variant, "/b"));
            assert!(puts(first, "/b"));
        }
        // So has who gave another value to what is named.
        assert!(puts_as(second, &names(b"2"), "/d"));
        assert!(puts_as(first, &names(b"1"), "/d"));
        assert!(puts_as(second, &names(b"2"), "/d"));
        assert!(!puts_as(first, &names(b"2"), "/d"));
        assert!(!puts(first, "/d"));
        let failed = deliveries.in_turn(second, &Arc::default(), Path::new("/c"), || {
            Err(io::Error::other("full"))
        });
        assert!(failed.is_err());
        assert!(puts(first, "/c"));
    }
}
