//! The command line of vx.
fn main() {}
