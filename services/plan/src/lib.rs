//! What cargo would build, as an action graph.
