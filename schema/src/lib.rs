//! The Cap'n Proto schema of vx and its committed bindings.
