//! From fixed places to real ones and back, in text.

use std::path::Path;

use memchr::memmem::Finder;
use vx_core::places;

/// Where an action's fixed places are on the host.
pub(crate) struct Places {
    /// Each fixed place and where it is, the longest fixed one first.
    there: Vec<(String, String)>,
    /// The same, the longest real one first, with the forms in which texts have it.
    back: Vec<(Finder<'static>, String)>,
}

impl Places {
    /// The places of an action: `base` stands for [`places::ROOT`], but for the toolchain and
    /// for what is the action's own and lies in `own`.
    pub(crate) fn new(base: &str, toolchain: &str, own: &Path) -> Self {
        let own_at = |name: &str| own.join(name).to_string_lossy().into_owned();
        let temporary = format!("{}/tmp", places::ROOT);
        let mine = [
            (places::OUT.to_owned(), own_at("out/0")),
            (places::HOME.to_owned(), own_at("home")),
            (temporary, own_at("tmp")),
            (places::ROOT.to_owned(), base.to_owned()),
        ];
        let mut there = mine.to_vec();
        // Not back: it may be a directory that holds much else, such as `/usr`.
        there.push((places::TOOLCHAIN.to_owned(), toolchain.to_owned()));
        there.sort_by_key(|(fixed, _)| std::cmp::Reverse(fixed.len()));
        let mut back: Vec<(String, String)> = mine
            .into_iter()
            .flat_map(|(fixed, real)| forms(&real).map(|real| (real, fixed.clone())))
            .collect();
        back.sort_by_key(|(real, _)| std::cmp::Reverse(real.len()));
        back.dedup();
        let back = back.into_iter();
        Self {
            there,
            back: back
                .map(|(real, fixed)| (Finder::new(real.as_bytes()).into_owned(), fixed))
                .collect(),
        }
    }

    /// A text of an action with real places.
    pub(crate) fn real(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(places::ROOT) {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let found = self.there.iter().find_map(|(fixed, real)| {
                let after = from.strip_prefix(fixed.as_str())?;
                (starts(before) && ends(after.as_bytes())).then_some((real, after))
            });
            match found {
                Some((real, after)) => {
                    out.push_str(real);
                    rest = after;
                }
                None => {
                    out.push_str(places::ROOT);
                    rest = &from[places::ROOT.len()..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// The real path of a fixed place.
    pub(crate) fn path(&self, fixed: &str) -> std::path::PathBuf {
        self.real(fixed).into()
    }

    /// What an action wrote, with fixed places.
    pub(crate) fn fixed(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for (real, fixed) in &self.back {
            if real.find(&text).is_some() {
                text = replace(&text, real, fixed.as_bytes());
            }
        }
        text
    }
}

/// The forms in which a path stands in texts: plain, as JSON escapes it, and as makefiles do.
fn forms(path: &str) -> [String; 3] {
    let json = serde_json::to_string(path).unwrap_or_default();
    [
        path.to_owned(),
        json.trim_matches('"').to_owned(),
        path.replace(' ', "\\ "),
    ]
}

fn replace(text: &[u8], from: &Finder<'_>, to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = 0;
    for at in from.find_iter(text) {
        let after = at + from.needle().len();
        if ends(&text[after..]) {
            out.extend_from_slice(&text[rest..at]);
            out.extend_from_slice(to);
            rest = after;
        }
    }
    out.extend_from_slice(&text[rest..]);
    out
}

/// Whether a path may start after this: not within another path's name. Flags are glued to paths
/// (`-L/vx/x`), so their letters are no objection.
fn starts(before: &str) -> bool {
    let is_name = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
    let name = before.trim_end_matches(is_name);
    let word = &before[name.len()..];
    word.is_empty() || (word.starts_with('-') && !name.ends_with('/'))
}

/// Whether a path's part ends before this.
fn ends(after: &[u8]) -> bool {
    !after
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte) || *byte > 127)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::new("/h/b a/0", "/opt/rust", Path::new("/h/actions/7"))
    }

    #[test]
    fn fixed_places_become_real_ones_wherever_they_stand() {
        let places = places();
        for (fixed, real) in [
            ("/vx/target/debug", "/h/b a/0/target/debug"),
            (
                "--remap-path-prefix=/vx/target=/cargo/b",
                "--remap-path-prefix=/h/b a/0/target=/cargo/b",
            ),
            ("-L/vx/x:/vx/toolchain/lib", "-L/h/b a/0/x:/opt/rust/lib"),
            ("/vx/out", "/h/actions/7/out/0"),
            ("/vx/outer", "/h/b a/0/outer"),
            ("/vx/home", "/h/actions/7/home"),
            ("/vxe /a/vx/b /vx", "/vxe /a/vx/b /h/b a/0"),
            ("-L/a/vx/b /home/-x/vx", "-L/a/vx/b /home/-x/vx"),
            ("sqlite:///vx/target/x.db", "sqlite:///h/b a/0/target/x.db"),
            ("@/vx/target/a.rsp", "@/h/b a/0/target/a.rsp"),
            ("(/vx/x)\n/vx/y", "(/h/b a/0/x)\n/h/b a/0/y"),
        ] {
            assert_eq!(places.real(fixed), real);
        }
    }

    #[test]
    fn real_places_become_fixed_ones() {
        let places = places();
        for (real, fixed) in [
            (
                "cargo:rustc-link-search=/h/b a/0/target/x\n",
                "cargo:rustc-link-search=/vx/target/x\n",
            ),
            ("/h/b\\ a/0/target/g.rs:", "/vx/target/g.rs:"),
            ("/h/actions/7/out/0/liba.rmeta", "/vx/out/liba.rmeta"),
            (
                "/h/actions/7/tmp/x /h/actions/70/tmp",
                "/vx/tmp/x /h/actions/70/tmp",
            ),
            ("/opt/rust/lib", "/opt/rust/lib"),
        ] {
            assert_eq!(places.fixed(real.as_bytes()), fixed.as_bytes(), "{real}");
        }
    }

    #[test]
    fn what_stands_in_json_is_found_too() {
        let places = Places::new("/h/\"q\"/0", "/t", Path::new("/a"));
        let text = serde_json::to_vec(&serde_json::json!({"p": "/h/\"q\"/0/target/x"})).unwrap();
        assert_eq!(places.fixed(&text), br#"{"p":"/vx/target/x"}"#);
    }
}
