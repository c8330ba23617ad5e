//! A process to be run in an isolation root, and what one is made from beyond the plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use vx_core::places;

use crate::build_output::BuildOutput;
use crate::paths::{replace_path, replace_place};

/// A process to be run.
///
/// `env` is what cargo sets. `PATH`, `HOME`, a temporary directory, the jobserver, and what
/// is allowed through from the user's environment are the executor's to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: String,
}

/// What an invocation depends on that only running other units tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompileInputs {
    /// What build scripts said, by the unit of their run. Those of [`crate::Needs`] are used.
    pub build_outputs: BTreeMap<usize, BuildOutput>,
    /// The directory of incremental compilation, when it is wanted and the unit's profile
    /// has it.
    pub incremental: Option<String>,
    /// What an action has to have where it really is: fixed places, each with the real one.
    pub moved: Vec<(String, String)>,
}

impl CompileInputs {
    /// Whether what has this fixed place is where it really is.
    pub(crate) fn moves(&self, place: &str) -> bool {
        self.moved.iter().any(|(fixed, _)| fixed == place)
    }
}

/// Moves an invocation to real places.
pub(crate) fn at_real_places(mut invocation: Invocation, moved: &[(String, String)]) -> Invocation {
    for (fixed, real) in moved {
        let move_it = |text: &mut String| {
            *text = if fixed == places::CHECKOUT {
                replace_path(text, fixed, real)
            } else {
                replace_place(text, fixed, real)
            }
        };
        invocation.argv.iter_mut().for_each(move_it);
        invocation.env.values_mut().for_each(move_it);
        move_it(&mut invocation.cwd);
    }
    invocation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remap::of_out_dir;

    #[test]
    fn what_moves_is_named_where_it_really_is_and_remapped_as_before() {
        let out_dir = "/vx/target/debug/build/a-1/out";
        let invocation = Invocation {
            argv: [
                "rustc",
                "/vx/the-checkout-at-its-fixed-place/src/lib.rs",
                "-L",
                out_dir,
            ]
            .map(str::to_owned)
            .into_iter()
            .chain([of_out_dir(out_dir)])
            .collect(),
            env: BTreeMap::from([
                ("OUT_DIR".to_owned(), out_dir.to_owned()),
                (
                    "OF_ANOTHER".to_owned(),
                    "/vx/target/debug/build/b-1/out".to_owned(),
                ),
            ]),
            cwd: "/vx/the-checkout-at-its-fixed-place".to_owned(),
        };
        let real = "/home/me/ws/.vx/build/x/debug/build/a-1/out";
        let moved = [
            (places::CHECKOUT.to_owned(), "/home/me/ws".to_owned()),
            (out_dir.to_owned(), real.to_owned()),
        ];
        let remap = format!("--remap-path-prefix={real}=/cargo/build-dir/debug/build/a-1/out");
        let found = at_real_places(invocation, &moved);
        assert_eq!(
            found.argv,
            ["rustc", "/home/me/ws/src/lib.rs", "-L", real, &remap]
        );
        assert_eq!(found.env["OUT_DIR"], real);
        assert_eq!(found.env["OF_ANOTHER"], "/vx/target/debug/build/b-1/out");
        assert_eq!(found.cwd, "/home/me/ws");
    }
}
