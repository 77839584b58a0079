//! Defects that the crate `simulation` plants in the brain, to see that it finds them.

use crate::deadlines::Deadlines;
use crate::matchmaker::Matchmaker;

/// A defect that can be planted in the brain, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A player who goes back to its queue gets a new ticket.
    PlaceLostOnTheWayBack,
    /// The port of a game without players is free again as soon as the game is killed, not when it is gone.
    PortReturnedBeforeExit,
    /// A `ready` that comes too late is believed.
    StaleReadyAccepted,
    /// Players are told where to play before their game has started.
    AssignedBeforeStarted,
    /// Who went back to the queue is overtaken by matches that stand in line.
    LineLeftOutOfOrder,
    /// One of the players of a match that comes to nothing is not put back.
    SurvivorForgotten,
    /// A port does not rest after its players.
    QuarantineSkipped,
    /// A game that was sent its players may take for ever to start.
    StartTimeoutForgotten,
    /// A launch that was lost on its way counts as a failure of its mode.
    InterruptionCounted,
    /// The port of a launch that was lost on its way is left alone, as if something held it.
    InterruptedPortKept,
    /// A game that was born with its players and says `ready` is sent them again.
    SeatedStartedAgain,
    /// Games are launched to be warm before those that a match waits for.
    RefillBeforeDemand,
    /// Any number of games may be ordered to be warm at a time.
    RefillsUnbounded,
    /// Games are launched to be warm beside matches that are on their way to their players.
    RefillNotHeldBack,
    /// Games are launched to be warm in quiet moments only, however long there is none.
    RefillHeldBackForEver,
    /// Nobody looks again when games may be launched to be warm.
    RefillForgotten,
    /// Who comes back after its window is let in.
    WindowOverstayed,
    /// A connection that was replaced still speaks for its player.
    OlderConnectionNotFenced,
    /// Warm games that are too many are never stopped.
    SurplusKept,
    /// A brain that takes over knows of no deadline.
    DeadlinesNotWrittenDown,
}

impl Matchmaker {
    /// Plants a defect, or none.
    pub fn plant(&mut self, defect: Option<Defect>) {
        self.planted = defect;
        if self.is_planted(Defect::DeadlinesNotWrittenDown) {
            self.deadlines = Deadlines::default();
        }
    }

    /// The defect that was planted.
    pub fn planted(&self) -> Option<Defect> {
        self.planted
    }

    pub(crate) fn is_planted(&self, defect: Defect) -> bool {
        self.planted == Some(defect)
    }
}
