//! Outputs: what is taken, and what is refused.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Bench, Event, collect_files, collect_tree, shell};
use vx_core::{Exit, OutputForm, OutputStream, Tree};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_kept_fails_the_action_with_a_reason() {
    let bench = Bench::new().await;
    let cases = [
        ("ln -s ../../etc/passwd link", "leads out"),
        ("ln -s /etc/passwd link", "leads out"),
        ("mkfifo fifo", "neither a file nor a directory"),
        ("touch \"$(printf '\\377')\"", "UTF-8"),
    ];
    for (script, reason) in cases {
        let mut action = shell(&format!("cd /vx/out; {script}"));
        action.collect = vec![collect_tree("/vx/out", "out")];
        let outcome = bench.run(action).await;
        assert_eq!(outcome.exit, Exit::Code(1), "{script}");
        assert!(
            outcome.text("stderr").contains(reason),
            "{}",
            outcome.text("stderr")
        );
        assert_eq!(outcome.outputs.len(), 1, "{script}: only stderr is kept");
        let told = outcome.events.iter().any(|event| {
            matches!(event, Event::Wrote(OutputStream::Stderr, text) if text.contains(reason))
        });
        assert!(told, "{script}");
    }
    let mut action = shell("ln -s /etc/passwd /vx/out/link");
    action.collect = vec![collect_files("/vx/out")];
    let outcome = bench.run(action).await;
    assert_eq!(outcome.exit, Exit::Code(1));
    assert!(outcome.text("stderr").contains("symbolic link"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_taken_and_deeper_directories_are_not() {
    let bench = Bench::new().await;
    let mut action = shell(
        "cd /vx/out; echo a > a; echo b > b; chmod +x b; mkdir rmetaXYZ; echo c > rmetaXYZ/c; \
         head -c 1000000 /dev/zero > large; : > empty",
    );
    action.collect = vec![collect_files("/vx/out")];
    let outcome = bench.run(action).await.succeeded();
    let files: Vec<_> = outcome
        .outputs
        .iter()
        .map(|output| (output.name.as_str(), output.blob.size, output.form))
        .collect();
    let plain = OutputForm::File { executable: false };
    assert_eq!(
        files,
        [
            ("a", 2, plain),
            ("b", 2, OutputForm::File { executable: true }),
            ("empty", 0, plain),
            ("large", 1_000_000, plain),
        ]
    );
    assert_eq!(outcome.output("large").unwrap(), vec![0; 1_000_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tree_is_taken_whole() {
    let bench = Bench::new().await;
    let mut action = shell(
        "cd /vx/target/out; for i in $(seq 3000); do echo $i > f$i; done; mkdir d; \
         head -c 200000 /dev/zero > d/large",
    );
    action.collect = vec![collect_tree("/vx/target/out", "out")];
    let outcome = bench.run(action).await.succeeded();
    let tree = Tree::decode(&outcome.output("out").unwrap()).unwrap();
    assert_eq!(tree.entries().len(), 3001);
    let blobs = bench.store.blobs.lock().unwrap();
    assert!(tree.blobs().all(|blob| blobs.contains_key(&blob.digest)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_tree_is_an_output_too() {
    let bench = Bench::new().await;
    let mut action = shell("true");
    action.collect = vec![collect_tree("/vx/target/out", "out")];
    let outcome = bench.run(action).await.succeeded();
    assert!(
        Tree::decode(&outcome.output("out").unwrap())
            .unwrap()
            .entries()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_program_leaves_what_it_wrote_alone() {
    let bench = Bench::new().await;
    let mut action = shell("echo out; echo err >&2; echo kept > /vx/out/file; exit 7");
    action.collect = vec![collect_files("/vx/out")];
    let outcome = bench.run(action).await;
    assert_eq!(outcome.exit, Exit::Code(7));
    let names: Vec<_> = outcome
        .outputs
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["stderr", "stdout"]);
    let signalled = bench.run(shell("kill -9 $$")).await;
    assert_eq!(signalled.exit, Exit::Signal(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_errors_arrives_whole() {
    let bench = Bench::new().await;
    let outcome = bench.shell("seq 1 300000 >&2; echo done").await.succeeded();
    let expected: String = (1..=300_000).map(|line| format!("{line}\n")).collect();
    assert_eq!(outcome.text("stderr"), expected);
    let told: String = outcome
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Wrote(OutputStream::Stderr, text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, expected);
    assert_eq!(outcome.text("stdout"), "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_two_at_once_share_the_slots() {
    let bench = Bench::new().await;
    let runs = (0..12).map(|index| bench.run(shell(&format!("echo {index}"))));
    let outcomes = futures::future::join_all(runs).await;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.succeeded().text("stdout"), format!("{index}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_named_like_streams_are_not_what_was_said() {
    let bench = Bench::new().await;
    let mut action = shell("cd /vx/out; echo forged > stderr; echo forged > stdout; echo said >&2");
    action.collect = vec![collect_files("/vx/out")];
    let outcome = bench.run(action).await.succeeded();
    let names: Vec<&str> = outcome
        .outputs
        .iter()
        .map(|output| output.name.as_str())
        .collect();
    assert_eq!(names, ["stderr"]);
    assert_eq!(outcome.text("stderr"), "said\n");
}
