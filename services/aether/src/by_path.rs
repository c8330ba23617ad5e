//! Links that name the checkout by its path: they lead nowhere for an action that finds it at its
//! fixed place.

use vx_core::readset::{ReadSet, TakenIn};
use vx_plan::PackageRoot;

use crate::context::BuildContext;
use crate::real_places;

/// Whether an action looked through a link that names the checkout by its path: it found nothing
/// there unless it had the checkout where that really is.
pub(crate) fn looked(context: &BuildContext, unit: usize, set: &ReadSet) -> bool {
    let Some(sight) = &context.places.sight else {
        return false;
    };
    context.unisolated().is_none()
        && real_places::sees_checkout(context, unit)
        && tokio::task::block_in_place(|| {
            let mut reads = set.reads.iter();
            reads.any(|read| sight.is_by_path(&read.place))
        })
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
            tokio::task::block_in_place(|| sight.has_links_by_path(&[dir]))
        }
        _ => false,
    }
}
