//! Where a player stands.

/// The phases of a player, from its birth to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected: has nothing to do for now, or lost its connection.
    Idle,
    /// On its way to Muster's greeting.
    Connecting,
    /// Greeted, and not in a queue.
    Greeted,
    /// Was told QUEUED, or that it stands where it stood.
    Queued,
    /// Its match is formed, and it was told for what that waits.
    Waiting,
    /// Was told where to play, and says hello.
    Entering,
    /// Plays.
    Playing,
    /// Says goodbye to its game.
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

    /// Whether a player can go from one phase to another.
    pub(crate) const fn leads_to(self, next: Self) -> bool {
        use Phase::{Connecting, Entering, Greeted, Idle, Leaving, Playing, Queued, Waiting};
        match (self, next) {
            // From anywhere: the connection is over.
            (_, Idle) => true,
            (Idle, Connecting) | (Connecting, Greeted) => true,
            (Greeted, Queued) | (Queued | Waiting, Greeted) => true,
            (Queued | Waiting, Queued | Waiting) => true,
            // A session that is taken up again may have missed its assignment.
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
