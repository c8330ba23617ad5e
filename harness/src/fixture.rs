//! Projects as text inside the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::gate::Gate;
use crate::locate;

/// A directory with a Cargo workspace in it. It is its environment's, which removes it.
#[derive(Clone, Debug)]
pub struct Project {
    path: PathBuf,
}

impl Project {
    /// The project at a directory that exists.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes the files of `text` into `directory`. A line `//- /path` starts each; the
    /// indentation of that line is taken off the lines below it.
    ///
    /// # Panics
    /// When the text does not start with such a line, or a file can't be written.
    #[must_use]
    pub fn from_text(directory: &Path, text: &str) -> Self {
        let project = Self::at(directory);
        fs::create_dir_all(directory).expect("the environment can be written");
        for (path, content) in files(text) {
            project.write(path, &content);
        }
        project
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path below it.
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// Writes a file, with its parents.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("a joined path has a parent"))
            .and_then(|()| fs::write(&path, content))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes a file that can be started.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn write_program(&self, path: &str, content: &str) {
        self.write(path, content);
        fs::set_permissions(self.join(path), fs::Permissions::from_mode(0o755))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Makes a symbolic link, in place of one that is there.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.join(path);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.parent().expect("a joined path has a parent"))
            .and_then(|()| std::os::unix::fs::symlink(target, &path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Makes a FIFO at which whoever reads it waits.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn gate(&self, path: &str) -> Gate {
        Gate::new(self.join(path))
    }

    /// Moves a file or a directory.
    ///
    /// # Panics
    /// When it can't be moved.
    pub fn rename(&self, from: &str, to: &str) {
        let to = self.join(to);
        fs::create_dir_all(to.parent().expect("a joined path has a parent"))
            .and_then(|()| fs::rename(self.join(from), &to))
            .unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    }

    /// What a file holds.
    ///
    /// # Panics
    /// When it can't be read.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let path = self.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces text in a file where it occurs first.
    ///
    /// # Panics
    /// When it does not occur.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let content = self.read(path);
        assert!(content.contains(from), "{path} has no {from:?}");
        self.write(path, &content.replacen(from, to, 1));
    }

    /// Removes a file or a directory.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, path: &str) {
        let path = self.join(path);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// A copy at another path, with everything but cargo's own target directory.
    ///
    /// # Panics
    /// When it can't be written.
    #[must_use]
    pub fn copy_to(&self, directory: &Path) -> Self {
        copy_tree(&self.path, directory);
        Self::at(directory)
    }

    /// Where vx leaves a final output of a build for this machine.
    #[must_use]
    pub fn output(&self, profile_directory: &str, name: &str) -> PathBuf {
        self.join(".vx/build")
            .join(locate::host_triple())
            .join(profile_directory)
            .join(name)
    }
}

impl AsRef<Path> for Project {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// The files of a fixture: paths without the leading slash, and content.
fn files(text: &str) -> Vec<(&str, String)> {
    let mut files: Vec<(&str, String)> = Vec::new();
    let mut indent = "";
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(path) = bare.strip_prefix("//- /") {
            indent = &line[..line.len() - bare.len()];
            files.push((path.trim_end(), String::new()));
            continue;
        }
        let Some((_, content)) = files.last_mut() else {
            assert!(
                bare.is_empty(),
                "a fixture starts with a line `//- /path`, not {line:?}"
            );
            continue;
        };
        content.push_str(line.strip_prefix(indent).unwrap_or(bare));
        content.push('\n');
    }
    files
}

fn copy_tree(from: &Path, to: &Path) {
    let result = (|| {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
            } else if kind.is_file() {
                fs::copy(&source, &target)?;
            } else if kind.is_dir() && entry.file_name() != "target" {
                copy_tree(&source, &target);
            }
        }
        Ok::<_, std::io::Error>(())
    })();
    result.unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lose_their_indentation() {
        let text = "
            //- /a/b.txt
            one
              two

            //- /c
            three
        ";
        let expected = [("a/b.txt", "one\n  two\n\n"), ("c", "three\n\n")];
        let found = files(text);
        let found: Vec<_> = found
            .iter()
            .map(|(path, content)| (*path, content.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn copies_and_edits() {
        let directory = tempfile::tempdir().unwrap();
        let first = Project::from_text(&directory.path().join("one"), "//- /src/x\nhello you\n");
        let second = first.copy_to(&directory.path().join("two"));
        second.edit("src/x", "you", "there");
        assert_eq!(second.read("src/x"), "hello there\n");
        assert_eq!(first.read("src/x"), "hello you\n");
    }
}
