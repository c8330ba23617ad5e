//! Install, demo, test, codegen, ci and bench of vx.
fn main() {}
