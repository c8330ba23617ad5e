//! Build scripts: `OUT_DIR`, and writes into the checkout that nobody else sees.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use support::{Bench, collect_tree, shell};
use vx_core::tree::TreeNode;
use vx_core::{CheckoutMode, RelPath, Tree, TreeInput};

const OUT: &str = "/vx/target/debug/build/a-0123/out";

#[tokio::test(flavor = "multi_thread")]
async fn a_build_script_writes_its_directory_and_a_layer_of_its_own() {
    let bench = Bench::new().await;
    bench.write("src/lib.rs", "old");
    bench.write("target/keep", "kept");
    let script = format!(
        "cd {OUT}; echo generated > bindings.rs; mkdir -p include/empty; \
         ln -s bindings.rs alias.rs; ln -s {OUT}/include absolute; \
         echo '#!/bin/sh' > tool; chmod +x tool; \
         cd /vx/the-checkout-at-its-fixed-place; echo new > src/lib.rs; echo made > src/made.rs; rm -r target/* || true; \
         mv src source; cat source/lib.rs source/made.rs; echo cargo::rerun-if-changed=src"
    );
    let mut action = shell(&script);
    action.checkout = bench.mount(CheckoutMode::PrivateLayer);
    action.checkout.as_mut().unwrap().hidden = vec![RelPath::new("target").unwrap()];
    action.collect = vec![collect_tree(OUT, "out")];
    let outcome = bench.run(action).await.succeeded();
    assert_eq!(
        outcome.text("stdout"),
        "new\nmade\ncargo::rerun-if-changed=src\n"
    );
    let read = |path: &str| fs::read_to_string(bench.checkout.path().join(path)).unwrap();
    assert_eq!(read("src/lib.rs"), "old");
    assert_eq!(read("target/keep"), "kept");
    assert_eq!(fs::read_dir(bench.checkout.path()).unwrap().count(), 2);
    assert_eq!(
        fs::read_dir(bench.checkout.path().join("src"))
            .unwrap()
            .count(),
        1
    );

    let tree = Tree::decode(&outcome.output("out").unwrap()).unwrap();
    let node = |path: &str| {
        let path = RelPath::new(path).unwrap();
        let entry = tree.entries().iter().find(|entry| entry.path == path);
        entry.unwrap_or_else(|| panic!("{path}")).node.clone()
    };
    assert!(matches!(
        node("tool"),
        TreeNode::File {
            executable: true,
            ..
        }
    ));
    assert!(matches!(
        node("bindings.rs"),
        TreeNode::File {
            executable: false,
            ..
        }
    ));
    assert_eq!(node("include/empty"), TreeNode::EmptyDirectory);
    assert_eq!(
        node("alias.rs"),
        TreeNode::Link {
            target: "bindings.rs".to_owned()
        }
    );
    assert_eq!(
        node("absolute"),
        TreeNode::Link {
            target: "./include".to_owned()
        },
        "a link by the directory's own path survives"
    );

    // And the next action finds it all where it was made.
    let mut next = shell(&format!(
        "cd {OUT}; cat alias.rs; ls absolute; test -x tool; no touch new; echo $0 > /dev/null"
    ));
    next.trees = vec![TreeInput {
        watched: false,
        at: OUT.to_owned(),
        tree: tree.digest(),
    }];
    assert_eq!(
        bench.run(next).await.succeeded().text("stdout"),
        "generated\nempty\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn git_knows_the_revision_inside_a_layer() {
    let bench = Bench::new().await;
    bench.write("crates/a/build.rs", "");
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(bench.checkout.path())
            .args(["-c", "user.name=vx", "-c", "user.email=vx@localhost"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let revision = git(&["rev-parse", "HEAD"]);
    for mode in [CheckoutMode::PrivateLayer, CheckoutMode::ReadOnly] {
        let mut action = shell("git rev-parse HEAD");
        action.cwd = "/vx/the-checkout-at-its-fixed-place/crates/a".to_owned();
        action.checkout = bench.mount(mode);
        assert_eq!(bench.run(action).await.succeeded().text("stdout"), revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_no_options_to_the_layer() {
    let mut bench = Bench::new().await;
    let outer = tempfile::TempDir::new().unwrap();
    bench.checkout = tempfile::Builder::new()
        .prefix("a:b,upperdir=c d\\")
        .tempdir_in(outer.path())
        .unwrap();
    bench.write("file", "seen");
    let mut action = shell(
        "cat /vx/the-checkout-at-its-fixed-place/file; echo new > /vx/the-checkout-at-its-fixed-place/file",
    );
    action.checkout = bench.mount(CheckoutMode::PrivateLayer);
    assert_eq!(bench.run(action).await.succeeded().text("stdout"), "seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_can_be_where_it_really_is() {
    let bench = Bench::new().await;
    bench.write("src/lib.rs", "seen");
    let host = bench.checkout.path().to_str().unwrap().to_owned();
    for mode in [CheckoutMode::ReadOnly, CheckoutMode::PrivateLayer] {
        let mut action =
            shell("pwd; cat src/lib.rs; test ! -e /vx/the-checkout-at-its-fixed-place; ls -A ..");
        action.cwd.clone_from(&host);
        let mut checkout = bench.mount(mode).unwrap();
        checkout.at.clone_from(&host);
        action.checkout = Some(checkout);
        let name = bench.checkout.path().file_name().unwrap().to_str().unwrap();
        let expected = format!("{host}\nseen{name}\n");
        assert_eq!(bench.run(action).await.succeeded().text("stdout"), expected);
    }
}
