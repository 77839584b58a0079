//! The setup of a world: a valid configuration, and how often processes are bad.

use std::time::Duration;

use crate::Choices;
use brain::SkillRules;
use brain::{Account, ConnectionId};
use brain::{Config, Mode, Skill};

/// How often processes are bad: one in n; never at 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// Processes that never take the next step by themselves.
    pub(crate) mute_one_in: u32,
    /// Processes that ignore `stop` and SIGTERM.
    pub(crate) stubborn_one_in: u32,
}

impl Faults {
    pub(crate) const GOOD: Self = Self { mute_one_in: 0, stubborn_one_in: 0 };

    pub(crate) fn draw(choices: &mut dyn Choices) -> Self {
        const ONE_IN: [u32; 4] = [0, 16, 6, 2];
        Self { mute_one_in: ONE_IN[choices.index(4)], stubborn_one_in: ONE_IN[choices.index(4)] }
    }
}

/// The names of the modes, which are those of their queues.
pub(crate) const MODE_NAMES: [&str; 4] = ["duel", "arena", "solo", "party"];

const FIRST_PORT: u16 = 20_000;

pub(crate) fn draw_config(choices: &mut dyn Choices) -> Config {
    let mode_count = 1 + choices.index(MODE_NAMES.len());
    let modes: Vec<Mode> =
        MODE_NAMES[..mode_count].iter().map(|name| draw_mode(choices, name)).collect();
    let ports = u16::try_from(choices.below(8)).unwrap_or_default();
    let largest_match = modes.iter().map(|mode| mode.players).max().unwrap_or(1);
    Config {
        modes,
        default_mode: brain::ModeId(0),
        ports: FIRST_PORT..=FIRST_PORT + ports,
        quarantine: [Duration::ZERO, SECOND / 2, 3 * SECOND, 5 * SECOND][choices.index(4)],
        drain_timeout: [Duration::ZERO, 2 * SECOND, 20 * SECOND][choices.index(3)],
        queue_max: largest_match + choices.index(12),
        resume_window: [Duration::ZERO, SECOND / 100, 3 * SECOND, 30 * SECOND][choices.index(4)],
        launching_max: [1, 2, 4, 8][choices.index(4)],
        away_per_account: [usize::MAX, 1, 3][choices.index(3)],
        // The scenarios judge which players that passes over.
        seats_per_account: 0,
        parties_per_account: usize::MAX,
    }
}

fn draw_mode(choices: &mut dyn Choices, name: &str) -> Mode {
    let teams = match choices.index(4) {
        0 => vec![vec![2], vec![2]],
        1 => vec![vec![1, 2], vec![3]],
        _ => Vec::new(),
    };
    let players = match teams.concat().iter().sum() {
        0 => 1 + choices.index(5),
        players => players,
    };
    let party_max = match teams.concat().iter().max() {
        Some(&squad) => squad,
        None if choices.one_in(3) => players,
        None => 1,
    };
    let warm_min = choices.index(4);
    let warm_max = warm_min + [0, 0, 1, 4][choices.index(4)];
    Mode {
        name: name.to_owned(),
        is_closed: false,
        program: 0,
        players,
        teams,
        party_max,
        skill: draw_skill(choices),
        max_wait: [None, None, Some(SECOND / 1000), Some(10 * SECOND)][choices.index(4)],
        rounds: 1 + choices.below(3),
        warm_min,
        warm_max,
        ready_timeout: [SECOND / 1000, SECOND, 5 * SECOND][choices.index(3)],
        start_timeout: [SECOND / 1000, SECOND, 2 * SECOND][choices.index(3)],
        accept_timeout: [None, None, Some(SECOND / 1000), Some(10 * SECOND)][choices.index(4)],
        hello_timeout: [SECOND / 1000, SECOND, 10 * SECOND][choices.index(3)],
        rejoin: choices.one_in(2),
        max_duration: [SECOND / 1000, 10 * SECOND, 60 * SECOND][choices.index(3)],
        alive_timeout: [None, None, Some(SECOND), Some(4 * SECOND)][choices.index(4)],
        stop_grace: [Duration::ZERO, SECOND, 5 * SECOND][choices.index(3)],
        has_control: !choices.one_in(3),
    }
}

/// The account of a connection.
pub(crate) fn account_of(connection: ConnectionId) -> Account {
    Account(1 + connection.number % ACCOUNTS)
}

/// How many accounts there are.
const ACCOUNTS: u64 = 3;

fn draw_skill(choices: &mut dyn Choices) -> Option<Skill> {
    let window = 50 * choices.below(3);
    let rules = SkillRules {
        window,
        widen_by: [0, 10, 200][choices.index(3)],
        widen_every: [SECOND / 1000, SECOND, 20 * SECOND][choices.index(3)],
        window_max: window + 100 * choices.below(4),
    };
    choices.one_in(4).then_some(Skill { default: 500, rules })
}

const SECOND: Duration = Duration::from_secs(1);
