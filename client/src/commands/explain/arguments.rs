//! Command lines beside each other.
//!
//! An argument and its value are one word here. The 16 digits that name a build of a crate are
//! left out of comparisons: they follow from whatever else changed.

use super::difference::{Change, Difference};
use crate::report::Shown;

/// Options whose value is the next word.
const WITH_VALUE: &[&str] = &[
    "-A",
    "-C",
    "-D",
    "-F",
    "-L",
    "-W",
    "-Z",
    "-l",
    "--allow",
    "--cap-lints",
    "--cfg",
    "--check-cfg",
    "--crate-name",
    "--crate-type",
    "--deny",
    "--extern",
    "--forbid",
    "--out-dir",
    "--remap-path-prefix",
    "--target",
    "--warn",
];

/// How many digits name a build of a crate.
const IDENTITY: usize = 16;

/// What differs. Arguments that name dependencies are left out where dependencies are `told`
/// to have come or gone.
pub(super) fn between(then: &[Shown], now: &[Shown], told: bool) -> Vec<Difference> {
    let (old, new) = (words(then), words(now));
    let kept = |word: &Shown| {
        let text = text(word);
        !(is_identity(text) || told && text.starts_with("--extern "))
    };
    let mut removed = without(&old, &new);
    let mut added = without(&new, &old);
    removed.retain(kept);
    added.retain(kept);
    let mut found = Vec::new();
    for was in removed {
        let place = added
            .iter()
            .position(|now| option(text(now)).is_some() && option(text(now)) == option(text(&was)));
        let now = place.map(|place| added.remove(place));
        found.push(Difference::Argument {
            change: if now.is_some() {
                Change::Changed
            } else {
                Change::Gone
            },
            was: Some(was),
            now,
        });
    }
    found.extend(added.into_iter().map(|now| Difference::Argument {
        change: Change::New,
        was: None,
        now: Some(now),
    }));
    let order = |words: &[Shown]| -> Vec<Shown> {
        let kept = words.iter().filter(|word| !is_identity(text(word)));
        kept.map(without_identity).collect()
    };
    if found.is_empty() && !told && order(&old) != order(&new) {
        found.push(Difference::Argument {
            change: Change::Changed,
            was: None,
            now: None,
        });
    }
    found
}

/// The names of the build of a crate, where nothing else tells why they differ.
pub(super) fn identities(then: &[Shown], now: &[Shown]) -> Option<Difference> {
    let of = |words: Vec<Shown>| words.into_iter().find(|word| is_identity(text(word)));
    let (was, now) = (of(words(then))?, of(words(now))?);
    (was != now).then_some(Difference::Argument {
        change: Change::Changed,
        was: Some(was),
        now: Some(now),
    })
}

/// A value without the digits that name builds of crates.
pub(super) fn without_identity(value: &Shown) -> Shown {
    match value {
        Shown::Value(text) => Shown::Value(plain(text)),
        hidden @ Shown::Digest { .. } => hidden.clone(),
    }
}

/// Text without the digits that name builds of crates.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('-') {
        plain.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let digits = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let hexadecimal = rest[..digits].bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits == IDENTITY && hexadecimal {
            plain.push('*');
            rest = &rest[digits..];
        }
    }
    plain.push_str(rest);
    plain
}

fn words(argv: &[Shown]) -> Vec<Shown> {
    let mut words = Vec::with_capacity(argv.len());
    let mut argv = argv.iter().peekable();
    while let Some(word) = argv.next() {
        let joined = match (word, argv.peek()) {
            (Shown::Value(option), Some(Shown::Value(value)))
                if WITH_VALUE.contains(&option.as_str()) =>
            {
                Some(Shown::Value(format!("{option} {value}")))
            }
            _ => None,
        };
        match joined {
            Some(joined) => {
                argv.next();
                words.push(joined);
            }
            None => words.push(word.clone()),
        }
    }
    words
}

/// What of `one` is not in `other`, counting repeats.
fn without(one: &[Shown], other: &[Shown]) -> Vec<Shown> {
    let mut left: Vec<Shown> = other.iter().map(without_identity).collect();
    let mut found = Vec::new();
    for word in one {
        let word_plain = without_identity(word);
        match left.iter().position(|other| *other == word_plain) {
            Some(place) => {
                left.swap_remove(place);
            }
            None => found.push(word.clone()),
        }
    }
    found
}

fn text(word: &Shown) -> &str {
    match word {
        Shown::Value(text) => text,
        Shown::Digest { .. } => "",
    }
}

fn is_identity(text: &str) -> bool {
    text.starts_with("-C metadata=") || text.starts_with("-C extra-filename=")
}

/// The option that an argument gives a value to; those that may be given often have none.
fn option(text: &str) -> Option<&str> {
    let (option, _) = text.split_once('=')?;
    let often = [
        "--cfg feature",
        "--extern ",
        "-L ",
        "--remap-path-prefix",
        "-C link-arg",
    ];
    (!often.iter().any(|start| option.starts_with(start))).then_some(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<Shown> {
        text.split(' ')
            .map(|word| Shown::Value(word.to_owned()))
            .collect()
    }

    fn words_of(then: &str, now: &str) -> Vec<String> {
        let found = between(&line(then), &line(now), false);
        found.iter().map(Difference::words).collect()
    }

    #[test]
    fn options_are_told_with_their_values() {
        assert_eq!(
            words_of(
                "rustc --cfg feature=\"a\" -C opt-level=1 -C metadata=1 -C debuginfo=2",
                "rustc --cfg feature=\"b\" -C opt-level=3 -C metadata=2 --cfg extra",
            ),
            [
                "the feature `a` was turned off",
                "the argument `-C opt-level=1` became `-C opt-level=3`",
                "the argument `-C debuginfo=2` was removed",
                "the feature `b` was turned on",
                "the argument `--cfg extra` was added",
            ]
        );
    }

    #[test]
    fn names_of_builds_are_no_difference() {
        let one = "rustc --extern b=/d/libb-0123456789abcdef.rmeta -C metadata=0123456789abcdef";
        let two = "rustc --extern b=/d/libb-fedcba9876543210.rmeta -C metadata=fedcba9876543210";
        assert!(words_of(one, two).is_empty());
        assert!(identities(&line(one), &line(two)).is_some());
        assert_eq!(plain("a-b-0123456789abcdef-x"), "a-b-*-x");
        assert_eq!(plain("x86_64-unknown"), "x86_64-unknown");
    }

    #[test]
    fn the_order_counts() {
        let words = words_of("rustc -C a=1 -C b=1", "rustc -C b=1 -C a=1");
        assert_eq!(words, ["its arguments have another order"]);
    }
}
