//! Which room of a crate may use which: those before it, so that there is no circle across rooms.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::workspace;

/// A crate's source and its rooms, each a folder, in order.
const ROOMS: [(&str, &[&str]); 1] = [(
    "services/aether/src",
    &[
        "host", "session", "graph", "key", "build", "inputs", "lookup", "execute", "report",
        "schedule", "deliver", "verify", "plan", "daemon",
    ],
)];

/// What stands outside of rooms: it puts them together.
const OUTSIDE: [&str; 3] = ["lib.rs", "main.rs", "tests"];

/// Checks each file of each crate with rooms.
pub(super) fn check() -> Result<()> {
    let mut broken = Vec::new();
    for file in super::files()? {
        for (source, rooms) in ROOMS {
            let Ok(inside) = file.strip_prefix(source) else {
                continue;
            };
            let text = fs::read_to_string(workspace::root().join(&file))?;
            let found = judge(rooms, inside, &text);
            broken.extend(found.map(|what| format!("{}: {what}", file.display())));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{}", broken.join("\n"))
}

/// What a file does that its room may not.
fn judge(rooms: &'static [&str], file: &Path, text: &str) -> impl Iterator<Item = String> {
    let first = file.iter().next().and_then(|name| name.to_str());
    let own = rooms.iter().position(|room| Some(*room) == first);
    let is_outside = first.is_some_and(|name| OUTSIDE.contains(&name));
    let homeless = (own.is_none() && !is_outside)
        .then(|| "it is in no room that xtask/src/ci/rooms.rs knows".to_owned());
    let later = rooms.iter().skip(own.map_or(rooms.len(), |own| own + 1));
    // Tests may use what they like.
    let code = super::without_tests(text);
    let names = |room: &&&str| {
        let path = format!("crate::{room}");
        let mut found = code.match_indices(&path);
        found.any(|(at, _)| !code[at + path.len()..].starts_with(in_name))
    };
    let used: Vec<String> = later
        .filter(names)
        .map(|room| format!("it uses `{room}`, a room after its own"))
        .collect();
    let unnamed = code
        .contains("use crate::{")
        .then(|| "it imports from several rooms at once; name each by itself".to_owned());
    homeless.into_iter().chain(used).chain(unnamed)
}

fn in_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &[&str] = &["one", "two", "three"];

    fn judged(file: &str, text: &str) -> Vec<String> {
        judge(ORDER, Path::new(file), text).collect()
    }

    #[test]
    fn a_room_uses_those_before_it() {
        let text = "use crate::one::One;\nfn two() { crate::two::other() }\n";
        assert_eq!(judged("two/mod.rs", text), [""; 0]);
        assert_eq!(judged("lib.rs", "pub use crate::three::main;"), [""; 0]);
    }

    #[test]
    fn an_import_against_the_order_is_found() {
        let against = ["it uses `three`, a room after its own"];
        for text in [
            "use crate::three::Three;",
            "use crate::three::{self, Three};",
            "fn a() { crate::three::b() }",
            "use crate::three;",
        ] {
            assert_eq!(judged("two/a.rs", text), against, "{text}");
        }
        assert_eq!(judged("two/a.rs", "use crate::three_more::A;"), [""; 0]);
        assert_eq!(judged("two/a.rs", "use crate::{one, three};").len(), 1);
        let in_tests = "#[cfg(test)]\nmod tests { use crate::three::Three; }";
        assert_eq!(judged("two/a.rs", in_tests), [""; 0]);
    }

    #[test]
    fn a_file_is_in_a_room() {
        assert_eq!(judged("four/a.rs", "").len(), 1);
        assert_eq!(judged("a.rs", "").len(), 1);
    }
}
