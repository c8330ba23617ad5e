//! rustc's dep-info: which files and variables a compile named.
//!
//! The format is a makefile's. Of several rules the first is the one with all files; blanks
//! in names are escaped with a backslash, and variables are comments, with their own escapes.

/// What a compile named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DepInfo {
    /// Files, relative to the compile's working directory or absolute, as rustc wrote them.
    pub files: Vec<String>,
    /// Variables; without a value if they were not set.
    pub env: Vec<(String, Option<String>)>,
}

/// A dep-info file that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepInfoError {
    /// A line is not text.
    #[error("dep-info is not UTF-8")]
    NotUtf8,
    /// A file name ends in an escape.
    #[error("dep-info ends in a backslash")]
    TrailingBackslash,
    /// A variable has an escape that is not known.
    #[error("dep-info has an unknown escape in `{0}`")]
    UnknownEscape(String),
}

/// Reads a dep-info file.
pub fn parse_dep_info(bytes: &[u8]) -> Result<DepInfo, DepInfoError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DepInfoError::NotUtf8)?;
    let mut info = DepInfo::default();
    let mut found_files = false;
    for line in text.lines() {
        if let Some(variable) = line.strip_prefix("# env-dep:") {
            let (name, value) = match variable.split_once('=') {
                Some((name, value)) => (name, Some(unescape(value)?)),
                None => (variable, None),
            };
            info.env.push((unescape(name)?, value));
        } else if let Some((_, files)) = line.split_once(": ")
            && !found_files
            && !line.starts_with('#')
        {
            found_files = true;
            info.files = split_files(files)?;
        }
    }
    Ok(info)
}

fn split_files(line: &str) -> Result<Vec<String>, DepInfoError> {
    // rustc escapes this blank alone, so that any other is part of a name.
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let mut files = Vec::new();
    while let Some(word) = words.next() {
        let mut file = word.to_owned();
        while file.ends_with('\\') {
            file.pop();
            file.push(' ');
            file.push_str(words.next().ok_or(DepInfoError::TrailingBackslash)?);
        }
        files.push(file);
    }
    Ok(files)
}

fn unescape(text: &str) -> Result<String, DepInfoError> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        plain.push(match chars.next() {
            Some('\\') => '\\',
            Some('n') => '\n',
            Some('r') => '\r',
            _ => return Err(DepInfoError::UnknownEscape(text.to_owned())),
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables() {
        let text = "/vx/out/a-1.d: src/main.rs src/a\\ b.rs\n\n/vx/out/a: src/main.rs\n\nsrc/main.rs:\n\n\
                    # env-dep:CARGO_PKG_NAME=a\n# env-dep:UNSET\n# env-dep:LINES=x\\ny\\\\z\n";
        let info = parse_dep_info(text.as_bytes()).unwrap();
        assert_eq!(info.files, ["src/main.rs", "src/a b.rs"]);
        assert_eq!(
            info.env,
            [
                ("CARGO_PKG_NAME".to_owned(), Some("a".to_owned())),
                ("UNSET".to_owned(), None),
                ("LINES".to_owned(), Some("x\ny\\z".to_owned())),
            ]
        );
    }

    #[test]
    fn what_is_broken_is_said() {
        assert_eq!(
            parse_dep_info(b"a: b\\"),
            Err(DepInfoError::TrailingBackslash)
        );
        assert!(matches!(
            parse_dep_info(b"# env-dep:A=\\q"),
            Err(DepInfoError::UnknownEscape(_))
        ));
    }
}
