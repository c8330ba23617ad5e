//! What leads somewhere from the checkout's real place alone, and nowhere for an action that finds it
//! at its fixed one: links and texts that name the checkout by its path, or that go up out of it and in
//! again by its name, and a `.git` file that names a repository elsewhere by a relative path. And what
//! an action is shown of the host in one build and not in another.

use vx_core::places::{self, below};
use vx_core::readset::{Read, ReadKind, ReadPlace, ReadSet};

use crate::context::BuildContext;
use crate::real_places;
use crate::{sight, spec};

/// Whether an action looked through one of these: it found nothing there unless it had the checkout
/// where that really is.
pub(crate) fn looked(context: &BuildContext, unit: usize, set: &ReadSet) -> bool {
    let Some(sight) = &context.places.sight else {
        return false;
    };
    looks_by_name(context, unit, set)
        || finds_checkout(context, unit)
            && tokio::task::block_in_place(|| {
                set.reads.iter().any(|read| sight.is_by_path(&read.place))
            })
}

/// The same, but for links: it looked where the checkout really is, of which something must have told
/// it, or where it would have found it by its parents' names, or for a repository by a relative path.
fn looks_by_name(context: &BuildContext, unit: usize, set: &ReadSet) -> bool {
    let Some(checkout) = context.places.checkout.to_str() else {
        return false;
    };
    if !finds_checkout(context, unit) {
        return false;
    }
    let ways_back = places::ways_back(checkout);
    set.missed.iter().any(|path| is_below_any(path, &ways_back))
        || set.reads.iter().any(|read| reads_git_file(context, read))
}

/// Whether an action that finds the checkout at its fixed place would find it, if it knew where else.
pub(crate) fn finds_checkout(context: &BuildContext, unit: usize) -> bool {
    context.unisolated().is_none() && real_places::sees_checkout(context, unit)
}

/// Whether an action that read `set` would be shown something now that it was not shown then, or the
/// reverse, or would now look where the checkout is: then this is not what it would read.
///
/// Of links to the checkout by its path this says nothing; they are found as they are looked at.
pub(crate) fn is_shown_other_things(context: &BuildContext, unit: usize, set: &ReadSet) -> bool {
    if context.unisolated().is_some() {
        return false;
    }
    let shown = spec::shown_of_host(context, unit);
    let more = set.missed.iter().any(|missed| {
        is_below_any(missed, &shown)
            // The directories above what is shown are there with it.
            || shown.iter().any(|shown| {
                below(shown, missed).is_some() && sight::is_there(shown)
            })
    });
    let less = set.reads.iter().any(|read| match &read.place {
        ReadPlace::Host(path) => !is_below_any(path, places::HOST) && !is_below_any(path, &shown),
        _ => false,
    });
    more || less || (!set.taken.checkout && looks_by_name(context, unit, set))
}

fn is_below_any<S: AsRef<str>>(path: &str, bases: &[S]) -> bool {
    bases
        .iter()
        .any(|base| below(path, base.as_ref()).is_some())
}

fn reads_git_file(context: &BuildContext, read: &Read) -> bool {
    context.places.relative_repository
        && read.kind == ReadKind::Content
        && matches!(&read.place, ReadPlace::Checkout(path) if path.as_str() == ".git")
}
