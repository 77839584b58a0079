//! The cost of confinement for a launch: latencies and rates of one daemon that confines its
//! games, which is the default, beside one that does not.

use testkit::Setup;

use crate::bench::Bench;
use crate::daemon::{CONFINEMENT_OFF, Daemon, brief_mode, setup};
use crate::failure::Failure;
use crate::games::latency::Subject;
use crate::games::rate;
use crate::stats::{Row, Samples, Target};

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    compare(bench, "cold", "")?;
    compare(bench, "template", "template = true")
}

fn compare(bench: &Bench, queue: &'static str, keys: &str) -> Result<(), Failure> {
    let two = format!("players = 2\nwarm = 0\n{keys}");
    let (on, off) = pair(16, |setup| setup.mode(queue, &["muster-game", "echo"], &two))?;
    let mut confined = Subject::new(&on, queue, 0)?;
    let mut free = Subject::new(&off, queue, 0)?;
    for _ in 0..bench.scale.latencies {
        free.measure()?;
        confined.measure()?;
    }
    print(bench, &format!("{queue}: first answer, µs"), confined.samples, free.samples);
    let one = format!("players = 1\nwarm = 0\n{keys}");
    let (on, off) = pair(rate::PORTS, |setup| brief_mode(setup, queue, &one))?;
    let (mut confined, mut free) = (Samples::default(), Samples::default());
    for _ in 0..bench.scale.stretches {
        free.push(rate::games(&off, queue, bench.scale.stretch)?);
        confined.push(rate::games(&on, queue, bench.scale.stretch)?);
    }
    print(bench, &format!("{queue}: games/s"), confined, free);
    Ok(())
}

/// Two daemons that differ in the confinement of their games alone.
fn pair(ports: u16, mode: impl Fn(Setup) -> Setup) -> Result<(Daemon, Daemon), Failure> {
    let confined = Daemon::start(mode(setup(ports)))?;
    Ok((confined, Daemon::start(mode(setup(ports).config(CONFINEMENT_OFF)))?))
}

fn print(bench: &Bench, what: &str, muster: Samples, baseline: Samples) {
    let what = format!("confined {what}");
    bench.print(&Row { what, muster, against: "not confined", baseline, target: Target::Shown });
}
