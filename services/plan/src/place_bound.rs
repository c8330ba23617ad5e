//! Texts with paths that lead out of a checkout.

use std::path::Path;

use vx_core::places;

use crate::locate::normalize;

/// Whether a text has a relative path that leaves a checkout from so deep in it. What it leads to is
/// another thing for a copy of the checkout elsewhere.
pub(crate) fn leaves(text: &str, depth: usize) -> bool {
    words(text).any(|word| {
        let mut level = 0_usize;
        for part in word.split('/') {
            match part {
                // Options are glued to paths.
                up if up.ends_with("..") && level == depth => return true,
                up if up.ends_with("..") => level += 1,
                // Down again is at most as far as up.
                _ if level > 0 && part != "." && !part.is_empty() => level -= 1,
                _ => {}
            }
        }
        false
    })
}

/// The absolute paths in a text, straightened. In a checkout that has one of them, it means another
/// thing than elsewhere.
pub(crate) fn absolute(text: &str) -> impl Iterator<Item = String> {
    let paths = words(text).filter_map(|word| {
        let path = &word[word.find('/')?..];
        let relative = word.starts_with(|first: char| first.is_alphanumeric() || first == '.');
        (!relative && !path.starts_with("//") && path.len() > 1).then(|| straight(path))
    });
    paths.filter(|path| !places::is_of_kernel(path))
}

/// A path without empty parts, `.` and `..`.
pub(crate) fn straight(path: &str) -> String {
    let plain = normalize(Path::new(path));
    plain.to_string_lossy().into_owned()
}

/// The texts in a file of settings as they are meant: what TOML writes with escapes, or in tables, too.
pub(crate) fn meant(text: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        gather(&toml::Value::Table(table), &mut texts);
    }
    texts
}

fn gather(value: &toml::Value, texts: &mut Vec<String>) {
    match value {
        toml::Value::String(text) => texts.push(text.clone()),
        toml::Value::Array(values) => values.iter().for_each(|value| gather(value, texts)),
        toml::Value::Table(table) => {
            texts.extend(table.keys().cloned());
            table.values().for_each(|value| gather(value, texts));
        }
        _ => {}
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| {
        char.is_whitespace() || matches!(char, '"' | '\'' | '=' | ',' | ';' | ':' | '[' | ']')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_are_found() {
        assert!(leaves("dep = {path = \"../one/dep\"}", 0));
        assert!(!leaves("dep = {path = \"../one/dep\"}", 1));
        assert!(leaves("dep = {path='../../one'}", 1));
        assert!(leaves("directory = \"vendor/../../x\"", 1));
        assert!(leaves("args = [\"-L../x\"]", 0));
        assert!(!leaves("a = { path = \"crates/one\" }", 0));
        assert!(leaves("a = { path = \"..\" }", 0));
    }

    #[test]
    fn absolute_paths_are_found() {
        let text = "P = \"/a/one/data\"\nflags = ['-L/b/lib', \"-Clink-arg=-T/c.x\"]\npath = 'd/e'\n\
                    link = 'https://x/y'\nlinker = \"/usr/bin/cc\"\nall = '/f:/g/h'";
        let found: Vec<String> = absolute(text).collect();
        assert_eq!(
            found,
            ["/a/one/data", "/b/lib", "/c.x", "/usr/bin/cc", "/f", "/g/h"]
        );
    }

    #[test]
    fn paths_are_found_however_they_are_spelled() {
        for spelled in ["/a//one/data", "/a/./one/data", "/a/b/../one//data/"] {
            let found: Vec<String> = absolute(&format!("P = '{spelled}'")).collect();
            assert_eq!(found, ["/a/one/data"], "{spelled}");
        }
        assert!(meant("P = \"/a\\u002fone\"").contains(&"/a/one".to_owned()));
        assert!(meant("[q.'/b/c']\n").contains(&"/b/c".to_owned()));
        assert!(meant("list = [{ r = '/d' }]").contains(&"/d".to_owned()));
    }
}
