//! Isolated environments, projects as text, daemons and assertions for the integration tests of vx.
