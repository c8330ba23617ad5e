//! What differs between two keys, found in reports as they are written.

use serde_json::{Value, json};

use super::super::difference::Difference;
use super::*;
use crate::commands::explain::tests::report;

fn action() -> Value {
    json!({
        "id": "a-1", "package": "a 1.0.0", "unit": "lib", "kind": "compile", "outcome": "built",
        "parts": {
            "static_digest": [1],
            "dependencies": [{"name": "/vx/target/debug/deps/libb-0123456789abcdef.rmeta",
                              "digest": [1]}],
            "reads": [[{"place": {"Checkout": "src/main.rs"}, "kind": "Content"}, {"Content": [1]}],
                      [{"place": {"Checkout": "src/main.rs"}, "kind": "Metadata"},
                       {"File": {"size": 1, "executable": false}}],
                      [{"place": {"Checkout": "data"}, "kind": "Listing"}, {"Listing": [1]}],
                      [{"place": {"Host": "/etc/x"}, "kind": "Link"}, {"Link": "y"}],
                      [{"place": {"Host": "/etc/z"}, "kind": "Content"}, "Absent"]],
            "env": [["LEVEL", [1]], ["OTHER", null]],
            "checkout": null,
        },
        "inputs": {
            "versions": [2, 2], "rustc": "rustc 1.0.0", "toolchain": "aa",
            "argv": ["rustc", "-C", "opt-level=0", "-C", "metadata=1"],
            "env": {"OUT_DIR": "/t/a-0123456789abcdef/out"}, "named_env": {"LEVEL": "1"},
            "packages": {"/vx/registry/c-1.0.0": "aa"},
            "dependencies": ["b-0123456789abcdef"],
        },
    })
}

fn whole(action: Value) -> Report {
    report(json!({
        "schema": 1, "run_id": "1", "success": true,
        "actions": [action, {"id": "b-0123456789abcdef", "package": "b 1.0.0", "unit": "lib",
                             "kind": "compile"}],
    }))
}

fn differences(change: impl FnOnce(&mut Value)) -> Vec<Difference> {
    let then = whole(action());
    let mut now = action();
    change(&mut now);
    let now = whole(now);
    between(
        Side::of(&then, &then.actions[0]).unwrap(),
        Side::of(&now, &now.actions[0]).unwrap(),
    )
}

fn words(change: impl FnOnce(&mut Value)) -> Vec<String> {
    differences(change).iter().map(Difference::words).collect()
}

#[test]
fn nothing_is_told_where_nothing_differs() {
    assert!(words(|_| {}).is_empty());
}

#[test]
fn paths_are_told_with_what_happened() {
    let read = |index: usize, found: Value| {
        words(move |action| action["parts"]["reads"][index][1] = found)
    };
    assert_eq!(read(0, json!({"Content": [2]})), ["src/main.rs changed"]);
    assert_eq!(read(0, json!("Absent")), ["src/main.rs went"]);
    assert_eq!(read(4, json!({"Content": [2]})), ["/etc/z appeared"]);
    assert_eq!(
        read(2, json!({"Listing": [2]})),
        ["the list of files in data changed"]
    );
    assert_eq!(
        read(3, json!({"Link": "w"})),
        ["the link /etc/x changed (to y -> to w)"]
    );
    let executable = json!({"File": {"size": 1, "executable": true}});
    assert_eq!(
        read(1, executable),
        ["the metadata of src/main.rs changed (1 bytes -> executable, 1 bytes)"]
    );
}

#[test]
fn content_says_it_for_the_size_too() {
    let told = words(|action| {
        action["parts"]["reads"][0][1] = json!({"Content": [2]});
        action["parts"]["reads"][1][1] = json!({"File": {"size": 2, "executable": false}});
    });
    assert_eq!(told, ["src/main.rs changed"]);
}

#[test]
fn what_is_read_besides_comes_last_and_is_no_cause() {
    let found = differences(|action| {
        let reads = action["parts"]["reads"].as_array_mut().unwrap();
        reads.insert(
            0,
            json!([{"place": {"Checkout": "new.rs"}, "kind": "Content"}, {"Content": [1]}]),
        );
        reads.insert(
            1,
            json!([{"place": {"Checkout": "new.rs"}, "kind": "Metadata"},
                   {"File": {"size": 1, "executable": false}}]),
        );
        reads[2][1] = json!({"Content": [2]});
    });
    let told: Vec<String> = found.iter().map(Difference::words).collect();
    assert_eq!(told, ["src/main.rs changed", "new.rs was not read before"]);
    assert_eq!(found.iter().filter(|one| one.is_cause()).count(), 1);
}

#[test]
fn variables_are_told_with_their_values() {
    let set = |digest: Value, value: Value| {
        words(move |action| {
            action["parts"]["env"][0][1] = digest;
            action["inputs"]["named_env"] = value;
        })
    };
    assert_eq!(
        set(json!([2]), json!({"LEVEL": "2"})),
        ["the variable LEVEL changed: \"1\" -> \"2\""]
    );
    assert_eq!(
        set(json!([2]), json!({"LEVEL": {"digest": "abc"}})),
        ["the variable LEVEL changed: \"1\" -> hidden value abc"]
    );
    assert_eq!(
        set(Value::Null, json!({})),
        ["the variable LEVEL was unset, and was \"1\""]
    );
}

#[test]
fn the_static_part_is_taken_apart() {
    let told = |pointer: &str, value: Value| {
        words(move |action| {
            action["parts"]["static_digest"] = json!([2]);
            *action["inputs"].pointer_mut(pointer).unwrap() = value;
        })
    };
    assert_eq!(
        told("/argv/2", json!("opt-level=3")),
        ["the argument `-C opt-level=0` became `-C opt-level=3`"]
    );
    assert_eq!(
        told("/rustc", json!("rustc 2.0.0")),
        ["the toolchain changed: rustc 1.0.0 -> rustc 2.0.0"]
    );
    assert_eq!(
        told("/toolchain", json!("bb")),
        ["the toolchain's files changed (rustc 1.0.0)"]
    );
    assert_eq!(
        told("/packages", json!({"/vx/registry/c-1.0.0": "bb"})),
        ["the sources of c-1.0.0 changed"]
    );
    assert_eq!(
        told(
            "/env",
            json!({"OUT_DIR": "/t/a-fedcba9876543210/out", "CARGO_X": "1"})
        ),
        ["cargo's variable CARGO_X was set to \"1\""]
    );
    assert_eq!(
        told("/argv/4", json!("metadata=2")),
        ["the argument `-C metadata=1` became `-C metadata=2`"]
    );
    let declared = words(|action| {
        action["parts"]["static_digest"] = json!([2]);
        action["inputs"]["declared"] = json!({"env": ["A"], "network": true});
    });
    assert_eq!(
        declared,
        [
            "the variable A was declared for it",
            "the network was declared for it"
        ]
    );
}

#[test]
fn a_report_that_says_less_is_no_guess() {
    let told = words(|action| {
        action["parts"]["static_digest"] = json!([2]);
        action["inputs"] = Value::Null;
    });
    assert!(told[0].starts_with("its command line"), "{told:?}");
}

#[test]
fn dependencies_are_named_by_package() {
    let told = words(|action| action["parts"]["dependencies"][0]["digest"] = json!([2]));
    assert_eq!(told, ["the output of b 1.0.0 (lib) changed (libb-*.rmeta)"]);
    // Another build of the same crate with the same bytes is no difference.
    let name = json!("/vx/target/debug/deps/libb-fedcba9876543210.rmeta");
    assert!(words(|action| action["parts"]["dependencies"][0]["name"] = name).is_empty());
    let gone = words(|action| {
        action["parts"]["dependencies"] = json!([]);
        action["inputs"]["dependencies"] = json!([]);
    });
    assert_eq!(gone, ["it does not depend on b 1.0.0 (lib) any more"]);
}

#[test]
fn isolation_that_came_or_went_is_told() {
    let told = words(|now| {
        now["parts"]["static_digest"] = json!([2]);
        now["inputs"]["base"] = json!("/v/rhea/bare/0");
    });
    assert_eq!(told, ["it is not isolated any more"]);
}

#[test]
fn places_are_told_by_where_they_are_and_by_what_is_in_them() {
    let differing = |then: Value, now: Value| {
        let side = |places: Value| {
            let mut action = action();
            action["parts"]["places"] = places;
            whole(action)
        };
        let (then, now) = (side(then), side(now));
        let found = between(
            Side::of(&then, &then.actions[0]).unwrap(),
            Side::of(&now, &now.actions[0]).unwrap(),
        );
        found.iter().map(Difference::words).collect::<Vec<_>>()
    };
    let of = |digest: u8| json!([["/out", [digest]], ["/package", null]]);
    assert_eq!(differing(of(1), of(1)), [""; 0]);
    assert_eq!(
        differing(of(1), of(2)),
        ["what is in /out changed, and its output has that path in it"]
    );
    assert_eq!(
        differing(json!([]), of(1)),
        ["its output has /out, /package in it now"]
    );
    // As older reports have them.
    assert_eq!(differing(json!(["/out", "/package"]), of(1)), [""; 0]);
}
