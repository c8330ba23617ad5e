//! What leads somewhere from the checkout's real place alone, and nowhere for an action that finds it
//! at its fixed one: links and texts that name the checkout by its path, or that go up out of it and in
//! again by its name, and a `.git` file that names a repository elsewhere by a relative path. And what
//! an action is shown of the host in one build and not in another.

use vx_core::RelPath;
use vx_core::places::{self, below};
use vx_core::readset::{Read, ReadKind, ReadPlace, ReadSet};
use vx_plan::Mode;

use crate::build::Build;
use crate::graph::visible;
use crate::host::observe::Observation;
use crate::host::visibility::{self, Visibility};
use crate::inputs::real_places;

/// Where a unit's action finds what is not part of it.
pub(crate) struct Shown<'a> {
    build: &'a Build,
    /// What of the host it is shown; `None` where that is everything.
    shown: Option<Vec<String>>,
    /// Where it would look for the checkout that it finds at its fixed place; nowhere if it does not find
    /// one.
    ways_back: Vec<String>,
}

impl<'a> Shown<'a> {
    /// That of a unit's action in this build.
    pub(crate) fn of(build: &'a Build, unit: usize) -> Self {
        let isolated = build.unisolated().is_none();
        let checkout = build.places.checkout.to_str();
        let checkout = checkout.filter(|_| isolated && real_places::sees_checkout(build, unit));
        Self {
            build,
            shown: isolated.then(|| shown_of_host(build, unit)),
            ways_back: checkout.map_or_else(Vec::new, places::ways_back),
        }
    }

    /// Whether the action, which read `set`, looked for the checkout elsewhere than at its fixed place: it
    /// found nothing there unless it had the checkout where that really is.
    pub(crate) fn looked_elsewhere(&self, set: &ReadSet) -> bool {
        let leads_by_path = |visibility: &Visibility| {
            let mut reads = set.reads.iter();
            tokio::task::block_in_place(|| reads.any(|read| visibility.is_by_path(&read.place)))
        };
        let visibility = self.build.places.visibility.as_ref();
        self.looked_by_name(set)
            || !self.ways_back.is_empty() && visibility.is_some_and(leads_by_path)
    }

    /// The same, but for links: it looked where the checkout really is, of which something must have told
    /// it, or where it would have found it by its parents' names, or for a repository by a relative path.
    fn looked_by_name(&self, set: &ReadSet) -> bool {
        let mut missed = set.missed.iter();
        missed.any(|path| is_below_any(path, &self.ways_back))
            || !self.ways_back.is_empty()
                && self.build.places.relative_repository
                && set.reads.iter().any(is_git_file)
    }

    /// Whether the action that read `set` would be shown something now that it was not shown then, or the
    /// reverse, or would now look where the checkout is: then this is not what it would read.
    ///
    /// Of links to the checkout by its path this says nothing; see [`Self::leads_elsewhere`].
    pub(crate) fn differ_from(&self, set: &ReadSet) -> bool {
        let Some(shown) = &self.shown else {
            return false;
        };
        let places = &self.build.places;
        let is_hidden_now = |read: &Read| match &read.place {
            ReadPlace::Host(path) => {
                !is_below_any(path, places::HOST) && !is_below_any(path, shown)
            }
            ReadPlace::Checkout(path) => places.hides(path),
            _ => false,
        };
        let real = places.checkout.to_string_lossy();
        let checkout = match set.taken.checkout {
            true => &*real,
            false => places::CHECKOUT,
        };
        let is_shown_now = |missed: &String| match below(missed, checkout) {
            // Of the checkout is missed what is in directories that are hidden.
            Some(inside) => RelPath::new(inside).is_ok_and(|inside| !places.hides(&inside)),
            None => is_below_any(missed, shown) || holds_more(missed, shown, set),
        };
        set.missed.iter().any(is_shown_now)
            || set.reads.iter().any(is_hidden_now)
            || (!set.taken.checkout && self.looked_by_name(set))
    }

    /// Whether what was observed for the action is nothing to it, because a link leads there by the
    /// checkout's path.
    pub(crate) fn leads_elsewhere(&self, observation: &Observation) -> bool {
        !self.ways_back.is_empty() && observation.by_path
    }
}

/// What of the host a unit's action is shown beside what each is: what its package declares, what its
/// settings name, and a script of the checkout's the repository.
pub(crate) fn shown_of_host(build: &Build, unit: usize) -> Vec<String> {
    let plan = &build.plan;
    let this = &plan.units[unit];
    let asks_git =
        this.mode == Mode::RunBuildScript && visible::is_local(&plan.packages[this.package].root);
    let repository = build.places.repository.iter().filter(|_| asks_git);
    let named = vx_plan::named_paths(plan, unit).into_iter();
    let named = named.filter(|path| places::below(path, places::ROOT).is_none());
    // Few declare any, and who gets them takes a walk to find out.
    let mut shown = match plan.packages[this.package].declared.paths.is_empty() {
        true => Vec::new(),
        false => visible::declared(plan, unit).paths,
    };
    shown.extend(repository.cloned());
    shown.extend(named.map(str::to_owned));
    shown.extend(build.places.named.iter().cloned());
    shown
}

/// Whether a directory is there with what is shown below it, and lists it, which was not shown when `set`
/// was read.
fn holds_more(directory: &str, shown: &[String], set: &ReadSet) -> bool {
    let was_shown = |path: &str| {
        let mut reads = set.reads.iter();
        reads.any(|read| matches!(&read.place, ReadPlace::Host(read) if read == path))
    };
    shown.iter().any(|shown| {
        below(shown, directory).is_some_and(|inside| !inside.is_empty())
            && visibility::is_there(shown)
            && !was_shown(shown)
    })
}

fn is_below_any<S: AsRef<str>>(path: &str, bases: &[S]) -> bool {
    let mut bases = bases.iter();
    bases.any(|base| below(path, base.as_ref()).is_some())
}

fn is_git_file(read: &Read) -> bool {
    read.kind == ReadKind::Content
        && matches!(&read.place, ReadPlace::Checkout(path) if path.as_str() == ".git")
}
