//! The orchestrator's program.

fn main() -> std::process::ExitCode {
    vx_aether::main()
}
