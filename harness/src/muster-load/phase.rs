//! The phases of a player.

/// The phases of a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected: idle, or the connection was lost.
    Idle,
    /// Connecting, until Muster's greeting.
    Connecting,
    /// Greeted, and not in a queue.
    Greeted,
    /// Received QUEUED or REQUEUED.
    Queued,
    /// The match is formed, and the player received WAITING.
    Waiting,
    /// Received ASSIGN, and sends hellos.
    Entering,
    /// Playing.
    Playing,
    /// Sends the goodbye to the game.
    Leaving,
}

pub(crate) const PHASES: usize = 8;

impl Phase {
    pub(crate) const ALL: [Self; PHASES] = [
        Self::Idle,
        Self::Connecting,
        Self::Greeted,
        Self::Queued,
        Self::Waiting,
        Self::Entering,
        Self::Playing,
        Self::Leaving,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Greeted => "greeted",
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Entering => "entering",
            Self::Playing => "playing",
            Self::Leaving => "leaving",
        }
    }

    /// Whether a transition is allowed.
    pub(crate) const fn leads_to(self, next: Self) -> bool {
        use Phase::{Connecting, Entering, Greeted, Idle, Leaving, Playing, Queued, Waiting};
        match (self, next) {
            // From any phase: the connection has ended.
            (_, Idle) => true,
            (Idle, Connecting) | (Connecting, Greeted) => true,
            (Greeted, Queued) | (Queued | Waiting, Greeted) => true,
            (Queued | Waiting, Queued | Waiting) => true,
            // A resumed session may have missed the assignment.
            (Greeted | Queued | Waiting, Entering) => true,
            (Entering, Playing) | (Entering | Playing, Leaving) => true,
            (Idle, Greeted | Queued | Waiting | Entering | Playing | Leaving)
            | (Connecting, Connecting | Queued | Waiting | Entering | Playing | Leaving)
            | (Greeted, Connecting | Greeted | Waiting | Playing | Leaving)
            | (Queued | Waiting, Connecting | Playing | Leaving)
            | (Entering, Connecting | Greeted | Queued | Waiting | Entering)
            | (Playing | Leaving, _) => false,
        }
    }
}
