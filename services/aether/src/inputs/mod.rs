//! What an action is given, and what of that is in its key: outputs of its dependencies, real places, and
//! what of the host its root shows.
//!
//! In: the build and results of dependencies. Out: what an action's key and its root are made of. Runs
//! nothing and looks nothing up.

pub(crate) mod cause;
pub(crate) mod dependency;
pub(crate) mod dependency_parts;
pub(crate) mod input_trees;
pub(crate) mod payload;
pub(crate) mod real_places;
pub(crate) mod shown;
