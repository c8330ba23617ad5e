//! Ctrl-C ends what it was meant for, and nothing else.

use std::time::Duration;

use vx_harness::Env;

/// A package whose one crate has the given name.
fn package(name: &str) -> String {
    format!(
        "
        //- /Cargo.toml
        [package]
        name = \"{name}\"
        version = \"0.1.0\"
        edition = \"2024\"
        //- /src/main.rs
        fn main() {{ println!(\"{name}\"); }}
        "
    )
}

#[test]
fn an_interrupted_build_takes_its_compilers_along_and_no_others() {
    let env = Env::new();
    let (mine, theirs) = (
        env.project(&package("mine")),
        env.project(&package("theirs")),
    );
    let my_hold = env.toolchain().hold("mine");
    let their_hold = env.toolchain().hold("theirs");
    let my_build = env.start_vx(&mine, &["build"]);
    let their_build = env.start_vx(&theirs, &["build"]);
    env.toolchain().wait_for("mine", 1);
    env.toolchain().wait_for("theirs", 1);
    let held = |name: &str| {
        let compilers = env.processes_named("rustc").into_iter();
        let word = format!("--crate-name {name} ");
        compilers
            .filter(|process| process.command.contains(&word))
            .collect::<Vec<_>>()
    };
    let mine_held = held("mine");
    assert!(!mine_held.is_empty(), "{:#?}", env.processes());

    my_build.interrupt();
    assert!(
        my_build.ended_within(Duration::from_secs(1)),
        "vx still runs a second after Ctrl-C"
    );
    let run = my_build.wait();
    assert_eq!(run.status.code(), Some(130), "{run}");
    for compiler in mine_held {
        assert!(
            compiler.wait_gone(Duration::from_secs(1)),
            "{compiler:?} still runs"
        );
    }
    assert!(
        !held("theirs").is_empty(),
        "the other build's compiler is gone"
    );
    drop(my_hold);
    drop(their_hold);
    let run = their_build.wait().success();
    assert_eq!(run.report().totals.built, 1, "{run}");

    // What was cut short left nothing that could be taken for a result.
    env.build(&mine).assert_compiled(["mine"]);
}

#[test]
fn an_action_somebody_else_waits_for_goes_on() {
    let env = Env::new();
    let first = env.project(&package("shared"));
    let second = env.copy(&first);
    let hold = env.toolchain().hold("shared");
    let one = env.start_vx(&first, &["build"]);
    env.toolchain().wait_for("shared", 1);
    let two = env.start_vx(&second, &["build"]);
    // Whether the second has asked already or not, it has to succeed.
    one.interrupt();
    let one = one.wait();
    assert!(!one.status.success(), "{one}");
    hold.release();
    let _ = two.wait().success();
    env.build(&first).assert_nothing();
}
