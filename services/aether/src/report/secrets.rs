//! What values of variables may be written down.
//!
//! Reports lie in the checkout, where they are shown, copied and attached to bug reports. A
//! value that may be a secret is never in one: only a digest of it, which tells that it
//! changed. What is taken for a secret is generous, as a mistake one way costs a word in an
//! explanation and the other way a secret.

use serde::Serialize;
use vx_core::Digest;

/// Parts of names of variables that hold secrets.
const NAMES: &[&str] = &[
    "ACCESS",
    "APIKEY",
    "COOKIE",
    "CREDENTIAL",
    "KEY",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE",
    "SECRET",
    "SESSION",
    "SIGNATURE",
    "TOKEN",
];

/// The same as whole words between underscores.
const WORDS: &[&str] = &["AUTH", "DSN", "PASS", "PAT", "PIN", "PW", "SALT"];

/// How well-known tokens start.
const STARTS: &[&str] = &[
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "AIza",
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "npm_",
    "pypi-",
    "sk-",
    "sk_",
    "xoxa-",
    "xoxb-",
    "xoxp-",
];

/// From this length on, text is asked whether it looks random.
const LONG: usize = 16;

/// The longest value that is written down.
const LONGEST: usize = 400;

/// A value as it may be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// Itself.
    Value(String),
    /// What tells it from others.
    Digest {
        /// 16 hexadecimal digits.
        digest: String,
    },
}

impl Shown {
    fn hidden(value: &str) -> Self {
        Self::Digest {
            digest: Digest::of(value.as_bytes()).short(),
        }
    }
}

/// A variable's value as it may be written down.
pub(crate) fn variable(name: &str, value: &str) -> Shown {
    if value.len() > LONGEST || names_secret(name) || value.split_whitespace().any(is_secret) {
        Shown::hidden(value)
    } else {
        Shown::Value(value.to_owned())
    }
}

/// The value of a variable that cargo itself sets. Its paths have hashes in them, which are no
/// secrets.
pub(crate) fn of_cargo(name: &str, value: &str) -> Shown {
    if names_secret(name) || starts_as_secret(value) || value.split('\x1f').any(sets_secret) {
        Shown::hidden(value)
    } else {
        Shown::Value(value.to_owned())
    }
}

/// An argument as it may be written down.
pub(crate) fn argument(argument: &str) -> Shown {
    if sets_secret(argument) || starts_as_secret(argument) {
        Shown::hidden(argument)
    } else {
        Shown::Value(argument.to_owned())
    }
}

fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.iter().any(|part| name.contains(part))
        || name.split('_').any(|word| WORDS.contains(&word))
}

/// Whether this is `name=value` with the name of a secret.
fn sets_secret(argument: &str) -> bool {
    // A feature's name is public.
    argument.split_once('=').is_some_and(|(name, value)| {
        let name = name.rsplit([' ', ':']).next().unwrap_or(name);
        // `--extern key=/vx/...` is a crate of that name.
        names_secret(name) && !value.starts_with('/')
    })
}

fn starts_as_secret(text: &str) -> bool {
    STARTS.iter().any(|start| text.starts_with(start)) || has_password(text)
}

/// Whether a URL names a user with a password.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        authority.contains('@')
    })
}

fn is_secret(word: &str) -> bool {
    starts_as_secret(word)
        || sets_secret(word)
        || word
            .split(['/', ':', ',', ';', '.', '"', '\'', '@', '='])
            .any(is_random)
}

/// Long text in which digits and letters, or small and capital letters, take turns as chance
/// has it. Words, versions and triples change between them a few times at most.
fn is_random(text: &str) -> bool {
    if text.len() < LONG {
        return false;
    }
    if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return text.len() > LONG && text.bytes().all(|byte| byte.is_ascii_digit());
    }
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        _ => None,
    };
    let turns = text.as_bytes().windows(2).filter(
        |pair| matches!((kind(pair[0]), kind(pair[1])), (Some(one), Some(two)) if one != two),
    );
    turns.count() * 6 >= text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_hidden(name: &str, value: &str) -> bool {
        matches!(variable(name, value), Shown::Digest { .. })
    }

    #[test]
    fn secrets_are_hidden_by_name_and_by_form() {
        for (name, value) in [
            ("GITHUB_TOKEN", "x"),
            ("MyApiKey", "x"),
            ("DB_PASS", "x"),
            ("AWS_CREDENTIALS", "x"),
            ("DATABASE_URL", "postgres://user:word@host/db"),
            ("A", "ghp_abc"),
            ("A", "-----BEGIN RSA PRIVATE KEY-----"),
            ("A", "f3a9c17be2804d5596ab01c2d3e4f567"),
            ("A", "Zm9vYmFyOmJhejEyM3F1eDQ1Ng=="),
            ("A", "550e8400-e29b-41d4-a716-446655440000"),
            ("FLAGS", "-DAPI_KEY=abc -O2"),
        ] {
            assert!(is_hidden(name, value), "{name}={value}");
        }
    }

    #[test]
    fn what_is_harmless_is_shown() {
        for (name, value) in [
            ("GREETING", "hello"),
            ("CFLAGS", "-O2 -march=native -ffile-prefix-map=/a=/b"),
            ("TARGET", "x86_64-unknown-linux-gnu"),
            ("DATABASE_URL", "postgres://localhost/db"),
            ("PKG_CONFIG_PATH", "/usr/lib/x86_64-linux-gnu/pkgconfig"),
            ("VERSION", "1.95.0-nightly"),
            ("SOURCE_DATE_EPOCH", "1700000000"),
        ] {
            assert_eq!(variable(name, value), Shown::Value(value.to_owned()));
        }
    }

    #[test]
    fn command_lines_keep_their_hashes() {
        let shown = |text: &str| argument(text) == Shown::Value(text.to_owned());
        assert!(shown("metadata=0123456789abcdef"));
        assert!(shown(
            "key=/vx/target/debug/deps/libkey-0a1b2c3d4e5f6789.rmeta"
        ));
        assert!(shown("feature=\"token\""));
        assert!(!shown("api_token=\"x\""));
        let path = "/vx/target/debug/build/a-0a1b2c3d4e5f6789/out";
        assert_eq!(of_cargo("OUT_DIR", path), Shown::Value(path.to_owned()));
    }

    #[test]
    fn a_hidden_value_still_tells_a_change() {
        assert_ne!(variable("TOKEN", "a"), variable("TOKEN", "b"));
    }
}
