//! The directories that a unit's action is given by digest and may look into.

use std::collections::BTreeMap;
use std::sync::Arc;

use vx_core::error::ServiceResult;

use crate::build::context::BuildContext;
use crate::graph::Need;
use crate::inputs::dependency::Used;
use crate::inputs::real_places::real_out_dir;
use crate::key::trees::{Given, LostTree};

/// The directories that a unit is given and watched in.
///
/// # Errors
/// When the store fails; a tree it lacks is the inner error.
pub(crate) async fn of(
    context: &BuildContext,
    unit: usize,
    used: &[(Need, Used)],
) -> ServiceResult<Result<Given, LostTree>> {
    let mut given = BTreeMap::new();
    for (need, used) in used {
        let Used::Run {
            out_dir: Some(tree),
            ..
        } = used
        else {
            continue;
        };
        if !context.watches(unit, *need) {
            continue;
        }
        let store = context.session().store();
        let Some(found) = context.trees.get(&*store, *tree).await? else {
            return Ok(Err(LostTree(*tree)));
        };
        // What it finds there where that really is, it looks at by that name.
        given.insert(real_out_dir(context, need.unit), Arc::clone(&found));
        given.insert(vx_plan::out_dir(&context.plan, need.unit), found);
    }
    Ok(Ok(Given::new(given)))
}
