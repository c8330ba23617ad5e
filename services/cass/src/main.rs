//! The store's program.

fn main() -> std::process::ExitCode {
    vx_cass::serve::main()
}
