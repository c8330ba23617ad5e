//! Texts with paths that lead out of a checkout.

/// Whether a text has a relative path that leaves a checkout from so deep in it. What it leads to is
/// another thing for a copy of the checkout elsewhere.
pub(crate) fn leaves(text: &str, depth: usize) -> bool {
    let delimiter = |char: char| {
        char.is_whitespace() || matches!(char, '"' | '\'' | '=' | ',' | ';' | ':' | '[' | ']')
    };
    text.split(delimiter).any(|word| {
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
}
