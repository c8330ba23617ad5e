//! Globs of workspace members: which directories match.

use std::path::{Path, PathBuf};

use crate::host::Host;

/// Expands `*`, `?`, `[…]` and `**` in a path relative to a directory.
pub(crate) fn expand(host: &Host, dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for part in pattern
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        let mut next = Vec::new();
        for base in found {
            if part == "**" {
                below(host, &base, &mut next);
            } else if part.contains(['*', '?', '[']) {
                let matching = host
                    .names(&base)
                    .into_iter()
                    .filter(|name| matches(part.as_bytes(), name.as_bytes()));
                next.extend(matching.map(|name| base.join(name)));
            } else {
                next.push(base.join(part));
            }
        }
        found = next;
    }
    found
}

fn below(host: &Host, dir: &Path, found: &mut Vec<PathBuf>) {
    found.push(dir.to_owned());
    for name in host.names(dir) {
        let path = dir.join(name);
        // Links are not followed: they could lead in circles.
        if host.is_dir_itself(&path) {
            below(host, &path, found);
        }
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        [b'?', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if !name.is_empty() => {
                in_class(&rest[..end], name[0]) && matches(&rest[end + 1..], &name[1..])
            }
            _ => false,
        },
        [byte, rest @ ..] => name.first() == Some(byte) && matches(rest, &name[1..]),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'!', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut index = 0;
    let mut found = false;
    while index < class.len() {
        if class.get(index + 1) == Some(&b'-') && index + 2 < class.len() {
            found |= (class[index]..=class[index + 2]).contains(&byte);
            index += 3;
        } else {
            found |= class[index] == byte;
            index += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let is = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(is("*", "a") && is("a*c", "abc") && is("a?c", "abc") && is("[a-c]x", "bx"));
        assert!(!is("[!a-c]x", "bx") && !is("a?", "a") && !is("a*d", "abc"));
    }

    #[test]
    fn expansion() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["crates/a", "crates/b/x", "other"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let host = Host::new(std::sync::Arc::new(crate::host::Plain));
        let found = expand(&host, dir.path(), "crates/*");
        assert_eq!(
            found,
            [dir.path().join("crates/a"), dir.path().join("crates/b")]
        );
        assert_eq!(expand(&host, dir.path(), "**").len(), 6);
    }
}
