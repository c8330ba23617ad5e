//! Which paths are an action's inputs, and which are its own or are given to it.

use serde::{Deserialize, Serialize};
use vx_core::RelPath;
use vx_core::places::{self, below};
use vx_core::readset::ReadPlace;

/// Which paths the trace is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// The checkout's place.
    pub(crate) checkout: Option<String>,
    /// The toolchain's place; `None` where the host's own directories hold it.
    pub(crate) toolchain: Option<String>,
    /// What becomes of what is written into the checkout and onto the host.
    pub(crate) writes: Writes,
    /// Directories that are the action's own, or are nobody's input.
    pub(crate) own: Vec<String>,
    /// Directories of the checkout that the root does not show: it has empty ones.
    pub(crate) hidden: Vec<String>,
    /// What of the host is seen under its own path, or would be if it were there.
    pub(crate) host: Reach,
    /// Directories among what the action is given by digest in which what it looks at counts.
    pub(crate) watched: Vec<String>,
    /// Where inputs lie beside those of others, and which of them are the action's.
    pub(crate) given: Option<Given>,
}

/// What becomes of what an action writes where it does not collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Writes {
    /// Nothing can be written.
    Refused,
    /// It goes to a layer of the action's own, which is thrown away.
    ToLayer,
    /// It stays.
    Stay,
}

/// What of the host an action sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reach {
    /// These, with all below.
    These(Vec<String>),
    /// Everything.
    Everything,
}

/// A directory with inputs of many actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The directory.
    pub(crate) base: String,
    /// What of it the action is given, with all below.
    pub(crate) paths: Vec<String>,
}

/// Where a path lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It is an input that the trace is for.
    Out(ReadPlace),
    /// It is the action's own, or what it is given by digest.
    In,
}

impl Scope {
    /// Where a path lies.
    pub(super) fn side(&self, path: &str) -> Side {
        if self.watched.iter().any(|one| below(path, one).is_some()) {
            return Side::Out(ReadPlace::Given(path.to_owned()));
        }
        if self.host == Reach::Everything && places::is_of_kernel(path) {
            return Side::In;
        }
        let given = self.given.iter().map(|given| &given.base);
        if self
            .own
            .iter()
            .chain(&self.hidden)
            .chain(given)
            .any(|own| below(path, own).is_some())
        {
            return Side::In;
        }
        if let Some(relative) = within(path, self.checkout.as_deref()) {
            // A name that vx gives to nobody is nobody's input.
            return RelPath::new(relative).map_or(Side::In, |relative| {
                Side::Out(ReadPlace::Checkout(relative))
            });
        }
        if let Some(relative) = within(path, self.toolchain.as_deref()) {
            return RelPath::new(relative).map_or(Side::In, |relative| {
                Side::Out(ReadPlace::Toolchain(relative))
            });
        }
        let reached = match &self.host {
            Reach::These(paths) => paths.iter().any(|host| below(path, host).is_some()),
            Reach::Everything => true,
        };
        if reached {
            Side::Out(ReadPlace::Host(path.to_owned()))
        } else {
            Side::In
        }
    }

    /// Whether a path is in a directory of the checkout that the root does not show.
    pub(super) fn hides_of_checkout(&self, path: &str) -> bool {
        let is_in = |places: &[String]| places.iter().any(|one| below(path, one).is_some());
        is_in(&self.hidden) && !is_in(&self.own)
    }

    /// Whether the host may have something at a path that the root does not show.
    pub(super) fn hides(&self, path: &str) -> bool {
        if self.host == Reach::Everything {
            return false;
        }
        if self.hides_of_checkout(path) {
            return true;
        }
        let mut own = places::OWN
            .iter()
            .copied()
            .chain(self.own.iter().map(String::as_str));
        self.side(path) == Side::In
            && !places::is_of_kernel(path)
            && !own.any(|own| below(path, own).is_some())
    }

    /// Whether a name in a listing is one that no observation counts.
    pub(super) fn is_unlisted(&self, path: &str) -> bool {
        let git = within(path, self.checkout.as_deref()) == Some(".git");
        let kernel = self.host == Reach::Everything && places::KERNEL.contains(&path);
        let mut own = self.own.iter().chain(&self.hidden);
        git || kernel || own.any(|own| own == path)
    }
}

fn within<'a>(path: &'a str, base: Option<&str>) -> Option<&'a str> {
    base.and_then(|base| below(path, base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_host_everything_is_an_input_but_what_is_its_own() {
        let scope = Scope {
            checkout: Some("/home/me/ws".to_owned()),
            toolchain: Some("/opt/rust".to_owned()),
            writes: Writes::Stay,
            own: vec!["/home/me/ws/.vx/runs".to_owned()],
            hidden: Vec::new(),
            host: Reach::Everything,
            watched: Vec::new(),
            given: Some(Given {
                base: "/home/me/.vx/rhea/bare/0".to_owned(),
                paths: Vec::new(),
            }),
        };
        let host = |path: &str| Side::Out(ReadPlace::Host(path.to_owned()));
        let relative = |path: &str| RelPath::new(path).unwrap();
        for path in [
            "/",
            "/etc/hosts",
            "/home/me",
            "/home/me/ws2/x",
            "/home/me/.vx/rhea/bare",
            "/dev/shm/x",
        ] {
            assert_eq!(scope.side(path), host(path), "{path}");
        }
        assert_eq!(
            scope.side("/home/me/ws/a"),
            Side::Out(ReadPlace::Checkout(relative("a")))
        );
        assert_eq!(
            scope.side("/opt/rust/bin/rustc"),
            Side::Out(ReadPlace::Toolchain(relative("bin/rustc")))
        );
        for path in [
            "/proc/self/maps",
            "/home/me/ws/.vx/runs/latest",
            "/home/me/.vx/rhea/bare/0/target/x",
        ] {
            assert_eq!(scope.side(path), Side::In, "{path}");
        }
    }
}
