//! A store whose files were changed, torn or removed behind its back: it costs time, and no
//! program is ever wrong.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use vx_harness::{Env, Project};

const PROJECT: &str = r#"
    //- /Cargo.toml
    [package]
    name = "top"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    leaf = { path = "leaf" }
    //- /src/main.rs
    mod number;
    fn main() { println!("leaf {} top {}", leaf::two(), number::NUMBER); }
    //- /src/number.rs
    pub const NUMBER: u32 = 0;
    //- /leaf/Cargo.toml
    [package]
    name = "leaf"
    version = "0.1.0"
    edition = "2024"
    //- /leaf/build.rs
    fn main() {
        println!("cargo::rerun-if-changed=build.rs");
        let out = std::env::var("OUT_DIR").unwrap();
        std::fs::write(format!("{out}/two.rs"), "2").unwrap();
    }
    //- /leaf/src/lib.rs
    pub fn two() -> u32 { include!(concat!(env!("OUT_DIR"), "/two.rs")) }
"#;

/// The store's blobs: files whose name is the digest of their content as it was.
fn blobs(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(home, &mut found);
    found.sort();
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory)
        .expect("the home can be read")
        .filter_map(Result::ok)
    {
        let path = entry.path();
        let kind = entry.file_type().expect("the home can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        // Blobs may lie in directories named by the first digits of their digests.
        let digits = name.split('.').next().unwrap_or_default();
        if kind.is_dir() {
            collect(&path, found);
        } else if kind.is_file()
            && digits.len() >= 60
            && digits.bytes().all(|b| b.is_ascii_hexdigit())
        {
            found.push(path);
        }
    }
}

/// Changes one byte in the middle, by whatever means.
fn flip(blob: &Path) {
    let metadata = fs::metadata(blob).expect("it was found");
    fs::set_permissions(blob, fs::Permissions::from_mode(0o600)).expect("the store is ours");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(blob)
        .expect("the store is ours");
    let at = metadata.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is not empty");
    file.write_all_at(&[byte[0] ^ 1], at)
        .expect("the store is ours");
    fs::set_permissions(blob, metadata.permissions()).expect("the store is ours");
}

/// Builds from final outputs that are gone, and after an edit that needs the intermediates; the
/// program has to be right both times.
fn assert_right(env: &Env, project: &Project, number: u32, what: &str) {
    if project.join(".vx").exists() {
        project.remove(".vx");
    }
    for number in [number, number + 1] {
        project.write(
            "src/number.rs",
            &format!("pub const NUMBER: u32 = {number};\n"),
        );
        let _ = env.build(project);
        let program = project.output("debug", "top");
        let said = vx_harness::program_output(&program, project.path(), &[]);
        assert!(
            said.contains(&format!("leaf 2 top {number}\n")),
            "{what}: {said}"
        );
    }
}

/// Blobs that the running store has set aside.
fn set_aside(env: &Env, project: &Project) -> u64 {
    let run = env.vx(project, &["status", "--json"]).success();
    let status: serde_json::Value = serde_json::from_str(&run.stdout).expect("it prints JSON");
    let count = &status["orchestrator"]["store"]["set_aside"];
    count
        .as_u64()
        .unwrap_or_else(|| panic!("no figures of the store: {run}"))
}

#[test]
fn a_flipped_byte_in_any_blob_is_found() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    let all = blobs(&env.vx_home());
    assert!(all.len() > 3, "the store's blobs were not found: {all:?}");
    let mut found = 0;
    // Numbers no build has had, so that each round has something to do.
    for (index, blob) in all.iter().enumerate() {
        if !blob.exists() || fs::metadata(blob).is_ok_and(|metadata| metadata.len() == 0) {
            continue;
        }
        // Alternately behind a running store's back and a stopped one's.
        if index % 2 == 0 {
            found += set_aside(&env, &project);
            let _ = env.vx(&project, &["stop"]).success();
        }
        flip(blob);
        let round = u32::try_from(index).expect("few blobs") * 2 + 1;
        // First what is stored already is asked for again.
        assert_right(&env, &project, 0, &format!("{} flipped", blob.display()));
        assert_right(
            &env,
            &project,
            round,
            &format!("{} flipped", blob.display()),
        );
    }
    found += set_aside(&env, &project);
    assert!(
        found > 2,
        "{found} blobs were set aside, of {} that were flipped",
        all.len()
    );
}

#[test]
fn lost_blobs_are_produced_again() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    let _ = env.vx(&project, &["stop"]).success();
    for blob in blobs(&env.vx_home()) {
        fs::remove_file(&blob).expect("the store is ours");
    }
    assert_right(&env, &project, 0, "everything lost");
    env.build(&project).assert_nothing();
}

/// What a compiler said is shown by each build, so it is made again as any output.
#[test]
fn lost_words_are_said_again() {
    const WORDS: &str = "unused variable: `unused`";
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write(
        "src/main.rs",
        "mod number;\nfn main() { let unused = 1; println!(\"leaf {} top {}\", leaf::two(), number::NUMBER); }\n",
    );
    let warned = |build: &vx_harness::Build| build.run.stderr.contains(WORDS);
    assert!(warned(&env.build(&project)));
    let _ = env.vx(&project, &["stop"]).success();
    let mut lost = 0;
    for blob in blobs(&env.vx_home()) {
        let text = fs::read(&blob).expect("the store is ours");
        if text
            .windows(WORDS.len())
            .any(|words| words == WORDS.as_bytes())
        {
            fs::remove_file(&blob).expect("the store is ours");
            lost += 1;
        }
    }
    assert_eq!(lost, 1, "blobs of words");
    let again = env.build(&project);
    assert!(warned(&again), "{}", again.run);
    again.assert_compiled(["top"]);
    let found = env.build(&project);
    assert!(warned(&found), "{}", found.run);
    found.assert_nothing();
}

#[test]
fn a_store_kept_very_small_still_builds() {
    let env = Env::new().with_setting("VX_CASS_LIMIT", "12M");
    let project = env.project(PROJECT);
    for number in 0..4 {
        assert_right(&env, &project, number * 2, "a small store");
    }
}
