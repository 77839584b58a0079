//! The brain's fixed bounds, all in one place. What an operator may change is in [`Config`](crate::Config).

use std::time::Duration;

/// Players in a match, at most: a `start` message of that many players with the longest names, every byte of
/// them escaped to six, has to fit a control line.
pub const PLAYERS_PER_MATCH_MAX: usize = 128;

/// Players in a party, at most.
pub const PARTY_MAX: usize = 16;

/// How long those who wait are told nothing more after they were told that they wait for another thing, although it changes again.
/// It doubles with each change that they are told.
pub const TELL_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest such time.
pub const TELL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often it is looked, where matches wait for a port, whether there are fewer ahead of them than they were told.
pub const AHEAD_PAUSE: Duration = Duration::from_secs(2);

/// The matches of a mode that are told how many are ahead of them, from the first on, and those of which it is counted.
pub(crate) const AHEAD_COUNTED_MAX: usize = 1_000;

/// Steps of a search for a way to fill the squads of a match with parties, at most. Where parties are no more than a
/// few sizes, a search is over after a few dozen; one that is not is given up, as if there were no way.
pub(crate) const FILLING_STEPS_MAX: u32 = 2_000;

/// Tickets of which it is asked, in one look for a match by skill, whether somebody new is near enough to them.
pub(crate) const ANCHORS_ASKED_MAX: usize = 4_096;

/// Tickets for which a match by skill is sought in one look.
pub(crate) const ANCHORS_TRIED_MAX: usize = 256;

/// How long a look for a match by skill rests that had more to look at than it may in one turn.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Accounts whose conduct is remembered, at most. Those that changed last are.
pub(crate) const ACCOUNTS_MAX: usize = 16_384;

/// What a seat costs that nobody came into, and an offer that came to nothing. One that somebody came into pays back 1: so
/// one in five is free, however many players an account has.
pub(crate) const NO_SHOW_COST: i32 = 4;

/// How many such seats and offers are free before the first pause.
pub(crate) const FREE_FAULTS: i32 = 4;

/// How bad a conduct is remembered to be, and how good.
pub(crate) const CREDIT_MIN: i32 = -128;
pub(crate) const CREDIT_MAX: i32 = 256;

/// How long it takes until a conduct is better by 1 by itself, or less good.
pub(crate) const CREDIT_STEP: Duration = Duration::from_secs(60);

/// Seats that nobody has come into which an account may hold however small the ring is. Else it may hold no more of them
/// than half as many as there are ports.
pub const SEATS_MIN: usize = 16;

/// The first pause of an account whose seats are not taken; it doubles with each further one.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How many doublings of [`PAUSE_MIN`] reach [`PAUSE_MAX`].
pub(crate) const PAUSE_DOUBLINGS_MAX: u32 = 9;

/// How much later than `hello_timeout` it is looked who has come: what a game says takes its time.
pub(crate) const ARRIVAL_SLACK: Duration = Duration::from_millis(500);

/// Codes of parties that are none which an account may try at once.
pub const GUESSES_MAX: u32 = 20;

/// How long it takes until an account may try one more.
pub const GUESS_REST: Duration = Duration::from_secs(6);

const SEAT_BYTES_MAX: usize = protocol::NAME_MAX * 6 + 100;
const _: () = assert!(PLAYERS_PER_MATCH_MAX * SEAT_BYTES_MAX < protocol::CONTROL_LINE_MAX);
const _: () = assert!(PAUSE_MIN.as_secs() << PAUSE_DOUBLINGS_MAX >= PAUSE_MAX.as_secs());
const _: () = assert!(-CREDIT_MIN >= (FREE_FAULTS + PAUSE_DOUBLINGS_MAX as i32 + 1) * NO_SHOW_COST);
