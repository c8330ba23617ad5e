//! What runs, what does not, and in which order.

use std::sync::Arc;

use tokio::sync::Notify;
use vx_core::orchestrator::ActionOutcome;

use crate::tests::plans::{Crate, library, program};
use crate::tests::stage::{Direction, Ended, Stage};

fn chain() -> [Crate; 3] {
    [
        library("base", &[]),
        library("middle", &["base"]),
        program("tool", &["middle"]),
    ]
}

fn sorted(mut runs: Vec<String>) -> Vec<String> {
    runs.sort();
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_is_not_built_again() {
    let crates = chain();
    let stage = Stage::new(&crates);
    let first = stage.build("1", &crates, &[], false).await;
    assert_eq!((first.totals.built, first.totals.hit), (3, 0));
    assert_eq!(sorted(stage.take_runs()), ["base", "middle", "tool"]);
    let second = stage.build("2", &crates, &[], false).await;
    assert_eq!((second.totals.built, second.totals.hit), (0, 3));
    assert!(stage.take_runs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_leaves_the_interface_stops_at_who_reads_no_more() {
    let crates = chain();
    let stage = Stage::new(&crates);
    stage.build("1", &crates, &[], false).await;
    stage.take_runs();
    // The second line is no part of the metadata.
    stage.edit("base/src/lib.rs", "base\nbody");
    stage.build("2", &crates, &[], false).await;
    assert_eq!(sorted(stage.take_runs()), ["base", "tool"]);
    stage.edit("base/src/lib.rs", "base");
    stage.build("3", &crates, &[], false).await;
    assert!(stage.take_runs().is_empty(), "an edit undone is a hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_stops_what_needs_it_and_is_not_kept() {
    let crates = [
        library("bad", &[]),
        library("good", &[]),
        library("after", &["bad"]),
        program("tool", &["after", "good"]),
    ];
    let stage = Stage::new(&crates);
    let fails = Direction {
        fails: true,
        ..Direction::default()
    };
    stage.direct("bad", fails);
    let ended = stage.build("1", &crates, &[], true).await;
    use ActionOutcome::{Built, Failed, Skipped};
    assert_eq!(
        ended.outcomes,
        [Some(Failed), Some(Built), Some(Skipped), Some(Skipped)]
    );
    stage.take_runs();
    stage.direct("bad", Direction::default());
    stage.build("2", &crates, &[], false).await;
    assert_eq!(sorted(stage.take_runs()), ["after", "bad", "tool"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependent_starts_on_metadata_and_is_dropped_when_its_maker_fails_later() {
    let crates = chain();
    let stage = Stage::new(&crates);
    let held = Arc::new(Notify::new());
    let holds = Direction {
        holds: Some(Arc::clone(&held)),
        ..Direction::default()
    };
    stage.direct("base", holds);
    let building = {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move { stage.build("1", &chain(), &[], false).await })
    };
    while stage.runs.lock().unwrap().len() < 2 {
        stage.started.notified().await;
    }
    assert_eq!(
        *stage.runs.lock().unwrap(),
        ["base", "middle"],
        "the program waits for objects, the library does not"
    );
    held.notify_one();
    let ended = building.await.unwrap();
    assert!(ended.fault.is_none());
    assert_eq!(ended.totals.built, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_inputs_are_produced_again() {
    let crates = chain();
    let stage = Stage::new(&crates);
    stage.build("1", &crates, &[], false).await;
    stage.take_runs();
    let rmeta = vx_core::Digest::of(b"base base");
    stage.store.lose(rmeta);
    stage.edit("middle/src/lib.rs", "middle changed");
    let ended = stage.build("2", &crates, &[], false).await;
    assert!(ended.fault.is_none());
    assert_eq!(sorted(stage.take_runs()), ["base", "middle", "tool"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_named_is_given_and_keyed() {
    let crates = [program("tool", &[])];
    let stage = Stage::new(&crates);
    let names = Direction {
        names: Some("COLOUR"),
        ..Direction::default()
    };
    stage.direct("tool", names);
    stage.build("1", &crates, &[("COLOUR", "red")], false).await;
    assert_eq!(
        stage.take_runs(),
        ["tool unset", "tool red"],
        "not given at first, then at once"
    );
    stage
        .build("2", &crates, &[("COLOUR", "blue")], false)
        .await;
    assert_eq!(stage.take_runs(), ["tool blue"], "names once learned stay");
    stage.build("3", &crates, &[("COLOUR", "red")], false).await;
    stage
        .build("4", &crates, &[("OTHER", "x"), ("COLOUR", "blue")], false)
        .await;
    assert!(stage.take_runs().is_empty());
    stage.build("5", &crates, &[], false).await;
    assert_eq!(stage.take_runs(), ["tool unset"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_on_metadata_that_does_not_stand_is_none() {
    let crates = chain();
    let stage = Stage::new(&crates);
    let held = Arc::new(Notify::new());
    let names = Direction {
        holds: Some(Arc::clone(&held)),
        names: Some("COLOUR"),
        ..Direction::default()
    };
    stage.direct("base", names);
    let refuses = Direction {
        refuses: Some(vx_core::Digest::of(b"base base unset")),
        ..Direction::default()
    };
    stage.direct("middle", refuses);
    let building = {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move {
            stage
                .build("1", &chain(), &[("COLOUR", "red")], false)
                .await
        })
    };
    // The first run of `base` tells of its metadata, and `middle` fails with it.
    while stage.runs.lock().unwrap().len() < 2 {
        stage.started.notified().await;
    }
    held.notify_one();
    while !stage.runs.lock().unwrap().contains(&"base red".to_owned()) {
        stage.started.notified().await;
    }
    held.notify_one();
    let ended = building.await.unwrap();
    assert!(ended.fault.is_none());
    assert_eq!(ended.totals.built, 3, "{:?}", stage.take_runs());
}

/// Another build's metadata may be of other files and variables than this one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_on_another_builds_metadata_is_none() {
    let base = || vec![library("base", &[])];
    let both = || vec![library("base", &[]), library("other", &["base"])];
    let stage = Stage::new(&both());
    let held = Arc::new(Notify::new());
    let names = Direction {
        holds: Some(Arc::clone(&held)),
        names: Some("COLOUR"),
        ..Direction::default()
    };
    stage.direct("base", names);
    let refuses = Direction {
        refuses: Some(vx_core::Digest::of(b"base base red")),
        ..Direction::default()
    };
    stage.direct("other", refuses);
    let building = |run: &'static str, crates: Vec<Crate>, colour: &'static str| {
        let stage = Arc::clone(&stage);
        let env = [("COLOUR", colour)];
        tokio::spawn(async move { stage.build(run, &crates, &env, false).await })
    };
    let ran = async |what: &str| {
        while !stage.runs.lock().unwrap().iter().any(|run| run == what) {
            stage.started.notified().await;
        }
    };
    let first = building("1", base(), "red");
    ran("base unset").await;
    held.notify_one();
    ran("base red").await;
    // It takes part in that, and starts `other` on it.
    let second = building("2", both(), "blue");
    ran("other").await;
    // Of as many runs as there can be.
    let letting_go = tokio::spawn(async move {
        loop {
            held.notify_waiters();
            tokio::task::yield_now().await;
        }
    });
    assert!(first.await.unwrap().fault.is_none());
    let second = second.await.unwrap();
    letting_go.abort();
    assert!(second.fault.is_none());
    assert_eq!(second.totals.built, 2, "{:?}", stage.take_runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_read_is_read_again() {
    let crates = [program("tool", &[])];
    let stage = Stage::new(&crates);
    let touches = Direction {
        touches: Some("tool/src/lib.rs"),
        ..Direction::default()
    };
    stage.direct("tool", touches);
    let ended = stage.build("1", &crates, &[], false).await;
    assert_eq!(stage.take_runs(), ["tool", "tool"]);
    assert_eq!(ended.totals.built, 1);
    assert_eq!(ended.again.len(), 1, "{:?}", ended.again);
    stage.build("2", &crates, &[], false).await;
    assert!(
        stage.take_runs().is_empty(),
        "what was published is what is there"
    );
}

/// Two builds at once, the second of which can't get past what the first one runs, whenever it comes
/// to it: `base`, which is held until both have begun.
async fn two_at_once(stage: &Arc<Stage>, base: Direction) -> (Ended, Ended) {
    let held = Arc::new(Notify::new());
    let holds = Direction {
        holds: Some(Arc::clone(&held)),
        ..base
    };
    stage.direct("base", holds);
    let build = |run: &'static str| {
        let stage = Arc::clone(stage);
        tokio::spawn(async move { stage.build(run, &chain(), &[], false).await })
    };
    let one = build("1");
    stage.started.notified().await;
    let two = build("2");
    held.notify_one();
    (one.await.unwrap(), two.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_at_once_run_each_action_once() {
    let stage = Stage::new(&chain());
    let (one, two) = two_at_once(&stage, Direction::default()).await;
    assert!(one.fault.is_none() && two.fault.is_none());
    assert_eq!(sorted(stage.take_runs()), ["base", "middle", "tool"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_another_build_is_run_for_this_one() {
    let stage = Stage::new(&chain());
    let fails = Direction {
        fails_once: true,
        ..Direction::default()
    };
    let (one, two) = two_at_once(&stage, fails).await;
    assert_eq!(one.outcomes[0], Some(ActionOutcome::Failed));
    assert_eq!(two.outcomes[2], Some(ActionOutcome::Built));
}
