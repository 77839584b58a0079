//! Skeleton
/// Planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A player who goes back to its queue gets a new ticket.
    PlaceLostOnTheWayBack,
    /// A port is free again while its game holds it.
    PortReturnedWhileLeased,
    /// A `ready` that comes too late is believed.
    StaleReadyAccepted,
}
