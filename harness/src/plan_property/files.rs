//! The files of a workspace whose knobs stand somewhere.

use std::collections::BTreeMap;

use super::knob::{Knob, State};
use super::manifests;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file with this text.
    File(String),
    /// A link to this.
    Link(&'static str),
}

/// Entries by path, from the checkout's parent; cargo's home is `home`.
pub(crate) type Files = BTreeMap<String, Entry>;

/// The checkout below its parent.
pub(crate) const CHECKOUT: &str = "checkout";

/// What marks a directory as a cache.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

/// What `vendor/ven/src/lib.rs` holds, and the digest of that.
const VENDORED: (&str, &str) = (
    "pub const NUMBER: u32 = 1;\n",
    "a2288bf764fd844997b4a7ea71343492d5746a144b81233448feaec80f7da586",
);

/// Makes the files of a state, given the URL of the git repository.
pub(crate) fn files(state: &State, url: &str) -> Files {
    let mut made = Made {
        state,
        files: Files::new(),
    };
    made.root(url);
    made.members();
    made.nested();
    made.vendored();
    made.listings();
    made.configuration(url);
    made.files
}

struct Made<'s> {
    state: &'s State,
    files: Files,
}

impl Made<'_> {
    fn outside(&mut self, path: &str, text: impl Into<String>) {
        self.files.insert(path.to_owned(), Entry::File(text.into()));
    }

    fn file(&mut self, path: &str, text: impl Into<String>) {
        self.outside(&format!("{CHECKOUT}/{path}"), text);
    }

    fn link(&mut self, path: &str, target: &'static str) {
        self.files
            .insert(format!("{CHECKOUT}/{path}"), Entry::Link(target));
    }

    fn package(&mut self, path: &str, manifest: String) {
        self.file(&format!("{path}/Cargo.toml"), manifest);
        self.file(&format!("{path}/src/lib.rs"), "");
    }

    fn root(&mut self, url: &str) {
        let text = manifests::root(self.state, url);
        let other = text.replacen("0.1.0", "0.1.1", 1);
        match self.state.get(Knob::Root) {
            0 => self.file("Cargo.toml", text.clone()),
            1 => self.link("Cargo.toml", "manifests/one.toml"),
            _ => self.link("Cargo.toml", "manifests/two.toml"),
        }
        self.file("manifests/one.toml", text);
        self.file("manifests/two.toml", other);
        self.file("src/main.rs", "fn main() {}\n");
        // Where cargo finds it, it keeps there what rustc said, and asks once.
        self.file("target/CACHEDIR.TAG", TAG);
        let patched = match self.state.get(Knob::Patch) {
            3 => manifests::plain("other", "1.0.0"),
            2 => manifests::plain("gitdep", "2.0.0"),
            _ => manifests::plain("gitdep", "1.0.1"),
        };
        self.package("patched", patched);
    }

    fn members(&mut self) {
        let one = manifests::one(self.state);
        let other = format!("{one}[package.metadata]\nother = true\n");
        self.package("elsewhere/one", one.clone());
        self.package(
            "elsewhere/other",
            other.replacen("edition = \"2024\"", "edition = \"2021\"", 1),
        );
        match self.state.get(Knob::One) {
            0 => self.package("crates/one", one),
            1 => {}
            2 => self.file("crates/one/src/lib.rs", ""),
            3 => self.link("crates/one", "../elsewhere/one"),
            _ => self.link("crates/one", "../elsewhere/other"),
        }
        let two = manifests::plain("two", "0.1.0");
        self.file("manifests/two-a.toml", two.clone());
        let other = format!("{two}[features]\ndefault = [\"turned\"]\nturned = []\n");
        self.file("manifests/two-b.toml", other);
        match self.state.get(Knob::Two) {
            0 => self.package("crates/two", two),
            1 => {}
            2 => self.package("crates/two", two.replace("[package]", "[package")),
            turned => {
                self.file("crates/two/src/lib.rs", "");
                let target = match turned {
                    3 => "../../manifests/two-a.toml",
                    _ => "../../manifests/two-b.toml",
                };
                self.link("crates/two/Cargo.toml", target);
            }
        }
        // A glob that finds nothing is taken for a path.
        self.package("more/w/rust", manifests::plain("always", "0.1.0"));
        match self.state.get(Knob::More) {
            0 => {}
            1 => self.file("more/x/rust/notes.txt", ""),
            _ => self.package("more/x/rust", manifests::plain("more", "0.1.0")),
        }
    }

    fn nested(&mut self) {
        if self.state.get(Knob::Excluded) > 0 {
            self.package("excluded", manifests::plain("excluded", "0.1.0"));
        }
        if self.state.get(Knob::Nested) > 0 {
            self.package("nested", manifests::nested(self.state));
        }
        if self.state.get(Knob::Inner) > 0 {
            let version = match self.state.get(Knob::Inner) {
                1 => "0.1.0",
                _ => "0.1.1",
            };
            self.package("nested/inner", manifests::plain("inner", version));
        }
    }

    fn vendored(&mut self) {
        let value = self.state.get(Knob::Vendored);
        if value == 0 {
            return;
        }
        let manifest = manifests::plain("ven", "1.0.0");
        let manifest = match value {
            4 => format!("{manifest}[features]\ndefault = [\"more\"]\nmore = []\n"),
            _ => manifest,
        };
        self.file("vendor/ven/Cargo.toml", manifest);
        let text = match value {
            3 => VENDORED.0.replace('1', "2"),
            _ => VENDORED.0.to_owned(),
        };
        self.file("vendor/ven/src/lib.rs", text);
        if value == 2 {
            self.file("vendor/ven/build.rs", "fn main() {}\n");
        }
        let sums = format!(
            "{{\"files\":{{\"src/lib.rs\":\"{}\"}},\"package\":\"{}\"}}",
            VENDORED.1,
            "0".repeat(64)
        );
        self.file("vendor/ven/.cargo-checksum.json", sums);
    }

    fn listings(&mut self) {
        let main = "fn main() {}\n";
        match self.state.get(Knob::Bin) {
            0 => {}
            1 => self.file("src/bin/extra.rs", main),
            _ => self.file("src/bin/extra/main.rs", main),
        }
        match self.state.get(Knob::Tests) {
            0 => {}
            1 => self.file("tests/all.rs", ""),
            _ => self.file("tests/all/main.rs", ""),
        }
        if self.state.get(Knob::Examples) > 0 {
            self.file("examples/shown.rs", main);
        }
        if self.state.get(Knob::Library) > 0 {
            self.file("src/lib.rs", "");
        }
        match self.state.get(Knob::Script) {
            0 => {}
            1 => self.file("build.rs", main),
            _ => self.file("scripts/build.rs", main),
        }
        match self.state.get(Knob::Toolchain) {
            0 => {}
            1 => self.file("rust-toolchain.toml", "[toolchain]\nchannel = \"stable\"\n"),
            2 => self.file("rust-toolchain", "stable\n"),
            _ => self.outside("rust-toolchain.toml", "[toolchain]\nchannel = \"stable\"\n"),
        }
    }

    fn configuration(&mut self, url: &str) {
        let state = self.state;
        let places = [
            (
                format!("{CHECKOUT}/.cargo"),
                Knob::ConfigCheckout,
                "checkout",
            ),
            (".cargo".to_owned(), Knob::ConfigParent, "parent"),
            ("home".to_owned(), Knob::ConfigHome, "home"),
        ];
        for (directory, knob, name) in places {
            let mut text = match state.get(knob) {
                1 => format!("[build]\nrustflags = [\"--cfg\", \"{name}\"]\n"),
                2 => format!("[env]\nVX_PLAN_SET = \"{name}\"\n"),
                3 => "[profile.dev]\nopt-level = 1\n".to_owned(),
                4 => "include = [\"more.toml\"]\n".to_owned(),
                5 => "include = [{ path = \"more.toml\", optional = true }]\n".to_owned(),
                6 => "[build\n".to_owned(),
                7 => "[target.'cfg(unix)']\nrustflags = [\"--cfg\", \"unixes\"]\n".to_owned(),
                _ => String::new(),
            };
            if knob == Knob::ConfigCheckout {
                text += &sources(state, url);
            }
            if !text.is_empty() {
                self.outside(&format!("{directory}/config.toml"), text);
            }
            let included = match state.get(Knob::Included) {
                0 => continue,
                1 => "[profile.dev]\ndebug = 1\n",
                _ => "[build]\nrustflags = [\"--cfg\", \"included\"]\n",
            };
            self.outside(&format!("{directory}/more.toml"), included);
        }
    }
}

/// What the checkout's configuration says of sources.
fn sources(state: &State, url: &str) -> String {
    let mut text = String::new();
    if state.get(Knob::Patch) > 0 && state.get(Knob::PatchPlace) == 1 {
        text += &format!("[patch.\"{url}\"]\ngitdep = {{ path = \"patched\" }}\n");
    }
    if state.get(Knob::Vendored) > 0 {
        text += "[source.crates-io]\nreplace-with = \"vendored\"\n\
                 [source.vendored]\ndirectory = \"vendor\"\n";
    }
    text
}
