//! The plan as the scheduler sees it: who needs what of whom, what is urgent, and each action's static key.
//!
//! In: a plan and the identities of what it is made with. Out: a graph. Knows nothing of the store, and of
//! the host only the toolchain's identity.

pub(crate) mod durations;
pub(crate) mod environment;
pub(crate) mod labels;
pub(crate) mod static_key;
pub(crate) mod visible;

use vx_core::key::StaticDigest;
use vx_plan::{Mode, OutputFile, OutputKind, Plan, needs, outputs};

/// What of a dependency an action depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// A library's metadata.
    Rmeta,
    /// A library's linkable files.
    Rlib,
    /// A proc macro.
    Dylib,
    /// A compiled build script.
    Program,
    /// What a build script said and wrote.
    Run,
}

/// One need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Need {
    /// Whose.
    pub(crate) unit: usize,
    /// What.
    pub(crate) role: Role,
}

impl Role {
    /// Whether a file of this kind is meant.
    pub(crate) fn is(self, kind: OutputKind) -> bool {
        match self {
            Self::Rmeta => kind == OutputKind::Rmeta,
            Self::Rlib => kind.is_linkable(),
            Self::Dylib => kind == OutputKind::Dylib,
            Self::Program => kind == OutputKind::Executable,
            Self::Run => false,
        }
    }
}

/// The scheduler's view of a plan.
pub(crate) struct Graph {
    /// What each unit needs.
    pub(crate) needs: Vec<Vec<Need>>,
    /// Who needs something of each unit.
    pub(crate) consumers: Vec<Vec<usize>>,
    /// The files each unit writes.
    pub(crate) files: Vec<Vec<OutputFile>>,
    /// Runs of build scripts whose `OUT_DIR` each unit is watched in: what it looks at there
    /// counts, and not all of it.
    watched: Vec<Vec<usize>>,
    /// Variables of each unit's action that only count where they are named.
    pub(crate) soft_env: Vec<Vec<(String, String)>>,
    /// Each unit's static part.
    pub(crate) statics: Vec<StaticDigest>,
    /// The packages whose sources each unit's action sees, by the plan's index.
    pub(crate) visible: Vec<Vec<usize>>,
    /// The longest way from each unit to the end of the build, in milliseconds.
    pub(crate) remaining_ms: Vec<u64>,
    /// Whether what each compile makes leaves the build: in a final output that runs outside of
    /// actions, or in what is linked into one.
    pub(crate) leaves: Vec<bool>,
}

impl Graph {
    /// The graph of a plan, with the packages that each unit sees and its expected duration in
    /// milliseconds. `of_static` makes the static part of a unit that sees these packages, and whose
    /// outputs leave the build or do not.
    pub(crate) fn new(
        plan: &Plan,
        visible: Vec<Vec<usize>>,
        durations_ms: &[u64],
        of_static: impl Fn(usize, &[usize], bool) -> StaticDigest,
    ) -> Self {
        let count = plan.units.len();
        let needs: Vec<Vec<Need>> = (0..count).map(|unit| needs_of(plan, unit)).collect();
        let mut consumers = vec![Vec::new(); count];
        for (unit, needs) in needs.iter().enumerate() {
            for need in needs {
                if consumers[need.unit].last() != Some(&unit) {
                    consumers[need.unit].push(unit);
                }
            }
        }
        for list in &mut consumers {
            list.sort_unstable();
            list.dedup();
        }
        let remaining_ms = remaining(&consumers, durations_ms);
        let files: Vec<Vec<OutputFile>> = (0..count).map(|unit| outputs(plan, unit)).collect();
        let leaves = leaving(plan, &needs, &files);
        let units = visible.iter().zip(&leaves).enumerate();
        let statics = units.map(|(unit, (visible, leaves))| of_static(unit, visible, *leaves));
        Self {
            statics: statics.collect(),
            leaves,
            needs,
            consumers,
            watched: (0..count).map(|unit| watched(plan, unit)).collect(),
            soft_env: (0..count)
                .map(|unit| vx_plan::soft_env(plan, unit))
                .collect(),
            files,
            visible,
            remaining_ms,
        }
    }

    /// Whether what a unit looks at in what it needs counts, and not all of it.
    pub(crate) fn watches(&self, unit: usize, need: Need) -> bool {
        need.role == Role::Run && self.watched[unit].contains(&need.unit)
    }
}

/// A library is told where the native libraries of other packages are, for it might bundle one of
/// them. Whatever reads objects needs all of them.
fn watched(plan: &Plan, unit: usize) -> Vec<usize> {
    let this = &plan.units[unit];
    if this.mode != Mode::Compile || this.requires_upstream_objects() {
        return Vec::new();
    }
    let needs = needs(plan, unit);
    let whole =
        |run: &usize| needs.own_build_script == Some(*run) || needs.plugin_out_dirs.contains(run);
    let mut watched = needs.native_out_dirs.clone();
    watched.retain(|run| !whole(run));
    watched
}

fn needs_of(plan: &Plan, unit: usize) -> Vec<Need> {
    let needs = needs(plan, unit);
    let mut all = Vec::new();
    let mut add = |units: &[usize], role: Role| {
        all.extend(units.iter().map(|&unit| Need { unit, role }));
    };
    add(&needs.rmeta, Role::Rmeta);
    add(&needs.rlib, Role::Rlib);
    add(&needs.dylib, Role::Dylib);
    add(needs.build_script_binary.as_slice(), Role::Program);
    add(needs.own_build_script.as_slice(), Role::Run);
    add(&needs.native_out_dirs, Role::Run);
    add(&needs.plugin_out_dirs, Role::Run);
    add(&needs.links_metadata, Role::Run);
    // What cargo's configuration says in a build script's place needs no program.
    all.retain(|need| {
        !(plan.units[unit].mode == Mode::RunBuildScript && plan.units[unit].overridden.is_some())
            || need.role != Role::Program
    });
    all.sort_unstable();
    all.dedup();
    all
}

/// The units whose outputs leave the build.
fn leaving(plan: &Plan, needs: &[Vec<Need>], files: &[Vec<OutputFile>]) -> Vec<bool> {
    let mut leaves = vec![false; needs.len()];
    for unit in 0..needs.len() {
        let is_final = files[unit].iter().any(|file| file.final_name.is_some());
        // A macro runs in compilers alone.
        if !is_final || plan.units[unit].target.is_proc_macro() {
            continue;
        }
        leaves[unit] = true;
        for need in &needs[unit] {
            leaves[need.unit] |= matches!(need.role, Role::Rmeta | Role::Rlib);
        }
    }
    leaves
}

/// The longest path from each unit to a unit nobody needs.
fn remaining(consumers: &[Vec<usize>], durations_ms: &[u64]) -> Vec<u64> {
    let mut remaining = vec![None; consumers.len()];
    for start in 0..consumers.len() {
        // Depth first, without recursion: a chain of packages can be long.
        let mut stack = vec![start];
        while let Some(&unit) = stack.last() {
            if remaining[unit].is_some() {
                stack.pop();
                continue;
            }
            let open: Vec<usize> = consumers[unit]
                .iter()
                .copied()
                .filter(|&consumer| remaining[consumer].is_none())
                .collect();
            if open.is_empty() {
                let beyond = consumers[unit]
                    .iter()
                    .filter_map(|&consumer| remaining[consumer])
                    .max()
                    .unwrap_or(0);
                remaining[unit] = Some(beyond + durations_ms[unit]);
                stack.pop();
            } else {
                stack.extend(open);
            }
        }
    }
    remaining
        .into_iter()
        .map(|value| value.unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_way_counts() {
        // 0 is needed by 1 and 2, both by 3.
        let consumers = vec![vec![1, 2], vec![3], vec![3], vec![]];
        assert_eq!(
            remaining(&consumers, &[1, 10, 100, 1000]),
            [1101, 1010, 1100, 1000]
        );
    }
}
