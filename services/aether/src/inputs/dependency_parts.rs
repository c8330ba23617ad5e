//! What of its dependencies enters an action's key.

use vx_core::digest::Digest;
use vx_plan::BuildOutput;

use crate::build::Build;
use crate::graph::Need;
use crate::inputs::dependency::Used;
use crate::inputs::real_places::{self, held_by_programs, sees_checkout};
use crate::key::DependencyPart;

/// All that a unit has of its dependencies, in the graph's order.
pub(crate) fn whole_parts(build: &Build, used: &[(Need, Used)]) -> Vec<DependencyPart> {
    parts(build, used, |_, _| false)
}

/// What enters a unit's key for each need, in the graph's order. Of directories that it is
/// watched in only where they are: what it looked at there is in its read set.
pub(crate) fn key_parts(build: &Build, unit: usize, used: &[(Need, Used)]) -> Vec<DependencyPart> {
    parts(build, used, |need, output| {
        build.watches(unit, need) && is_looked_through(build, unit, output)
    })
}

/// Whether what an action looks at in a script's directory is noted: a package that is no part of the
/// checkout is watched only where it may bundle something.
fn is_looked_through(build: &Build, unit: usize, output: &BuildOutput) -> bool {
    sees_checkout(build, unit) || output.names_libraries()
}

fn parts(
    build: &Build,
    used: &[(Need, Used)],
    watched: impl Fn(Need, &BuildOutput) -> bool,
) -> Vec<DependencyPart> {
    let mut parts = Vec::with_capacity(used.len());
    for (need, used) in used {
        match used {
            Used::Files { files, .. } => parts.extend(files.iter().map(|file| DependencyPart {
                name: file.place.clone(),
                digest: file.blob.digest,
            })),
            Used::Run { output, .. } if watched(*need, output) => parts.push(DependencyPart {
                name: vx_plan::out_dir(&build.plan, need.unit),
                digest: Digest::of_value("vx search paths 1", &output.library_paths),
            }),
            Used::Run { digest, .. } => parts.push(DependencyPart {
                name: vx_plan::out_dir(&build.plan, need.unit),
                digest: *digest,
            }),
        }
    }
    let held = held_by_programs(used);
    parts.extend(held.into_iter().filter_map(|held| {
        let (name, digest) = real_places::key_part(build, held)?;
        Some(DependencyPart {
            name: name.to_owned(),
            digest,
        })
    }));
    parts
}
