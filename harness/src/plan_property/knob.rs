//! What a generated workspace is made of: knobs, each with a few values.

use std::collections::BTreeMap;

/// Makes the enumeration of knobs, each with its number of values.
macro_rules! knobs {
    ($($(#[$doc:meta])* $name:ident = $count:literal,)*) => {
        /// Something of a workspace, or of the call of `vx`, that edits change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Knob {
            $($(#[$doc])* $name,)*
        }

        impl Knob {
            /// All of them, each with how many values it has. Value 0 is the plain one.
            pub(crate) const ALL: &[(Self, u8)] = &[$((Self::$name, $count),)*];
        }
    };
}

knobs! {
    /// `workspace.members`.
    Members = 4,
    /// `workspace.exclude`.
    Exclude = 3,
    /// `workspace.default-members`.
    DefaultMembers = 3,
    /// The root's manifest: a file, or a link to one of two.
    Root = 3,
    /// `crates/one`: a directory, gone, without a manifest, or a link to one of two.
    One = 5,
    /// `crates/two`: a directory, gone, with a manifest that can't be read, or with a manifest
    /// that is a link to one of two.
    Two = 5,
    /// `more/x/rust`: not there, a directory without a manifest, or a package.
    More = 3,
    /// The package `excluded`: not there, not used, or a dependency.
    Excluded = 3,
    /// `nested`: not there, a root of its own, a member by being depended on, or one that names
    /// the root.
    Nested = 4,
    /// What of `nested/inner` there is: a package that `nested` depends on.
    Inner = 3,
    /// The git dependency: none, or which revision.
    Git = 5,
    /// The patch of the git dependency: none, used, unused, or of another name.
    Patch = 4,
    /// Whether the patch stands in the manifest or the configuration.
    PatchPlace = 2,
    /// The vendored dependency: none, as it was made, with a build script, with a file that
    /// was edited, or with another manifest.
    Vendored = 5,
    /// Features of `one`.
    OneFeatures = 3,
    /// The version of `one`, whose manifest keeps its size.
    OneVersion = 3,
    /// How the program depends on `one`.
    UseOne = 6,
    /// The program's default features.
    Defaults = 3,
    /// Profiles of the root's manifest.
    Profile = 6,
    /// `[lints]` of the program and of the workspace.
    Lints = 5,
    /// Whether `one` inherits lints.
    OneLints = 2,
    /// The configuration of the checkout.
    ConfigCheckout = 8,
    /// The configuration of the checkout's parent.
    ConfigParent = 8,
    /// The configuration of cargo's home.
    ConfigHome = 8,
    /// The file that configuration includes, of each place.
    Included = 3,
    /// The toolchain file.
    Toolchain = 4,
    /// `src/bin/extra.rs`.
    Bin = 3,
    /// A target of tests.
    Tests = 3,
    /// An example.
    Examples = 2,
    /// The library of the program.
    Library = 2,
    /// The program's build script.
    Script = 3,
    /// What the program says of its targets.
    Targets = 4,
    /// `RUSTFLAGS` and its like.
    Flags = 4,
    /// A profile by variables.
    ProfileVariable = 3,
    /// A variable that nobody looks at.
    Unrelated = 2,
    /// What is selected.
    Selection = 7,
    /// Which profile is.
    Chosen = 3,
    /// Which features are.
    Features = 4,
    /// What may become of the lock file.
    Locked = 4,
    /// Whether a target is named.
    Target = 2,
    /// Where `vx` is called.
    Directory = 3,
}

/// Knobs that say something about one thing: turned together they show what one alone does not.
pub(crate) const GROUPS: &[&[Knob]] = &[
    &[
        Knob::ConfigCheckout,
        Knob::ConfigParent,
        Knob::ConfigHome,
        Knob::Included,
        Knob::Flags,
    ],
    &[Knob::Git, Knob::Patch, Knob::PatchPlace, Knob::Vendored],
    &[
        Knob::Members,
        Knob::Exclude,
        Knob::DefaultMembers,
        Knob::More,
        Knob::Excluded,
        Knob::Nested,
        Knob::Inner,
        Knob::Selection,
    ],
    &[
        Knob::Root,
        Knob::One,
        Knob::Two,
        Knob::UseOne,
        Knob::Selection,
        Knob::Directory,
    ],
    &[
        Knob::OneFeatures,
        Knob::OneVersion,
        Knob::UseOne,
        Knob::Defaults,
        Knob::Features,
        Knob::Lints,
        Knob::OneLints,
    ],
    &[
        Knob::Profile,
        Knob::ProfileVariable,
        Knob::Chosen,
        Knob::ConfigCheckout,
    ],
    &[
        Knob::Bin,
        Knob::Tests,
        Knob::Examples,
        Knob::Library,
        Knob::Script,
        Knob::Targets,
        Knob::Selection,
    ],
];

/// A workspace and how `vx` is called there: the knobs that are not at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(BTreeMap<Knob, u8>);

impl State {
    /// The value of a knob.
    pub(crate) fn get(&self, knob: Knob) -> u8 {
        self.0.get(&knob).copied().unwrap_or(0)
    }

    /// This with another value of a knob.
    pub(crate) fn with(&self, knob: Knob, value: u8) -> Self {
        let mut other = self.clone();
        if value == 0 {
            other.0.remove(&knob);
        } else {
            other.0.insert(knob, value);
        }
        other
    }

    /// The knobs that are turned.
    pub(crate) fn turned(&self) -> Vec<(Knob, u8)> {
        self.0.iter().map(|(knob, value)| (*knob, *value)).collect()
    }

    /// The state with these turned.
    pub(crate) fn of(turned: Vec<(Knob, u8)>) -> Self {
        Self(turned.into_iter().collect())
    }
}
