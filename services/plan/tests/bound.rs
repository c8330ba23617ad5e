//! Which places a plan serves alone, because something that it was made from names them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;

use support::{planned, request, write_project};
use vx_plan::{Inputs, Selection};

const PROJECT: &str = "\
//- Cargo.toml
[package]
name = 'app'
version = '0.1.0'
edition = '2024'
//- src/main.rs
fn main() {}
";

/// What a plan depends on that is made with this text in this file.
fn inputs(root: &Path, home: &Path, file: &Path, text: &str) -> Inputs {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
    let mut request = request(root, Selection::default());
    let home = home.to_str().unwrap().to_owned();
    request.env.insert("CARGO_HOME".to_owned(), home);
    let planned = planned(request.clone());
    let looks = planned.workspace.looks();
    let inputs = vx_plan::inputs(&request, &planned.workspace, &planned.plan, &looks).unwrap();
    std::fs::remove_file(file).unwrap();
    inputs
}

#[test]
fn a_plan_serves_alone_the_places_that_it_was_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let all = std::fs::canonicalize(directory.path()).unwrap();
    std::fs::create_dir(all.join("app")).unwrap();
    let root = write_project(&all.join("app"), PROJECT);
    let sysroot = planned(request(&root, Selection::default()))
        .workspace
        .toolchain
        .sysroot;
    // A home beside the checkouts, as it mostly is, and another.
    for home in [all.join(".cargo"), all.join("elsewhere/home")] {
        for file in [
            root.join(".cargo/config.toml"),
            root.join(".cargo/config"),
            home.join("config.toml"),
            home.join("config"),
        ] {
            let told = |path: &Path| {
                let text = format!("[env]\nTOLD = \"{}\"\n", path.display());
                let inputs = inputs(&root, &home, &file, &text);
                (inputs.bound, inputs.bound_to_toolchain)
            };
            let file = file.display();
            assert_eq!(told(Path::new("/opt/x")), (false, false), "{file}");
            assert_eq!(told(&root.join("data")), (true, false), "{file}");
            let spelled = all.join("other/..//./app//data");
            assert_eq!(told(&spelled), (true, false), "{file}");
            assert_eq!(told(&sysroot.join("share")), (false, true), "{file}");
        }
    }
}
