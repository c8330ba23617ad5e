//! Builds the library that is loaded into what is traced. Without it a trace is slower and the
//! same, so a toolchain that can't make it is told of and stops nothing.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "preload/realpath.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("realpath.so");
    if let Err(why) = build(&out) {
        println!("cargo::warning=traces will be slower: {why}");
        fs::write(&out, "").expect("cargo's directory can be written");
    }
}

fn build(out: &PathBuf) -> Result<(), String> {
    let mut rustc = Command::new(env::var_os("RUSTC").ok_or("cargo names no rustc")?);
    rustc
        .args(["--crate-name", "realpath", "--crate-type", "cdylib"])
        .args([
            "--edition",
            "2024",
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
        ])
        // Only the C library, which every program that this is loaded into has.
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-lc"])
        .arg("--target")
        .arg(env::var_os("TARGET").ok_or("cargo names no target")?)
        .arg("-o")
        .arg(out)
        .arg(SOURCE);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = std::ffi::OsString::from("-Clinker=");
        flag.push(linker);
        rustc.arg(flag);
    }
    let output = rustc.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr)
        .lines()
        .next()
        .unwrap_or("rustc failed")
        .to_owned())
}
