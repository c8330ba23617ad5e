//! What settings name on the host by its path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use vx_core::places;
use vx_plan::{Plan, Workspace};

use crate::host::visibility::real;

/// What no action sees because a variable has its path: programs that hold a path rarely mean all
/// that is there, and some of it is nobody's business.
pub(crate) struct Withheld {
    /// Neither these nor what holds them.
    whole: Vec<PathBuf>,
    /// Nor what is in these.
    inside: Vec<PathBuf>,
}

impl Withheld {
    /// What is withheld in a workspace's build, by orchestrators that have their files in `home`.
    pub(crate) fn of(home: &Path, user: Option<&str>, workspace: &Workspace) -> Self {
        let user = user.filter(|user| !user.is_empty());
        let whole = user
            .map(Path::new)
            .into_iter()
            .chain([&*workspace.checkout]);
        Self {
            whole: whole.map(real).collect(),
            inside: [home, &workspace.cargo_home].map(real).into(),
        }
    }

    fn has(&self, path: &Path) -> bool {
        let mut all = self.whole.iter().chain(&self.inside);
        all.any(|withheld| withheld.starts_with(path))
            || self
                .inside
                .iter()
                .any(|withheld| path.starts_with(withheld))
    }

    /// What of a plan's variables every action sees, by their paths. Of what is not there they see
    /// that.
    pub(crate) fn leave(&self, plan: &Plan) -> Vec<String> {
        let named: BTreeSet<&str> = vx_plan::named_by_variables(plan).collect();
        let shown = named.into_iter().filter(|path| {
            let real = std::fs::canonicalize(path);
            !self.has(Path::new(path)) && !real.is_ok_and(|real| self.has(&real))
        });
        shown.map(str::to_owned).collect()
    }
}

/// What flags and tools of the settings name, by that path and by where it really is.
pub(crate) fn by_flags(plan: &Plan) -> BTreeSet<String> {
    let units = 0..plan.units.len();
    let named = units
        .flat_map(|unit| vx_plan::named_paths(plan, unit))
        .filter(|path| places::below(path, places::ROOT).is_none());
    with_real(named)
}

/// Paths, and where they really lead.
pub(crate) fn with_real<'a>(named: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let named: BTreeSet<&str> = named.into_iter().collect();
    let real = |path: &&str| {
        std::fs::canonicalize(path)
            .ok()?
            .to_str()
            .map(str::to_owned)
    };
    let real: Vec<String> = named.iter().filter_map(real).collect();
    named.into_iter().map(str::to_owned).chain(real).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_what_holds_them_are_withheld() {
        let withheld = Withheld {
            whole: vec!["/home/a".into(), "/home/a/src/two".into()],
            inside: vec!["/home/a/.vx".into()],
        };
        for path in ["/", "/home", "/home/a", "/home/a/src", "/home/a/.vx/cass"] {
            assert!(withheld.has(Path::new(path)), "{path}");
        }
        for path in ["/home/a/src/one", "/home/a/src/two/data", "/opt/x"] {
            assert!(!withheld.has(Path::new(path)), "{path}");
        }
    }
}
