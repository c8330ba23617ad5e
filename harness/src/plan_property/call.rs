//! How `vx` is called in a workspace whose knobs stand somewhere.

use super::files::CHECKOUT;
use super::knob::{Knob, State};
use crate::locate;

/// The arguments after `build`.
pub(crate) fn arguments(state: &State) -> Vec<String> {
    let mut all = [
        match state.get(Knob::Selection) {
            0 => "",
            1 => "--workspace",
            2 => "-p one",
            3 => "--lib",
            4 => "--bins",
            5 => "--examples",
            _ => "--workspace --exclude two",
        },
        match state.get(Knob::Chosen) {
            0 => "",
            1 => "--release",
            _ => "--profile fast",
        },
        match state.get(Knob::Features) {
            0 => "",
            1 => "--no-default-features",
            2 => "--all-features",
            _ => "--features alone",
        },
        match state.get(Knob::Locked) {
            0 => "",
            1 => "--locked",
            2 => "--offline",
            _ => "--frozen",
        },
        match state.get(Knob::Directory) {
            2 => "--manifest-path checkout/Cargo.toml",
            _ => "",
        },
    ]
    .join(" ");
    if state.get(Knob::Target) == 1 {
        all += " --target ";
        all += locate::host_triple();
    }
    all.split_whitespace().map(str::to_owned).collect()
}

/// Where it is called, below the checkout's parent.
pub(crate) fn directory(state: &State) -> String {
    match state.get(Knob::Directory) {
        0 => CHECKOUT.to_owned(),
        1 => format!("{CHECKOUT}/crates/one"),
        _ => String::new(),
    }
}

/// The variables it is given besides.
pub(crate) fn variables(state: &State) -> Vec<(&'static str, &'static str)> {
    // What is vendored is asked for where configuration says so, and nowhere else.
    let mut all = vec![("CARGO_NET_OFFLINE", "true")];
    match state.get(Knob::Flags) {
        0 => {}
        1 => all.push(("RUSTFLAGS", "--cfg a")),
        2 => all.push(("RUSTFLAGS", "--cfg b")),
        _ => all.push(("CARGO_BUILD_RUSTFLAGS", "--cfg c")),
    }
    match state.get(Knob::ProfileVariable) {
        0 => {}
        1 => all.push(("CARGO_PROFILE_DEV_OPT_LEVEL", "1")),
        _ => all.push(("CARGO_PROFILE_DEV_DEBUG", "1")),
    }
    if state.get(Knob::Unrelated) == 1 {
        all.push(("VX_PLAN_UNRELATED", "1"));
    }
    all
}
