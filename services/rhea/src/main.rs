//! The executor's program.

fn main() -> std::process::ExitCode {
    // First of all: what guards an action must have one thread.
    vx_rhea::guard::enter_if_asked();
    vx_rhea::serve::main()
}
