//! Every line of Cap'n Proto plumbing in vx.

pub mod daemon;
