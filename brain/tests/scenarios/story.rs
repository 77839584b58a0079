//! A brain to be told things, whose wishes come out as short texts.

use std::collections::BTreeMap;
use std::time::Duration;

use brain::{
    Account, Action, Brain, Config, ConnectionId, Event, Exit, GameAction, GameId, GameInput,
    Input, LaunchFault, Mode, ModeId, PlayerId, PlayerInput, limits,
};
use protocol::{Assignment, Notice, Secret};

/// The actions, in order. `"1: QUEUED 1/2"` is for the player on connection 1; `"launch g1 duel :20000"`
/// is for a game. Events for the log are kept in [`Story::events`].
pub(crate) type Wishes = Vec<String>;

/// No wishes.
pub(crate) const NOTHING: [&str; 0] = [];

pub(crate) struct Story {
    pub(crate) brain: Brain,
    pub(crate) events: Vec<Event>,
    now: Duration,
    secrets: u128,
    /// By connection: the key that it was told, or resumed with.
    keys: BTreeMap<u64, Secret>,
    mode_names: Vec<String>,
    /// The names of the players with whom the last game was launched, by slot.
    pub(crate) seated: Vec<String>,
    /// The account that inputs are charged to from here on.
    pub(crate) account: Account,
}

/// A configuration with ports from 20000 on, and no mode yet.
pub(crate) fn ports(count: u16) -> Config {
    Config {
        default_mode: ModeId(0),
        modes: Vec::new(),
        ports: 20_000..=20_000 + count - 1,
        quarantine: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(30),
        queue_max: 100,
        resume_window: Duration::from_secs(30),
        launching_max: 16,
        away_per_account: usize::MAX,
        seats_per_account: 0,
        parties_per_account: usize::MAX,
    }
}

/// A mode: `ready` is due after 5 s, `started` after 2 s, a match ends after 600 s, the grace is 4 s.
pub(crate) fn mode(name: &str, players: usize, warm: usize) -> Mode {
    Mode {
        is_closed: false,
        program: 0,
        name: name.to_owned(),
        players,
        teams: Vec::new(),
        party_max: 1,
        skill: None,
        max_wait: None,
        rounds: 1,
        warm_min: warm,
        warm_max: warm,
        ready_timeout: Duration::from_secs(5),
        start_timeout: Duration::from_secs(2),
        accept_timeout: None,
        hello_timeout: Duration::from_secs(10),
        rejoin: false,
        max_duration: Duration::from_secs(600),
        alive_timeout: None,
        stop_grace: Duration::from_secs(4),
        has_control: true,
    }
}

impl Story {
    /// A brain with these modes, asked for its first wishes, which are for warm games.
    pub(crate) fn begin(mut config: Config, modes: Vec<Mode>) -> Self {
        config.modes = modes;
        let mode_names = config.modes.iter().map(|mode| mode.name.clone()).collect();
        let brain = Brain::new(config);
        Self {
            brain,
            events: Vec::new(),
            now: Duration::ZERO,
            secrets: 0,
            keys: BTreeMap::new(),
            mode_names,
            seated: Vec::new(),
            account: Account::UNKNOWN,
        }
    }

    /// A brain whose first mode has this many warm games already: g1, g2, …
    pub(crate) fn begin_warm(config: Config, modes: Vec<Mode>) -> Self {
        let mut story = Self::begin(config, modes);
        let mut ordered = story.after_ms(0).len();
        let mut game = 0;
        while game < ordered {
            game += 1;
            ordered += story.launched(game as u64).len();
            ordered += story.says_ready(game as u64).len();
        }
        story
    }

    fn tell(&mut self, input: Input) -> Wishes {
        self.brain.handle(self.now, input);
        self.wishes()
    }

    fn wishes(&mut self) -> Wishes {
        let mut wishes = Vec::new();
        while let Some(action) = self.brain.poll_action() {
            match action {
                Action::Report(event) => self.events.push(event),
                Action::Send { to, notice: Notice::Queued { resume_key, .. } } => {
                    self.keys.insert(to.number, resume_key);
                    wishes.push(short(&self.mode_names, &action));
                }
                Action::Game(GameAction::Launch { seated: Some(ref seated), .. }) => {
                    self.seated = seated.seats.iter().map(|seat| seat.name.clone()).collect();
                    wishes.push(short(&self.mode_names, &action));
                }
                action => wishes.push(short(&self.mode_names, &action)),
            }
        }
        self.brain.check_invariants().unwrap();
        wishes
    }

    /// Lets time pass.
    pub(crate) fn after_ms(&mut self, ms: u64) -> Wishes {
        self.now += Duration::from_millis(ms);
        self.brain.handle_timeout(self.now);
        self.wishes()
    }

    /// Lets time pass and does not tell the brain, as if other news came first.
    pub(crate) fn after_ms_unnoticed(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Lets as much time pass as it takes without news of a match until games are launched to be warm.
    pub(crate) fn after_a_quiet_moment(&mut self) -> Wishes {
        self.now += limits::REFILL_PAUSE;
        self.brain.handle_timeout(self.now);
        self.wishes()
    }

    // ---- Players, by their connection ----

    pub(crate) fn ready(&mut self, connection: u64, queue: &str) -> Wishes {
        let (resume_key, token) = (self.new_secret(), self.new_secret());
        self.keys.insert(connection, resume_key);
        self.tell(Input::Player(PlayerInput::Ready {
            connection: ConnectionId::local(connection),
            queue: Some(queue.to_owned()),
            name: Some(format!("player {connection}")),
            skill: None,
            resume_key,
            token,
            account: self.account,
        }))
    }

    /// READY of a player of whom something is known.
    pub(crate) fn ready_with_skill(&mut self, connection: u64, queue: &str, skill: i32) -> Wishes {
        let (resume_key, token) = (self.new_secret(), self.new_secret());
        self.keys.insert(connection, resume_key);
        self.tell(Input::Player(PlayerInput::Ready {
            connection: ConnectionId::local(connection),
            queue: Some(queue.to_owned()),
            name: None,
            skill: Some(skill),
            resume_key,
            token,
            account: self.account,
        }))
    }

    /// Those on these connections gather under a code, the first of them first.
    pub(crate) fn gather(&mut self, code: &str, connections: &[u64]) -> Wishes {
        let mut wishes = Vec::new();
        for (index, &connection) in connections.iter().enumerate() {
            let (connection, code) = (ConnectionId::local(connection), code.to_owned());
            let (name, skill, account) = (None, None, self.account);
            wishes = self.tell(match index {
                0 => Input::Player(PlayerInput::CreateParty {
                    connection,
                    code,
                    name,
                    skill,
                    account,
                }),
                _ => {
                    Input::Player(PlayerInput::JoinParty { connection, code, name, skill, account })
                }
            });
        }
        wishes
    }

    /// One on a connection wants to be in a party.
    pub(crate) fn join_party(&mut self, connection: u64, code: &str) -> Wishes {
        let (connection, code) = (ConnectionId::local(connection), code.to_owned());
        let (name, skill, account) = (None, None, self.account);
        self.tell(Input::Player(PlayerInput::JoinParty { connection, code, name, skill, account }))
    }

    pub(crate) fn leave_party(&mut self, connection: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::LeaveParty {
            connection: ConnectionId::local(connection),
        }))
    }

    pub(crate) fn ready_party(&mut self, connection: u64, queue: &str) -> Wishes {
        let connection = ConnectionId::local(connection);
        let size = self.brain.party_size(connection);
        let keys: Vec<(Secret, Secret)> =
            (0..size).map(|_| (self.new_secret(), self.new_secret())).collect();
        let queue = Some(queue.to_owned());
        self.tell(Input::Player(PlayerInput::ReadyParty { connection, queue, keys }))
    }

    /// READY on a connection with the key that was told on an earlier one.
    pub(crate) fn resume(&mut self, connection: u64, earlier: u64) -> Wishes {
        let key = self.keys[&earlier];
        self.keys.insert(connection, key);
        let token = self.new_secret();
        let (connection, account) = (ConnectionId::local(connection), self.account);
        self.tell(Input::Player(PlayerInput::Resume { connection, key: Some(key), token, account }))
    }

    /// READY with a key that nobody was told.
    pub(crate) fn resume_with_a_guess(&mut self, connection: u64) -> Wishes {
        let (guess, token) = (self.new_secret(), self.new_secret());
        let connection = ConnectionId::local(connection);
        self.tell(Input::Player(PlayerInput::Resume {
            connection,
            key: Some(guess),
            token,
            account: self.account,
        }))
    }

    fn new_secret(&mut self) -> Secret {
        self.secrets += 1;
        Secret::from_bytes((self.secrets << 64 | self.secrets).to_be_bytes())
    }

    pub(crate) fn accept(&mut self, connection: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::Answer {
            connection: ConnectionId::local(connection),
            accepts: true,
        }))
    }

    pub(crate) fn decline(&mut self, connection: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::Answer {
            connection: ConnectionId::local(connection),
            accepts: false,
        }))
    }

    pub(crate) fn quit(&mut self, connection: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::Quit { connection: ConnectionId::local(connection) }))
    }

    pub(crate) fn leave(&mut self, connection: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::Leave { connection: ConnectionId::local(connection) }))
    }

    pub(crate) fn lost(&mut self, connection: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::Lost { connection: ConnectionId::local(connection) }))
    }

    // ---- Games ----

    pub(crate) fn launched(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Launched { game: GameId(game) }))
    }

    pub(crate) fn launch_failed(&mut self, game: u64) -> Wishes {
        let fault = LaunchFault::Other("no such file".to_owned());
        self.tell(Input::Game(GameInput::LaunchFailed { game: GameId(game), fault }))
    }

    pub(crate) fn interrupted(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::LaunchFailed {
            game: GameId(game),
            fault: LaunchFault::Interrupted,
        }))
    }

    pub(crate) fn port_busy(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::LaunchFailed {
            game: GameId(game),
            fault: LaunchFault::PortBusy,
        }))
    }

    pub(crate) fn says_ready(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Ready { game: GameId(game) }))
    }

    pub(crate) fn says_started(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Started { game: GameId(game) }))
    }

    pub(crate) fn says_alive(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Alive { game: GameId(game) }))
    }

    pub(crate) fn says_result(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Result { game: GameId(game), result: "{}".to_owned() }))
    }

    pub(crate) fn says_left(&mut self, game: u64, slot: usize) -> Wishes {
        self.tell(Input::Game(GameInput::Left { game: GameId(game), slot }))
    }

    pub(crate) fn asks_for_players(&mut self, game: u64, slots: &[usize]) -> Wishes {
        self.tell(Input::Game(GameInput::Backfill { game: GameId(game), slots: slots.to_vec() }))
    }

    pub(crate) fn says_joined(&mut self, game: u64, slot: usize) -> Wishes {
        self.tell(Input::Game(GameInput::Joined { game: GameId(game), slot }))
    }

    pub(crate) fn breaks_contract(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Broken {
            game: GameId(game),
            what: "not JSON".to_owned(),
        }))
    }

    pub(crate) fn exits(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Exited { game: GameId(game), exit: Exit::Status(0) }))
    }

    pub(crate) fn crashes(&mut self, game: u64) -> Wishes {
        self.tell(Input::Game(GameInput::Exited { game: GameId(game), exit: Exit::Signal(11) }))
    }

    /// A game is gone and its port is not free.
    pub(crate) fn port_taken(&mut self, game: u64) {
        self.tell(Input::Game(GameInput::PortTaken { game: GameId(game) }));
    }

    // ---- The operator ----

    pub(crate) fn drain(&mut self) -> Wishes {
        self.tell(Input::Drain)
    }

    pub(crate) fn undrain(&mut self) -> Wishes {
        self.tell(Input::Undrain)
    }

    /// Sends a player out.
    pub(crate) fn kick(&mut self, player: u64) -> Wishes {
        self.tell(Input::Player(PlayerInput::Kick { player: PlayerId(player) }))
    }

    pub(crate) fn end_game(&mut self, game: u64, now: bool) -> Wishes {
        self.tell(Input::Game(GameInput::End { game: GameId(game), now }))
    }

    pub(crate) fn reconfigure(&mut self, config: Config) -> Wishes {
        self.tell(Input::Reconfigure(Box::new(config)))
    }

    pub(crate) fn add_mode_name(&mut self, name: &str) {
        self.mode_names.push(name.to_owned());
    }

    pub(crate) fn stop(&mut self) -> Wishes {
        self.tell(Input::Stop)
    }
}

fn short(modes: &[String], action: &Action) -> String {
    let name = |mode: &ModeId| &modes[mode.0];
    match action {
        Action::Send { to, notice } => format!("{to}: {}", short_notice(notice)),
        Action::Game(GameAction::Fill { game, seats }) => {
            let slots: Vec<usize> = seats.iter().map(|seat| seat.slot).collect();
            format!("fill g{game} {slots:?}")
        }
        Action::Game(GameAction::Rejoin { game, seat }) => {
            format!("rejoin g{game} slot {}", seat.slot)
        }
        Action::Game(GameAction::Launch { game, mode, port, seated: None }) => {
            format!("launch g{game} {} :{port}", name(mode))
        }
        Action::Game(GameAction::Launch { game, mode, port, seated: Some(seated) }) => {
            format!("launch g{game} {} :{port} for m{}", name(mode), seated.match_id)
        }
        Action::Game(GameAction::Start { game, match_id, .. }) => {
            format!("start g{game} m{match_id}")
        }
        Action::Game(GameAction::Stop { game, .. }) => format!("stop g{game}"),
        Action::Game(GameAction::Terminate { game }) => format!("SIGTERM g{game}"),
        Action::Game(GameAction::Kill { game }) => format!("SIGKILL g{game}"),
        Action::Report(event) => format!("{event:?}"),
        Action::Drained => "drained".to_owned(),
    }
}

fn short_notice(notice: &Notice) -> String {
    match notice {
        Notice::Queued { position, needed, .. } => format!("QUEUED {position}/{needed}"),
        Notice::Left => "LEFT".to_owned(),
        Notice::Requeued { position, .. } => format!("REQUEUED {position}"),
        Notice::Waiting { reason, ahead: None | Some(0), .. } => {
            format!("WAITING {}", reason.word())
        }
        Notice::Waiting { reason, ahead: Some(ahead), .. } => {
            format!("WAITING {} behind {ahead}", reason.word())
        }
        Notice::Found { match_id, accept_within } => format!("FOUND m{match_id} {accept_within:?}"),
        Notice::Accepted { count, of } => format!("ACCEPTED {count}/{of}"),
        Notice::Evicted { reason } => format!("EVICTED {}", reason.word()),
        Notice::Expired { waited, round, rounds } => format!("EXPIRED {waited:?} {round}/{rounds}"),
        Notice::Party { code, size } => format!("PARTY {code} {size}"),
        Notice::Replaced => "replaced".to_owned(),
        Notice::Assigned(Assignment { match_id, port, slot, players, .. }) => {
            format!("ASSIGN m{match_id} :{port} slot {slot}/{players}")
        }
        Notice::Refused(refusal) => format!("ERR {}", refusal.code()),
    }
}

/// The wishes that are not for players.
pub(crate) fn for_games(wishes: &[String]) -> Vec<&str> {
    let is_for_player = |wish: &&str| wish.starts_with(|first: char| first.is_ascii_digit());
    wishes.iter().map(String::as_str).filter(|wish| !is_for_player(wish)).collect()
}

/// The wishes that are for players.
pub(crate) fn for_players(wishes: &[String]) -> Vec<&str> {
    let games = for_games(wishes);
    wishes.iter().map(String::as_str).filter(|wish| !games.contains(wish)).collect()
}
