//! What leads somewhere from the checkout's real place alone, and nowhere for an action that finds it
//! at its fixed one: links and texts that name the checkout by its path, or that go up out of it and in
//! again by its name, and a `.git` file that names a repository elsewhere by a relative path.

use vx_core::places::{self, below};
use vx_core::readset::{Read, ReadKind, ReadPlace};

use crate::context::BuildContext;
use crate::real_places;

/// Whether an action looked through one of these: it found nothing there unless it had the checkout
/// where that really is.
pub(crate) fn looked(context: &BuildContext, unit: usize, reads: &[Read]) -> bool {
    let Some(sight) = &context.places.sight else {
        return false;
    };
    let checkout = context.places.checkout.to_str();
    let ways_back = checkout.map_or_else(Vec::new, places::ways_back);
    context.unisolated().is_none()
        && real_places::sees_checkout(context, unit)
        && tokio::task::block_in_place(|| {
            reads.iter().any(|read| {
                reads_git_file(context, read)
                    || is_at_real_checkout(&ways_back, &read.place)
                    || sight.is_by_path(&read.place)
            })
        })
}

/// Whether it looked where the checkout really is, of which something must have told it, or where it
/// would have found it by its parents' names.
fn is_at_real_checkout(ways_back: &[String], place: &ReadPlace) -> bool {
    let ReadPlace::Host(path) = place else {
        return false;
    };
    ways_back.iter().any(|way| below(path, way).is_some())
}

fn reads_git_file(context: &BuildContext, read: &Read) -> bool {
    context.places.relative_repository
        && read.kind == ReadKind::Content
        && matches!(&read.place, ReadPlace::Checkout(path) if path.as_str() == ".git")
}
