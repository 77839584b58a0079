//! `muster-load`: simulates many players, and checks that none is lost.
//!
//! **Modules.** [`args`] is the command line, [`scenario_file`] the behaviour of players. [`plan`] derives each
//! player's next step from the seed, [`compositor`] schedules it, [`pool`] decides how many players there are.
//! [`players`] holds all of them: a player is idle, on a [`visit`] to Muster, running one of the [`scenarios`], or in a
//! game ([`scenarios::in_game`]); [`phase`] names its state. [`measure`] counts and times, [`oracle`] judges,
//! [`processor`] and [`limits`] observe the host. [`engine`] is the loop, [`view`] the display, [`report`] the result.
//!
//! There is one thread, one epoll, and tens of thousands of players: nothing blocks once the run has begun. The parts
//! that plan, judge and count own no sockets and read no clock.

#![forbid(unsafe_code)]

mod args;
mod clock;
mod compositor;
mod engine;
mod failure;
mod format;
mod limits;
mod measure;
mod net;
mod oracle;
mod phase;
mod plan;
mod players;
mod pool;
mod processor;
mod report;
mod scenario_file;
mod scenarios;
mod signals;
mod spans;
mod stage;
mod step;
mod timers;
mod view;
mod visit;

use std::fs::OpenOptions;
use std::io::{Write as _, stderr, stdout};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use client::Lobby;
use protocol::Visible;
use testkit::proc::listener_at;

use crate::args::Args;
use crate::compositor::Compositor;
use crate::engine::{Engine, Timetable};
use crate::failure::Failure;
use crate::limits::{Has, Needs};
use crate::plan::Plan;
use crate::players::Players;
use crate::pool::{Pool, SOURCES_MAX};
use crate::processor::Processor;
use crate::report::{Report, Setting};
use crate::scenario_file::ScenarioFile;
use crate::stage::Stage;
use crate::view::View;

/// How long Muster may take to greet before anything begins.
const GREETING_MAX: Duration = Duration::from_secs(5);

/// Samples of a run, about; and the shortest time between two.
const SAMPLES: u32 = 600;
const SAMPLE_MIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if let Some(date) = manual::wanted() {
        let printed = manual::print(Args::command(), &date);
        return printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let args = Args::parse();
    match run(&args) {
        Ok(report) if report.verdict.is_clean => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(failure) => {
            let _ = writeln!(stderr(), "muster-load: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Looks whether it can run, runs, and reports.
fn run(args: &Args) -> Result<Report, Failure> {
    let file = ScenarioFile::load(&args.scenario)?;
    let (target, queues) = look_at(args)?;
    let sources = sources_for(args, target);
    let needs = Needs { players: args.players, target: target.ip(), sources };
    Has::look(&needs).check(&needs)?;
    look_at_reports(args)?;
    let processor = Processor::new(args.daemon_pid.or_else(|| listener_at(target)));
    let setting = Setting {
        address: args.address.clone(),
        queues: queues.clone(),
        scenario: args.scenario.clone(),
        about: file.about.clone(),
        seed: args.seed,
        players: args.players,
        daemon_pid: processor.daemon(),
    };
    let mut view = View::new(args.quiet, args.duration);
    warn_of_the_daemons_limit(&mut view, args.players, processor);

    let poll = mio::Poll::new().map_err(os("make an epoll"))?;
    let registry = poll.registry().try_clone().map_err(os("make an epoll"))?;
    let compositor = Compositor::new(Plan::new(args.seed, file, queues.len()));
    let pool = Pool::new(args.players, args.ramp, sources);
    let stage = Stage::new(target, queues, args.patience, args.comes_back);
    let players = Players::new(stage, compositor, pool, registry);
    let sample_every = (args.duration / SAMPLES).max(SAMPLE_MIN);
    let timetable = Timetable { duration: args.duration, grace: args.grace, sample_every };
    let engine = Engine::new(poll, players, processor, timetable).map_err(os("begin"))?;
    let (players, outcome) = engine.run(&mut view).map_err(os("wait for events"))?;

    let (measure, oracle) = (&players.stage.measure, &players.stage.oracle);
    let report = Report::new(setting, players.pool.born(), measure, oracle, outcome);
    write_reports(args, &report)?;
    Ok(report)
}

/// Can the reports be written, after a run that may be long?
fn look_at_reports(args: &Args) -> Result<(), Failure> {
    for file in [&args.json, &args.html].into_iter().flatten() {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|source| Failure::Report { file: file.clone(), source })?;
    }
    Ok(())
}

/// Is Muster there, and has it the queues?
fn look_at(args: &Args) -> Result<(SocketAddr, Vec<String>), Failure> {
    let lobby = Lobby::connect(&args.address, GREETING_MAX).map_err(|source| {
        if source.is_connect() {
            Failure::Unreachable { source }
        } else {
            Failure::Unwelcome { source }
        }
    })?;
    let target = lobby.stream().peer_addr().or_else(|_| first_address(&args.address));
    let target = target.map_err(os("find Muster's address"))?;
    let has = lobby.queues();
    if let Some(missing) = args.queues.iter().find(|queue| !has.contains(queue)) {
        return Err(Failure::NoSuchQueue {
            address: args.address.clone(),
            queue: Visible(missing).to_string(),
            has: Visible(&has.join(", ")).to_string(),
        });
    }
    let queues = if args.queues.is_empty() {
        has.iter().take(1).cloned().collect()
    } else {
        args.queues.clone()
    };
    Ok((target, queues))
}

fn first_address(address: &str) -> std::io::Result<SocketAddr> {
    let first = address.to_socket_addrs()?.next();
    first.ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// How many addresses players come from: one each on the loopback network, where all addresses are this host's.
fn sources_for(args: &Args, target: SocketAddr) -> Option<u32> {
    let is_here = target.is_ipv4() && target.ip().is_loopback();
    let wished = args.sources.unwrap_or(args.players).min(SOURCES_MAX);
    is_here.then_some(wished)
}

/// A daemon on this host that has too few descriptors refuses players, as it should.
fn warn_of_the_daemons_limit(view: &mut View, players: u32, processor: Processor) {
    let allowed = processor.daemon().and_then(limits::descriptors_of);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < u64::from(players)) {
        view.warn(&format!(
            "muster itself may have {allowed} descriptors: of {players} players connected at a time it will refuse some \
             (ERR 429); start it with a higher `ulimit -n`"
        ));
    }
}

fn write_reports(args: &Args, report: &Report) -> Result<(), Failure> {
    let print = stdout().write_all(report::text(report).as_bytes());
    let write = |file: &Option<PathBuf>, text: &dyn Fn(&Report) -> String| match file {
        None => Ok(()),
        Some(file) => std::fs::write(file, text(report))
            .map_err(|source| Failure::Report { file: file.clone(), source }),
    };
    write(&args.json, &report::json)?;
    write(&args.html, &report::page)?;
    print.map_err(os("print the report"))
}

/// For `map_err`: names what was attempted.
fn os(attempt: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::Os { attempt, source }
}
