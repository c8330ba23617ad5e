//! Repositories for tests.

use std::path::Path;

use crate::env::Env;

/// Who commits, when, and nothing of the tester's settings: commits are the same every time.
const SETTINGS: [&str; 8] = [
    "-c",
    "user.name=Test",
    "-c",
    "user.email=test@example.org",
    "-c",
    "init.defaultBranch=main",
    "-c",
    "commit.gpgSign=false",
];

impl Env {
    /// Runs git in a directory and gives what it wrote, without the last line's end.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn git(&self, directory: impl AsRef<Path>, arguments: &[&str]) -> String {
        let mut command = self.command("git", directory);
        command.args(SETTINGS).args(arguments);
        let run = self.run(command).success();
        run.stdout.trim_end().to_owned()
    }

    /// Makes a directory a repository and commits everything in it.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn git_init(&self, directory: impl AsRef<Path>) {
        let directory = directory.as_ref();
        let _ = self.git(directory, &["init", "--quiet"]);
        let _ = self.git_commit(directory, "first");
    }

    /// Commits everything in a repository and gives the revision.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn git_commit(&self, directory: impl AsRef<Path>, message: &str) -> String {
        let directory = directory.as_ref();
        let _ = self.git(directory, &["add", "--all"]);
        let arguments = ["commit", "--quiet", "--allow-empty", "--message", message];
        let _ = self.git(directory, &arguments);
        self.git(directory, &["rev-parse", "HEAD"])
    }
}
