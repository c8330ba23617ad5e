//! What all builds of this process share.

use std::sync::Arc;

use crate::build::context::Known;
use crate::deliver::deliveries::Deliveries;
use crate::execute::in_flight::InFlight;
use crate::execute::slots::Slots;

/// What all builds of this process share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// What they know of the host and the store.
    pub(crate) known: Known,
    /// Executions under way.
    pub(crate) in_flight: Arc<InFlight>,
    /// How many run at once.
    pub(crate) slots: Arc<Slots>,
    /// Which build delivered what.
    pub(crate) deliveries: Arc<Deliveries>,
}
