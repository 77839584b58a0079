//! `muster`: the daemon that puts players into games, and the commands for its operators.
//!
//! This crate is the body. [`server`] is the loop: it turns events of the kernel into inputs of the brain (`brain`)
//! and performs its actions. [`players`] has the listener and the clients; [`games`] the processes of games, their control
//! channels and output, and the link to the launcher, a process of its own; [`operators`] the admin socket, metrics and
//! HTTP; [`handoff`] upgrades in place and crash recovery. The commands for people are the crate `operator`, the keeper
//! of `muster serve --keep` is the crate `keeper`.

mod activation;
mod address;
mod allowance;
mod backoff;
mod cli;
mod config;
mod games;
mod handoff;
mod lookup;
mod operators;
mod players;
mod rest;
mod seldom;
mod server;
mod tokens;
mod turn;
mod users;
mod worker;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use nix::sys::resource::{Resource, getrlimit};
use service::endpoint::Endpoint;
use service::{clock, logging, notify, signals, start, store, units};

use crate::activation::ListenError;
use crate::cli::{Cli, Command, Serve};
use crate::config::{Config, ConfigError, Warning};
use crate::games::launcher::Launcher;
use crate::handoff::descriptors::StateError;
use crate::handoff::exec::{handed_over, is_handed_over};
use crate::handoff::recovery::CrashState;
use crate::operators::socket::{AdminSocket, BindError, LOCK_TIMEOUT};
use crate::server::{Origin, Server, StartError};
use crate::signals::Signals;
use crate::store::{Store, TakeError};
use crate::users::Claim;

/// Descriptors that the daemon needs besides its clients and games.
const OWN_DESCRIPTORS: usize = 64;

/// The fraction of all descriptors for clients that are only connected to be refused.
const REFUSED_PART: usize = 16;

/// Descriptors per living game, and per launch.
const DESCRIPTORS_PER_GAME: usize = 3;
const DESCRIPTORS_PER_LAUNCH: usize = 4;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next()
        && let Some(code) = launcher::run_as(&name, start_log_of_launcher)
    {
        logging::finish();
        return code;
    }
    if let Some(code) = std::env::args_os().next().and_then(|name| keeper::start::run_as(&name)) {
        return code;
    }
    if let Some(date) = manual::wanted() {
        let printed = manual::print(Cli::command(), &date);
        return printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let cli = cli::parse();
    if let Command::Serve(Serve { keep: Some(silence), log, config, .. }) = &cli.command {
        let level = log.unwrap_or(log::LevelFilter::Info);
        return match keeper::run(*silence, level, config.as_deref()) {
            Ok(status) => {
                logging::finish();
                ExitCode::from(status)
            }
            Err(error) => {
                logging::last_words(&format!("muster: {error}"));
                ExitCode::from(error.exit_code())
            }
        };
    }
    let is_service = matches!(cli.command, Command::Serve(_));
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_service => {
            logging::last_words(&in_lines(&failure));
            ExitCode::from(failure.exit_code())
        }
        Err(failure) => {
            eprintln!("{}", in_lines(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A failure as text: a configuration has a line for each mistake.
fn in_lines(failure: &Failure) -> String {
    let lines =
        failure.to_string().lines().map(|line| format!("muster: {line}")).collect::<Vec<_>>();
    lines.join("\n")
}

/// Why the daemon could not run, by exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A valid configuration that prevents games, with a line for each mistake.
    #[error("{0}")]
    Check(String),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Take(#[from] TakeError),
    #[error(transparent)]
    Admin(#[from] BindError),
    #[error(transparent)]
    Users(#[from] users::Taken),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Operator(#[from] operator::Error),
    #[error("cannot {attempt}: {source}")]
    Run { attempt: &'static str, source: io::Error },
}

impl Failure {
    /// The codes of sysexits(3) where there is one.
    fn exit_code(&self) -> u8 {
        match self {
            // A restart would inherit the same sockets.
            Self::Listen(ListenError::WrongType { .. } | ListenError::TooMany { .. }) => 78,
            Self::Listen(_) | Self::Admin(_) | Self::Users(_) => 69,
            // The file exists and cannot be read now: a full table, a network that does not answer.
            Self::Config(ConfigError::Read { source, .. }) if is_passing(source) => 69,
            Self::Operator(error) => error.exit_code(),
            Self::Run { .. } | Self::State(_) | Self::Start(_) => 1,
            Self::Config(_) | Self::Check(_) | Self::Take(_) => 78,
        }
    }

    fn run(attempt: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Run { attempt, source }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(flags) => serve(flags),
        Command::CheckConfig { file } => {
            let config = Config::from_file(&file)?;
            let (mistakes, warnings): (Vec<_>, Vec<_>) =
                config.warnings(None).into_iter().partition(Warning::is_mistake);
            let names: Vec<&str> = config.modes.iter().map(|mode| mode.name.as_str()).collect();
            for warning in warnings {
                eprintln!("{}: warning: {warning}", warning.place(&file));
            }
            if !mistakes.is_empty() {
                let lines = mistakes.iter().map(|it| format!("{}: {it}", it.place(&file)));
                return Err(Failure::Check(lines.collect::<Vec<_>>().join("\n")));
            }
            let name = config.ports.name_to_resolve();
            if let Some(problem) = name.and_then(lookup::problem_with) {
                eprintln!("{}: note: ports.public_host: {problem}", file.display());
            }
            print(format_args!("{}: good; modes: {}\n", file.display(), names.join(", ")))
        }
        Command::Preflight(flags) => preflight(flags),
        Command::ManualOfConfig { file, date } => {
            let text = std::fs::read_to_string(&file);
            let text = text.map_err(Failure::run("read the configuration"))?;
            print(manual::configuration(&text, env!("CARGO_PKG_VERSION"), &date))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
            print(String::from_utf8_lossy(&script))
        }
        Command::Operator(command) => operator::run(command, admin_of),
    }
}

/// The admin socket that a configuration names.
fn admin_of(file: &Path) -> Result<Endpoint<PathBuf>, Failure> {
    Ok(Config::from_file(file)?.listen.admin)
}

fn print(text: impl Display) -> Result<(), Failure> {
    Ok(operator::print(text)?)
}

/// The configuration by flags, environment and file.
fn configure(flags: Serve) -> Result<Config, Failure> {
    let mut config = match &flags.config {
        Some(file) => Config::from_file(file)?,
        None => Config::default_config(),
    };
    if let Some(address) = flags.tcp {
        config.listen.tcp = address;
    }
    config.listen.admin = flags.admin.unwrap_or_default().or(config.listen.admin);
    config.listen.metrics = flags.metrics.unwrap_or_default().or(config.listen.metrics);
    if let Some(range) = &flags.ports {
        config.set_port_range(range)?;
    }
    if let Some(host) = &flags.public_host {
        config.set_public_host(host)?;
    }
    if let Some(level) = flags.log {
        config.log_level = level;
    }
    Ok(config)
}

/// Tests whether this program can resume the daemon's state on stdin.
fn preflight(flags: Serve) -> Result<(), Failure> {
    let config = configure(flags)?;
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).map_err(Failure::run("read the state"))?;
    handoff::snapshot::try_out(&text, config)?;
    print(handoff::preflight::passed())
}

fn serve(flags: Serve) -> Result<(), Failure> {
    let flaws = start::begin(flags.config.as_deref(), is_handed_over());
    service::raise_descriptor_limit();
    let mut config = configure(flags.clone())?;
    logging::start(config.log_level);
    die_of_panics();
    flaws.tell();
    // Before anything else is opened.
    let mut given = store::take()?;
    let mut store = Store::open();
    let signals = Signals::take_over().map_err(Failure::run("take over the signals"))?;
    logging::write_in_background();
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| {
        Failure::run("become the reaper of what games leave behind")(error.into())
    })?;
    let handed_over = handed_over().map_err(Failure::run("read the state that was left"));
    if let Some(state) = handed_over.unwrap_or_else(|failure| crash(&failure)) {
        let resumed = resume(config, signals, store, state);
        return run_to_the_end(resumed.unwrap_or_else(|failure| crash(&failure)), flags);
    }
    let back = CrashState::find(&mut given, &mut store);
    // First of all, while this process is small; or with what is known of the games.
    let launcher = if back.is_none() { Some(start_launcher(&mut config)?) } else { None };
    let listener = activation::listener(&config, &mut given, &mut store, back.is_some())?;
    store.discard(given);
    let admin = open_admin(&config, back.is_some())?;
    fit_clients_to_descriptors(&mut config);
    let (address, is_listening) = (listener.address(), listener.socket().is_some());
    let modes: Vec<&str> = config.modes.iter().map(|mode| mode.name.as_str()).collect();
    let modes = modes.join(",");
    // Everything that can be retried is open or left to the loop; the recovery itself is tried only once.
    if back.is_some() {
        wait_for_descriptors();
    }
    let recovered = back.and_then(|back| back.recover(&mut config, &mut store));
    let range = config.ports.range.clone();
    let server = match recovered {
        Some(recovered) => {
            let origin = Origin::Crash { recovered: Box::new(recovered), listener, admin };
            Server::start(config, signals, store, origin)
                .unwrap_or_else(|error| crash(&Failure::Start(error)))
        }
        None => {
            let launcher = launcher.map_or_else(|| start_launcher(&mut config), Ok)?;
            let launcher = Box::new(launcher);
            Server::start(config, signals, store, Origin::New { launcher, listener, admin })?
        }
    };
    let (first, last) = (range.start(), range.end());
    let verb = if is_listening { "listening" } else { "about to listen" };
    log::info!(
        "{verb} tcp={address} ports={first}-{last} modes={modes} pid={}",
        std::process::id()
    );
    run_to_the_end(server, flags)
}

/// Opens the admin socket. At a start a wrong path is an error; any other problem is left to the loop, which retries while
/// it serves players.
fn open_admin(config: &Config, is_recovery: bool) -> Result<Option<AdminSocket>, BindError> {
    let Endpoint::At(path) = &config.listen.admin else { return Ok(None) };
    match AdminSocket::bind(path, LOCK_TIMEOUT) {
        Ok(admin) => Ok(Some(admin)),
        Err(error) if is_recovery || error.is_passing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error may pass without a change of the configuration.
fn is_passing(error: &io::Error) -> bool {
    const PASSING: [i32; 11] = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EAGAIN,
        libc::EINTR,
        libc::EIO,
        libc::ESTALE,
        libc::ETIMEDOUT,
        libc::EHOSTDOWN,
        libc::ENOTCONN,
    ];
    error.raw_os_error().is_some_and(|number| PASSING.contains(&number))
}

fn start_launcher(config: &mut Config) -> Result<Launcher, Failure> {
    let users = Claim::take(config)?;
    Launcher::start(config, users).map_err(Failure::run("start the launcher"))
}

/// Resumes after an upgrade in place.
fn resume(
    mut config: Config,
    signals: Signals,
    store: Store,
    state: Vec<u8>,
) -> Result<Server, Failure> {
    // A process that was executed by descriptor has the descriptor's number as its name.
    let _ = nix::sys::prctl::set_name(c"muster");
    fit_clients_to_descriptors(&mut config);
    Ok(Server::start(config, signals, store, Origin::Upgrade(state))?)
}

/// Aborts, so that the service manager or the keeper starts the next daemon, which resumes from the saved state. They would
/// take an exit for intended.
fn crash(failure: &Failure) -> ! {
    log::error!("{failure}");
    logging::finish();
    std::process::abort()
}

fn run_to_the_end(mut server: Server, flags: Serve) -> Result<(), Failure> {
    server.reload_by(Box::new(move || {
        let mut config =
            configure(flags.clone()).map_err(|failure| failure.to_string().replace('\n', "; "))?;
        fit_clients_to_descriptors(&mut config);
        Ok(config)
    }));
    server.run().map_err(Failure::run("wait for events"))?;
    log::info!("stopped");
    drop(server);
    logging::finish();
    Ok(())
}

/// Starts the launcher's log, which has the destination and format of the daemon's.
fn start_log_of_launcher(level: &str) {
    logging::start(level.parse().unwrap_or(log::LevelFilter::Info));
    die_of_panics();
}

/// Makes panics abort the process, as its state cannot be trusted after one. The service manager sees a crash; games
/// continue.
fn die_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("internal error (bug), please report: {panic}");
        logging::finish();
        std::process::abort();
    }));
}

/// Waits until the system has enough descriptors for a start: a recovery is tried only once, and must not fail because a
/// table is full for a moment. The service manager or the keeper bounds the wait.
fn wait_for_descriptors() {
    let mut pause = Duration::from_millis(50);
    loop {
        let opened = (0..OWN_DESCRIPTORS / 2).map(|_| File::open("/dev/null"));
        let Err(error) = opened.collect::<io::Result<Vec<File>>>() else { return };
        if !is_passing(&error) {
            return;
        }
        log::warn!("waiting for free descriptors: {error}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Lowers the limit of clients to what the descriptors allow, as games need descriptors, too.
fn fit_clients_to_descriptors(config: &mut Config) {
    let Ok((allowed, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    config.limits.refused = config.limits.refused.min(allowed / REFUSED_PART);
    let for_others = config.ports.range.len() * DESCRIPTORS_PER_GAME
        + config.limits.launching * DESCRIPTORS_PER_LAUNCH
        + config.limits.refused
        + OWN_DESCRIPTORS;
    // With few descriptors and many ports, clients and games have half each.
    let clients = allowed.saturating_sub(for_others).max(allowed / 2);
    if clients < config.limits.clients {
        let is_much = clients < config.limits.clients / 2;
        log::log!(
            if is_much { log::Level::Info } else { log::Level::Debug },
            "limiting clients to {clients} (limits.clients={}): the limit of open files is {allowed}, and games need \
             the rest; LimitNOFILE= or ulimit -n raises it",
            config.limits.clients
        );
        config.limits.clients = clients;
    }
}
