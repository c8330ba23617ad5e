//! What a generated workspace is made of: everything a build of it depends on, as values.

use std::collections::BTreeMap;

/// Names a package. Edits name packages by it, so they mean the same when others are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) u8);

impl Id {
    /// The program. A package uses only packages of higher numbers, so there is no cycle.
    pub(crate) const PROGRAM: Self = Self(0);

    /// The package's name, and its directory's.
    pub(crate) fn name(self) -> String {
        if self == Self::PROGRAM {
            "app".to_owned()
        } else {
            format!("part{}", self.0)
        }
    }
}

/// All inputs of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub(crate) packages: BTreeMap<Id, Package>,
    pub(crate) shared: Shared,
    pub(crate) profile: Profile,
    pub(crate) variables: Variables,
}

/// Files beside the packages, which nothing declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// `shared/table.txt`, where it is there.
    pub(crate) table: Option<u32>,
    /// Whether `shared/list` has a second file.
    pub(crate) listed: bool,
}

/// `[profile.dev]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) optimised: bool,
    pub(crate) unchecked: bool,
    pub(crate) lines: bool,
}

/// Variables of the environment, each with the word it is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables {
    /// `VX_PROPERTY_TINT`, for `option_env!`.
    pub(crate) tint: Option<u32>,
    /// `VX_PROPERTY_SHADE`, for `rerun-if-env-changed`.
    pub(crate) shade: Option<u32>,
}

/// What a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Program,
    Library,
    Macro,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) kind: Kind,
    /// A constant that flows into those of dependents.
    pub(crate) constant: u32,
    /// Is in the name of its function.
    pub(crate) generation: u32,
    /// Is in a comment.
    pub(crate) comment: u32,
    /// Is in the manifest's description.
    pub(crate) about: u32,
    /// Is in a file nothing reads.
    pub(crate) notes: u32,
    /// Modules, by number.
    pub(crate) modules: BTreeMap<u8, Module>,
    /// A file that is read with `include_str!`.
    pub(crate) words: Option<u32>,
    /// Whether it has an `option_env!`.
    pub(crate) tint: bool,
    /// Whether it has a feature `extra`, and that is on by default.
    pub(crate) extra: Option<bool>,
    /// Its build script.
    pub(crate) script: Option<Script>,
    /// What it depends on, each with whether it asks for `extra`.
    pub(crate) uses: BTreeMap<Id, bool>,
    /// What a macro looks at by itself when it is used.
    pub(crate) look: Option<Look>,
}

/// A module in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) value: u32,
    /// `m/mod.rs` and not `m.rs`.
    pub(crate) nested: bool,
}

/// A build script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) form: Form,
    /// Is in the script itself.
    pub(crate) salt: u32,
    /// What the file it reads holds.
    pub(crate) input: u32,
    /// Whether the directory it reads has a second file.
    pub(crate) more: bool,
    /// Whether it writes a source file, and does not set a variable.
    pub(crate) writes: bool,
    /// What it looks at without naming it.
    pub(crate) look: Option<Look>,
    /// What it depends on, each with whether it asks for `extra`.
    pub(crate) uses: BTreeMap<Id, bool>,
}

/// What a build script says it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The script alone; it reads nothing more.
    Itself,
    /// The file it reads.
    File,
    /// The directory it reads.
    Directory,
    /// The variable it reads.
    Variable,
    /// Nothing, and it reads a file.
    Nothing,
}

/// What is looked at in `shared` without anybody having been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// What `table.txt` holds.
    Content,
    /// Whether `table.txt` is there.
    Existence,
    /// The names in `list`.
    Listing,
}

impl Package {
    /// One that has nothing but its constant.
    pub(crate) fn plain(kind: Kind) -> Self {
        Self {
            kind,
            constant: 10,
            generation: 0,
            comment: 10,
            about: 10,
            notes: 10,
            modules: BTreeMap::new(),
            words: None,
            tint: false,
            extra: None,
            script: None,
            uses: BTreeMap::new(),
            look: None,
        }
    }

    /// What it depends on in any way.
    pub(crate) fn all_uses(&self) -> impl Iterator<Item = Id> {
        let script = self.script.iter().flat_map(|script| script.uses.keys());
        self.uses.keys().chain(script).copied()
    }
}

impl Workspace {
    /// A package that is there.
    pub(crate) fn package(&self, id: Id) -> &Package {
        &self.packages[&id]
    }

    /// This without what a package does without: smaller workspaces, the smallest first.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for &id in self.packages.keys().filter(|id| **id != Id::PROGRAM) {
            found.push(self.without(id, &BTreeMap::new()));
            // Where it only led to others: straight to those.
            found.push(self.without(id, &self.package(id).uses));
        }
        for (&id, package) in &self.packages {
            let simpler = package.simpler();
            found.extend(simpler.into_iter().map(|package| {
                let mut less = self.clone();
                less.packages.insert(id, package);
                less
            }));
        }
        let mut plain = self.clone();
        plain.shared = Shared::default();
        found.push(plain);
        let mut plain = self.clone();
        plain.profile = Profile::default();
        found.push(plain);
        let mut plain = self.clone();
        plain.variables = Variables::default();
        found.push(plain);
        found.retain(|less| less != self);
        found
    }
}

impl Workspace {
    /// This without a package; its users use these others in its place.
    fn without(&self, id: Id, others: &BTreeMap<Id, bool>) -> Self {
        let mut less = self.clone();
        less.packages.remove(&id);
        for package in less.packages.values_mut() {
            let scripts = package.script.iter_mut().map(|script| &mut script.uses);
            for uses in scripts.chain([&mut package.uses]) {
                if uses.remove(&id).is_some() {
                    for (other, extra) in others {
                        uses.entry(*other).or_insert(*extra);
                    }
                }
            }
        }
        less
    }
}

impl Package {
    fn simpler(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut without = |change: &dyn Fn(&mut Self)| {
            let mut less = self.clone();
            change(&mut less);
            found.push(less);
        };
        without(&|package| package.script = None);
        for id in self.uses.keys() {
            without(&|package| {
                package.uses.remove(id);
            });
        }
        if let Some(script) = &self.script {
            for less in script.simpler() {
                without(&|package| package.script = Some(less.clone()));
            }
        }
        for number in self.modules.keys() {
            without(&|package| {
                package.modules.remove(number);
            });
        }
        without(&|package| package.words = None);
        without(&|package| package.tint = false);
        without(&|package| {
            package.extra = None;
        });
        without(&|package| package.look = None);
        found.retain(|less| less != self);
        found
    }
}

impl Script {
    /// One that reads a file and says so.
    pub(crate) fn plain() -> Self {
        Self {
            form: Form::File,
            salt: 10,
            input: 10,
            more: false,
            writes: false,
            look: None,
            uses: BTreeMap::new(),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for id in self.uses.keys() {
            let mut less = self.clone();
            less.uses.remove(id);
            found.push(less);
        }
        found.push(Self {
            look: None,
            ..self.clone()
        });
        found.push(Self {
            writes: false,
            ..self.clone()
        });
        found.push(Self {
            form: Form::Itself,
            ..self.clone()
        });
        found.retain(|less| less != self);
        found
    }
}
