//! The time of the brain alone for an operation while more and more tickets wait: no daemon, no sockets, no
//! games. What it asks for is done at once, by word of mouth.
//!
//! All wait in one mode. First come, first served: they are matched at once, and all matches stand in line for the only
//! port. By skill: they are too far apart to meet, and wait in the queue; those who come meanwhile find each other in
//! the middle of them. Beside the brain that fills up stands one with the smallest number.

use std::time::{Duration, Instant};

use brain::{
    Account, Action, Config, ConnectionId, Exit, GameAction, GameId, GameInput, Input, Mode,
    ModeId, PlayerInput, Skill, SkillRules,
};
use protocol::{Notice, Secret};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::stats::{Row, Samples, Target};

/// The order of waiting players.
const ORDERS: [(&str, Option<Skill>); 2] = [("FIFO", None), ("skill", Some(SKILL))];

const SKILL: Skill = Skill {
    default: 0,
    rules: SkillRules {
        window: 1,
        widen_by: 1,
        widen_every: Duration::from_secs(5),
        window_max: 3,
    },
};

/// The difference in skill of neighbouring players: more than twice any window.
const APART: usize = 10;

/// An operation's name, and what does it once.
const OPERATIONS: [(&str, Operation); 2] =
    [("join and leave", Timed::join_and_leave), ("a match's life", Timed::live_a_match)];

type Operation = fn(&mut Timed) -> Result<(), Failure>;

/// Operations that are timed together.
const AT_A_TIME: usize = 100;

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let Some((&fewest, more)) = bench.scale.brain_tickets.split_first() else { return Ok(()) };
    for (order, skill) in ORDERS {
        let mut small = Timed::with_tickets(skill, fewest);
        for &count in more {
            let mut large = Timed::with_tickets(skill, count);
            for (name, operation) in OPERATIONS {
                let (mut muster, mut baseline) = (Samples::default(), Samples::default());
                for _ in 0..bench.scale.latencies {
                    baseline.push(small.micros(operation)?);
                    muster.push(large.micros(operation)?);
                }
                bench.print(&Row {
                    what: format!("{order}, {count}: µs for {name}"),
                    muster,
                    against: "few tickets",
                    baseline,
                    target: Target::RatioAtMost(2.0),
                });
            }
        }
    }
    bench.note(format_args!("few are {fewest}; {AT_A_TIME} operations are timed together"));
    Ok(())
}

fn mode(skill: Option<Skill>) -> Mode {
    let long = Duration::from_secs(3600);
    Mode {
        is_closed: false,
        program: 0,
        name: "duel".into(),
        players: 2,
        teams: Vec::new(),
        party_max: 1,
        skill,
        max_wait: None,
        rounds: 1,
        warm_min: 0,
        warm_max: 0,
        ready_timeout: long,
        start_timeout: long,
        accept_timeout: None,
        hello_timeout: long,
        rejoin: false,
        max_duration: long,
        alive_timeout: None,
        stop_grace: Duration::from_secs(1),
        has_control: true,
    }
}

/// A brain, and what it wants.
#[derive(Debug)]
struct Timed {
    matchmaker: brain::Brain,
    players: usize,
    /// Of those who come once all others wait.
    skill: Option<i32>,
    now: Duration,
    next_connection: u64,
    /// A game that it wants launched.
    launch: Option<GameId>,
    /// Players assigned since the last match began.
    assigned: usize,
}

impl Timed {
    fn with_tickets(skill: Option<Skill>, count: usize) -> Self {
        let mode = mode(skill);
        let players = mode.players;
        let matchmaker = brain::Brain::new(Config {
            default_mode: ModeId(0),
            modes: vec![mode],
            ports: 20_000..=20_000,
            quarantine: Duration::ZERO,
            drain_timeout: Duration::ZERO,
            queue_max: count + players,
            resume_window: Duration::ZERO,
            launching_max: 1,
            away_per_account: usize::MAX,
            seats_per_account: 0,
            parties_per_account: usize::MAX,
        });
        let mut brain = Self {
            matchmaker,
            players,
            skill: None,
            now: Duration::ZERO,
            next_connection: 1,
            launch: None,
            assigned: 0,
        };
        for at in 0..count {
            brain.skill = i32::try_from(at * APART).ok();
            brain.join();
        }
        brain.skill = i32::try_from(count / 2 * APART + APART / 2).ok();
        brain
    }

    /// Microseconds that an operation takes.
    #[expect(clippy::cast_precision_loss, reason = "far from 2^52")]
    fn micros(&mut self, operation: Operation) -> Result<f64, Failure> {
        let begin = Instant::now();
        for _ in 0..AT_A_TIME {
            operation(self)?;
        }
        Ok(begin.elapsed().as_secs_f64() * 1e6 / AT_A_TIME as f64)
    }

    fn join_and_leave(&mut self) -> Result<(), Failure> {
        let connection = self.join();
        self.say(Input::Player(PlayerInput::Leave { connection }));
        Ok(())
    }

    /// The first match of the line gets the port, plays and ends; as many players as it had come in behind.
    fn live_a_match(&mut self) -> Result<(), Failure> {
        for _ in 0..self.players {
            self.join();
        }
        let game = self.launch.take().ok_or_else(|| unexpected("no launch", "a launch"))?;
        self.say(Input::Game(GameInput::Launched { game }));
        self.say(Input::Game(GameInput::Ready { game }));
        self.say(Input::Game(GameInput::Started { game }));
        if std::mem::take(&mut self.assigned) != self.players {
            return Err(unexpected("no ASSIGN", "ASSIGN"));
        }
        for slot in 0..self.players {
            self.say(Input::Game(GameInput::Joined { game, slot }));
        }
        self.say(Input::Game(GameInput::Exited { game, exit: Exit::Status(0) }));
        Ok(())
    }

    fn join(&mut self) -> ConnectionId {
        let connection = ConnectionId::local(self.next_connection);
        self.next_connection += 1;
        let secret = Secret::from_bytes(u128::from(connection.number).to_be_bytes());
        let (resume_key, token, skill) = (secret, secret, self.skill);
        let (queue, name, account) = (None, None, Account::UNKNOWN);
        self.say(Input::Player(PlayerInput::Ready {
            connection,
            queue,
            name,
            skill,
            resume_key,
            token,
            account,
        }));
        connection
    }

    fn say(&mut self, input: Input) {
        self.now += Duration::from_micros(1);
        self.matchmaker.handle(self.now, input);
        self.listen();
        if self.matchmaker.next_deadline().is_some_and(|at| at <= self.now) {
            self.matchmaker.handle_timeout(self.now);
            self.listen();
        }
    }

    fn listen(&mut self) {
        while let Some(action) = self.matchmaker.poll_action() {
            match action {
                Action::Game(GameAction::Launch { game, .. }) => self.launch = Some(game),
                Action::Send { notice: Notice::Assigned(_), .. } => self.assigned += 1,
                _ => {}
            }
        }
    }
}

fn unexpected(said: &str, awaited: &'static str) -> Failure {
    Failure::Unexpected { said: said.into(), awaited }
}
