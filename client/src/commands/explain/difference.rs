//! What two keys of one action differ in, as facts and in words.

use serde::Serialize;
use vx_core::readset::ReadKind;

use crate::report::Shown;

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    /// It is another.
    Changed,
    /// It is there now.
    Appeared,
    /// It is not there any more.
    Went,
    /// It counts now and did not before.
    New,
    /// It does not count any more.
    Gone,
}

/// One difference. `docs/report.md` describes the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Difference {
    /// Something that was read.
    Path {
        path: String,
        what: What,
        change: Change,
        #[serde(skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        now: Option<String>,
    },
    /// A variable of the caller's, or of the manifest's that the code names.
    Variable {
        name: String,
        change: Change,
        was: Option<Shown>,
        now: Option<Shown>,
    },
    /// What `metadata.vx` declares.
    Declared {
        what: DeclaredWhat,
        name: String,
        change: Change,
    },
    /// The compiler and what comes with it.
    Toolchain { was: String, now: String },
    /// An argument of the command line.
    Argument {
        change: Change,
        was: Option<Shown>,
        now: Option<Shown>,
    },
    /// A variable that cargo sets.
    CargoVariable {
        name: String,
        change: Change,
        was: Option<Shown>,
        now: Option<Shown>,
    },
    /// The directory it runs in.
    WorkingDirectory { was: String, now: String },
    /// Sources of a package that is no part of the checkout.
    PackageSource { package: String, change: Change },
    /// The checkout's path, for what takes it in.
    Checkout {
        was: Option<String>,
        now: Option<String>,
    },
    /// Paths of its package and its `OUT_DIR`, for what takes those in.
    Places { was: Vec<String>, now: Vec<String> },
    /// What is in an `OUT_DIR` whose path it takes in.
    PlaceContent { path: String },
    /// The directory it runs in that stands for isolation, where there is none.
    Isolation {
        was: Option<String>,
        now: Option<String>,
    },
    /// What the processor can do, for what is made for this machine's.
    Processor {
        was: Option<String>,
        now: Option<String>,
    },
    /// Whether it is in a final output.
    Leaves { now: bool },
    /// The rules by which vx makes keys and plans.
    Vx { was: Vec<u32>, now: Vec<u32> },
    /// Something of the command line, the toolchain or package sources; a report says no more.
    Unrecorded,
    /// What a dependency left behind.
    Dependency {
        package: String,
        unit: String,
        output: String,
        change: Change,
        /// Whether the command line names it, or it is of the action's own package. What is
        /// not came along with something that is.
        direct: bool,
        /// The action in the later run.
        action: Option<String>,
        /// The action in the earlier run.
        was_action: Option<String>,
    },
}

/// What of a path counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Content,
    Listing,
    Tree,
    Existence,
    Metadata,
    LinkTarget,
}

/// What is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DeclaredWhat {
    Env,
    Path,
    Network,
}

impl From<ReadKind> for What {
    fn from(kind: ReadKind) -> Self {
        match kind {
            ReadKind::Content => Self::Content,
            ReadKind::Listing => Self::Listing,
            ReadKind::Tree => Self::Tree,
            ReadKind::Existence => Self::Existence,
            ReadKind::Metadata => Self::Metadata,
            ReadKind::Link => Self::LinkTarget,
        }
    }
}

impl Difference {
    /// Whether it can be a first cause: not what follows from another action's run, and not
    /// what an action read more or less because of something else.
    pub(super) fn is_cause(&self) -> bool {
        !matches!(
            self,
            Self::Dependency { .. }
                | Self::Path {
                    change: Change::New | Change::Gone,
                    ..
                }
        )
    }

    /// Whether it is of a dependency that the action takes by itself; `None` for what is of no
    /// dependency.
    pub(super) fn is_dependency(&self) -> Option<bool> {
        match self {
            Self::Dependency { direct, .. } => Some(*direct),
            _ => None,
        }
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Path {
                path,
                what,
                change,
                was,
                now,
            } => path_words(path, *what, *change, was.as_deref(), now.as_deref()),
            Self::Variable {
                name,
                change,
                was,
                now,
            } => format!("the variable {name} {}", value_words(*change, was, now)),
            Self::CargoVariable {
                name,
                change,
                was,
                now,
            } => format!("cargo's variable {name} {}", value_words(*change, was, now)),
            Self::Declared { what, name, change } => {
                let name = match what {
                    DeclaredWhat::Env => format!("the variable {name}"),
                    DeclaredWhat::Path => name.clone(),
                    DeclaredWhat::Network => "the network".to_owned(),
                };
                match change {
                    Change::Gone | Change::Went => format!("{name} is not declared any more"),
                    _ => format!("{name} was declared for it"),
                }
            }
            Self::Toolchain { was, now } if was == now => {
                format!("the toolchain's files changed ({now})")
            }
            Self::Toolchain { was, now } => format!("the toolchain changed: {was} -> {now}"),
            Self::Argument { was, now, .. } => argument_words(was.as_ref(), now.as_ref()),
            Self::WorkingDirectory { was, now } => {
                format!("its working directory changed: {was} -> {now}")
            }
            Self::PackageSource { package, change } => match change {
                Change::New | Change::Appeared => format!("it sees the sources of {package} now"),
                Change::Gone | Change::Went => {
                    format!("it does not see the sources of {package} any more")
                }
                Change::Changed => format!("the sources of {package} changed"),
            },
            Self::Checkout { was, now } => match (was, now) {
                (Some(was), Some(now)) => {
                    format!("the checkout is at {now} and not at {was}, and the output has its path in it")
                }
                (None, _) => "its output has the checkout's path in it now".to_owned(),
                (_, None) => "its output has the checkout's path in it no more".to_owned(),
            },
            Self::Places { was, now } => match (&was[..], &now[..]) {
                ([], now) => format!("its output has {} in it now", now.join(", ")),
                (was, []) => format!("its output has {} in it no more", was.join(", ")),
                (was, now) => format!(
                    "its output has {} in it and not {}",
                    now.join(", "),
                    was.join(", ")
                ),
            },
            Self::PlaceContent { path } => {
                format!("what is in {path} changed, and its output has that path in it")
            }
            Self::Isolation { was, now } => match (was, now) {
                (None, _) => "it is not isolated any more".to_owned(),
                (_, None) => "it is isolated now".to_owned(),
                (Some(was), Some(now)) => {
                    format!("it is not isolated, and its inputs are in {now} and not in {was}")
                }
            },
            Self::Processor { was, now } => match (was, now) {
                (None, _) => "it is made for this machine's processor now".to_owned(),
                (_, None) => "it is not made for this machine's processor any more".to_owned(),
                _ => "it is made for this machine's processor, which is another".to_owned(),
            },
            Self::Leaves { now: true } => "it is in a final output now".to_owned(),
            Self::Leaves { now: false } => "it is in no final output any more".to_owned(),
            Self::Vx { .. } => "vx itself changed how it makes keys".to_owned(),
            Self::Unrecorded => {
                "its command line, toolchain or package sources changed (the earlier report says no more)"
                    .to_owned()
            }
            Self::Dependency {
                package,
                unit,
                output,
                change,
                ..
            } => {
                let of = format!("{package} ({unit})");
                match change {
                    Change::New | Change::Appeared => format!("it depends on {of} now"),
                    Change::Gone | Change::Went => format!("it does not depend on {of} any more"),
                    Change::Changed => format!("the output of {of} changed ({output})"),
                }
            }
        }
    }
}

fn path_words(
    path: &str,
    what: What,
    change: Change,
    was: Option<&str>,
    now: Option<&str>,
) -> String {
    let verb = match change {
        Change::Changed => "changed",
        Change::Appeared => "appeared",
        Change::Went => "went",
        Change::New => return format!("{path} was not read before"),
        Change::Gone => return format!("{path} is not read any more"),
    };
    let detail = match (was, now) {
        (Some(was), Some(now)) => format!(" ({was} -> {now})"),
        _ => String::new(),
    };
    match (what, change) {
        (What::Listing, Change::Changed) => format!("the list of files in {path} changed"),
        (What::Tree, Change::Changed) => format!("something in {path} changed"),
        (What::Existence, Change::Changed) => format!("{path} is something else{detail}"),
        (What::Metadata, Change::Changed) => format!("the metadata of {path} changed{detail}"),
        (What::LinkTarget, Change::Changed) => format!("the link {path} changed{detail}"),
        _ => format!("{path} {verb}"),
    }
}

fn shown(value: &Shown) -> String {
    match value {
        Shown::Value(value) => format!("{value:?}"),
        Shown::Digest { digest } => format!("hidden value {digest}"),
    }
}

fn value_words(change: Change, was: &Option<Shown>, now: &Option<Shown>) -> String {
    match (change, was, now) {
        (Change::Appeared, _, Some(now)) => format!("was set to {}", shown(now)),
        (Change::Appeared, _, None) => "was set".to_owned(),
        (Change::Went, Some(was), _) => format!("was unset, and was {}", shown(was)),
        (Change::Went, None, _) => "was unset".to_owned(),
        (Change::New, _, _) => "was not looked at before".to_owned(),
        (Change::Gone, _, _) => "is not looked at any more".to_owned(),
        (Change::Changed, Some(was), Some(now)) => {
            format!("changed: {} -> {}", shown(was), shown(now))
        }
        (Change::Changed, _, _) => "changed".to_owned(),
    }
}

fn argument_words(was: Option<&Shown>, now: Option<&Shown>) -> String {
    let plain = |value: &Shown| match value {
        Shown::Value(value) => format!("`{value}`"),
        Shown::Digest { digest } => format!("a hidden one ({digest})"),
    };
    let feature = |value: Option<&Shown>| match value {
        Some(Shown::Value(value)) => value
            .strip_prefix("--cfg feature=")
            .map(|name| name.trim_matches('"').to_owned()),
        _ => None,
    };
    match (was, now) {
        (None, Some(now)) => match feature(Some(now)) {
            Some(name) => format!("the feature `{name}` was turned on"),
            None => format!("the argument {} was added", plain(now)),
        },
        (Some(was), None) => match feature(Some(was)) {
            Some(name) => format!("the feature `{name}` was turned off"),
            None => format!("the argument {} was removed", plain(was)),
        },
        (Some(was), Some(now)) => format!("the argument {} became {}", plain(was), plain(now)),
        (None, None) => "its arguments have another order".to_owned(),
    }
}
