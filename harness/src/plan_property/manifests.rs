//! The manifests of a workspace whose knobs stand somewhere.

use super::knob::{Knob, State};

/// A package without anything.
pub(crate) fn plain(name: &str, version: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n")
}

/// The member `one`.
pub(crate) fn one(state: &State) -> String {
    let version = ["0.1.0", "0.1.1", "0.2.0"][usize::from(state.get(Knob::OneVersion))];
    let features = match state.get(Knob::OneFeatures) {
        0 => "[features]\nmore = []\n",
        1 => "[features]\ndefault = [\"more\"]\nmore = []\n",
        _ => "",
    };
    let lints = match state.get(Knob::OneLints) {
        0 => "",
        _ => "[lints]\nworkspace = true\n",
    };
    format!("{}{features}{lints}", plain("one", version))
}

/// The package `nested`.
pub(crate) fn nested(state: &State) -> String {
    let own = match state.get(Knob::Nested) {
        1 => "[workspace]\n",
        _ => "",
    };
    let named = match state.get(Knob::Nested) {
        3 => "workspace = \"..\"\n",
        _ => "",
    };
    let inner = match state.get(Knob::Inner) {
        0 => "",
        _ => "[dependencies]\ninner = { path = \"inner\" }\n",
    };
    format!("{}{named}{own}{inner}", plain("nested", "0.1.0"))
}

/// The root: the program and the workspace.
pub(crate) fn root(state: &State, url: &str) -> String {
    [
        package(state),
        workspace(state),
        dependencies(state, url),
        features(state),
        targets(state),
        profiles(state).to_owned(),
        lints(state).to_owned(),
        patch(state, url),
    ]
    .concat()
}

fn package(state: &State) -> String {
    let mut text = plain("app", "0.1.0");
    if state.get(Knob::Script) == 2 {
        text += "build = \"scripts/build.rs\"\n";
    }
    if state.get(Knob::Targets) == 1 {
        // Its targets below name the program.
        text += "autobins = false\n";
    }
    text
}

fn workspace(state: &State) -> String {
    let members = match state.get(Knob::Members) {
        0 => "\"crates/*\"",
        1 => "\"crates/one\"",
        2 => "\"crates/*\", \"more/*/rust\"",
        _ => "\"c*s/[ot]*\"",
    };
    let mut exclude = match state.get(Knob::Exclude) {
        0 => "\"excluded\", \"elsewhere\", \"patched\"",
        1 => "\"excluded\", \"crates/two\"",
        _ => "",
    }
    .to_owned();
    if state.get(Knob::Nested) == 1 && !exclude.is_empty() {
        // A root that is depended on may not be a member.
        exclude += ", \"nested\"";
    }
    let defaults = match state.get(Knob::DefaultMembers) {
        0 => "",
        1 => "default-members = [\".\", \"crates/one\"]\n",
        _ => "default-members = [\"crates/*\"]\n",
    };
    format!(
        "[workspace]\nmembers = [{members}]\nexclude = [{exclude}]\n{defaults}\
         [workspace.dependencies]\none = {{ path = \"crates/one\" }}\n{}",
        workspace_lints(state)
    )
}

fn workspace_lints(state: &State) -> &'static str {
    match state.get(Knob::Lints) {
        3 => "[workspace.lints.rust]\nunused = \"allow\"\n",
        4 => "[workspace.lints.rust]\nunused = { level = \"warn\", priority = -1 }\n",
        _ if state.get(Knob::OneLints) == 1 => "[workspace.lints.rust]\ndead_code = \"allow\"\n",
        _ => "",
    }
}

fn lints(state: &State) -> &'static str {
    match state.get(Knob::Lints) {
        0 => "",
        1 => "[lints.rust]\nunused = \"deny\"\n",
        2 => "[lints.rust]\nunexpected_cfgs = { level = \"warn\", check-cfg = [\"cfg(seen)\"] }\n",
        _ => "[lints]\nworkspace = true\n",
    }
}

fn dependencies(state: &State, url: &str) -> String {
    let mut text = "[dependencies]\n".to_owned();
    text += match state.get(Knob::UseOne) {
        0 => "",
        1 => "one = { path = \"crates/one\" }\n",
        2 => "one = { path = \"crates/one\", optional = true }\n",
        3 => "one = { path = \"crates/one\", features = [\"more\"] }\n",
        4 => "one = { workspace = true }\n",
        _ => "one = { path = \"crates/one\", version = \"0.1\" }\n",
    };
    if state.get(Knob::Excluded) == 2 {
        text += "excluded = { path = \"excluded\" }\n";
    }
    if state.get(Knob::Nested) > 0 {
        text += "nested = { path = \"nested\" }\n";
    }
    let revision = match state.get(Knob::Git) {
        0 => None,
        1 => Some(""),
        2 => Some(", tag = \"first\""),
        3 => Some(", tag = \"second\""),
        _ => Some(", branch = \"side\""),
    };
    if let Some(revision) = revision {
        text += &format!("gitdep = {{ git = \"{url}\", version = \"1\"{revision} }}\n");
    }
    if state.get(Knob::Vendored) > 0 {
        text += "ven = \"1\"\n";
    }
    text
}

fn features(state: &State) -> String {
    let optional = state.get(Knob::UseOne) == 2;
    let default = match state.get(Knob::Defaults) {
        1 if optional => "\"with\"",
        1 | 2 => "\"alone\"",
        _ => "",
    };
    let with = if optional { "\"dep:one\"" } else { "" };
    format!("[features]\ndefault = [{default}]\nwith = [{with}]\nalone = []\n")
}

fn targets(state: &State) -> String {
    match state.get(Knob::Targets) {
        1 => "[[bin]]\nname = \"app\"\npath = \"src/main.rs\"\n",
        2 => "[[bin]]\nname = \"app\"\npath = \"src/main.rs\"\nrequired-features = [\"with\"]\n",
        3 => "[[bin]]\nname = \"extra\"\n",
        _ => "",
    }
    .to_owned()
}

fn profiles(state: &State) -> &'static str {
    match state.get(Knob::Profile) {
        0 => "",
        1 => "[profile.dev]\nopt-level = 1\n",
        2 => "[profile.dev.package.one]\nopt-level = 3\n",
        3 => "[profile.release]\nlto = true\n",
        4 => "[profile.fast]\ninherits = \"release\"\n",
        _ => "[profile.dev.build-override]\nopt-level = 2\n[profile.fast]\ninherits = \"dev\"\n",
    }
}

fn patch(state: &State, url: &str) -> String {
    if state.get(Knob::Patch) == 0 || state.get(Knob::PatchPlace) == 1 {
        return String::new();
    }
    format!("[patch.\"{url}\"]\ngitdep = {{ path = \"patched\" }}\n")
}
