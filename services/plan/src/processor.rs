//! What is made for the processor of the machine that makes it: flags ask for that by a word, and no
//! text says which it is.

use crate::model::Plan;

/// Whether a flag or a variable's value asks for the processor that the compiler runs on:
/// `-C target-cpu=native` of rustc, `-march=native` of C compilers, and their like.
pub fn asks_for_native(text: &str) -> bool {
    text.contains("=native")
}

/// Whether something of a plan is made for the processor of this machine, so that it serves no other:
/// with such flags rustc tells build scripts what the processor can do.
pub fn is_for_native(plan: &Plan) -> bool {
    let flags = plan
        .units
        .iter()
        .flat_map(|unit| unit.rustflags.iter().chain(&unit.profile.rustflags));
    let values = plan.env.iter().map(|(_, value)| value);
    flags.chain(values).any(|text| asks_for_native(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_no_processors() {
        for flag in ["-Ctarget-cpu=native", "-O2 -march=native -g"] {
            assert!(asks_for_native(flag), "{flag}");
        }
        for flag in ["native=/usr/lib", "-Ctarget-cpu=x86-64-v3"] {
            assert!(!asks_for_native(flag), "{flag}");
        }
    }
}
