//! `realpath`, which is answered by the trace, gives what the C library's own gives.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::{Bench, probe, shell};
use vx_core::{CheckoutMode, Watch};

/// Paths that a `realpath` has to get right, whoever answers.
const PATHS: &[&str] = &[
    ".",
    "/",
    "//",
    "/usr/bin/../lib",
    "/bin/sh",
    "/lib",
    "a",
    "a/",
    "a/.",
    "a/..",
    "a/x",
    "d",
    "d/.",
    "d//x",
    "d/../d/./x",
    "link",
    "link/",
    "up/d",
    "loop",
    "none",
    "none/..",
    "d/none/x",
    "/proc/self/cwd",
    "/proc/self/cwd/d/x",
    "/dev/fd",
    "/vx",
    "/vx/the-checkout-at-its-fixed-place/../toolchain/lib",
    "/tmp",
    "/etc/passwd",
    "",
];

#[tokio::test(flavor = "multi_thread")]
async fn real_paths_are_what_the_c_library_says() {
    let bench = Bench::new().await;
    probe::files(&bench);
    for (target, link) in [("loop", "loop"), ("../ws", "up")] {
        std::os::unix::fs::symlink(target, bench.checkout.path().join(link)).unwrap();
    }
    bench.write("deep/d/x", "1");
    bench.write(
        "probe.c",
        "#define _GNU_SOURCE\n#include <errno.h>\n#include <limits.h>\n#include <stdio.h>\n\
         #include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
         int main(int count, char **paths) { for (int i = 1; i < count; i++) { errno = 0; \
         char room[PATH_MAX]; char *real = realpath(paths[i], room); \
         printf(\"%s: %s %d\\n\", paths[i], real ? real : \"-\", real ? 0 : errno); \
         char *own = realpath(paths[i], 0); if (!own != !real || (own && strcmp(own, real))) return 1; \
         free(own); } return canonicalize_file_name(\"/\") == 0; }",
    );
    let compiled = Command::new("cc")
        .current_dir(bench.checkout.path())
        .args(["-w", "-O2", "-o", "probe", "probe.c"])
        .status();
    assert!(compiled.unwrap().success());
    let mut said = Vec::new();
    for watch in [Watch::Nothing, Watch::Everything] {
        let mut action = shell("");
        action.argv = vec!["/vx/the-checkout-at-its-fixed-place/probe".to_owned()];
        action
            .argv
            .extend(PATHS.iter().map(|&path| path.to_owned()));
        action.cwd = vx_core::places::CHECKOUT.to_owned();
        action.checkout = bench.mount(CheckoutMode::ReadOnly);
        action.watch = watch;
        said.push(bench.run(action).await.succeeded().text("stdout"));
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&said[0]), lines(&said[1]));
}
