//! What leads somewhere from the checkout's real place alone, and nowhere for an action that finds it
//! at its fixed one: links and texts that name the checkout by its path, and a `.git` file that names
//! a repository elsewhere by a relative one.

use vx_core::places::below;
use vx_core::readset::{Read, ReadKind, ReadPlace, ReadSet, TakenIn};
use vx_plan::PackageRoot;

use crate::context::BuildContext;
use crate::real_places;

/// Whether an action looked through one of these: it found nothing there unless it had the checkout
/// where that really is.
pub(crate) fn looked(context: &BuildContext, unit: usize, set: &ReadSet) -> bool {
    let Some(sight) = &context.places.sight else {
        return false;
    };
    context.unisolated().is_none()
        && real_places::sees_checkout(context, unit)
        && tokio::task::block_in_place(|| {
            let mut reads = set.reads.iter();
            reads.any(|read| {
                reads_git_file(context, read)
                    || is_at_real_checkout(context, &read.place)
                    || sight.is_by_path(&read.place)
            })
        })
}

/// Whether it looked where the checkout really is, of which something must have told it.
fn is_at_real_checkout(context: &BuildContext, place: &ReadPlace) -> bool {
    let checkout = context.places.checkout.to_str();
    matches!((place, checkout), (ReadPlace::Host(path), Some(checkout)) if below(path, checkout).is_some())
}

fn reads_git_file(context: &BuildContext, read: &Read) -> bool {
    context.places.relative_repository
        && read.kind == ReadKind::Content
        && matches!(&read.place, ReadPlace::Checkout(path) if path.as_str() == ".git")
}

/// Whether an action that failed may find what it lacks where the checkout really is: of one that
/// failed nobody knows what it looked for.
pub(crate) fn may_find_more(context: &BuildContext, unit: usize, taken: TakenIn) -> bool {
    let package = &context.plan.packages[context.plan.units[unit].package];
    if context.unisolated().is_some() {
        return false;
    }
    match (&context.places.sight, &package.root) {
        (Some(sight), PackageRoot::Checkout { dir }) if !taken.checkout => {
            context.places.relative_repository
                || tokio::task::block_in_place(|| sight.has_links_by_path(&[dir]))
        }
        _ => false,
    }
}
