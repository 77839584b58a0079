//! What the confinement of games costs a launch: latencies and rates of one daemon that confines its
//! games, as it does when nothing else is said, beside one that does not.

use crate::bench::Bench;
use crate::daemon::{CONFINEMENT_OFF, Daemon, Setup};
use crate::failure::Failure;
use crate::games::latency::{Subject, TEMPLATE};
use crate::games::rate;
use crate::stats::{Row, Samples, Target};

const COLD: &str = "warm = 0";

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    match Setup::ports(1).brief_mode("any", COLD)?.with(CONFINEMENT_OFF).start() {
        Err(Failure::ConfigRefused(why)) => {
            bench.note(format_args!("confinement: not known to this muster, left out ({why})"));
            return Ok(());
        }
        Err(failure) => return Err(failure),
        Ok(_) => {}
    }
    compare(bench, "cold", COLD)?;
    if bench.template(&Setup::ports(1).brief_mode("any", TEMPLATE)?)?.is_some() {
        compare(bench, "template", TEMPLATE)?;
    }
    Ok(())
}

fn compare(bench: &Bench, queue: &'static str, keys: &str) -> Result<(), Failure> {
    let latency = Setup::ports(16).mode(queue, 2, &["muster-game", "echo"], keys);
    let (on, off) = pair(&latency)?;
    let mut confined = Subject::new(&on, queue, 0)?;
    let mut free = Subject::new(&off, queue, 0)?;
    for _ in 0..bench.scale.latencies {
        free.measure()?;
        confined.measure()?;
    }
    print(bench, &format!("{queue}: first answer, µs"), confined.samples, free.samples);
    let (on, off) = pair(&Setup::ports(rate::PORTS).brief_mode(queue, keys)?)?;
    let (mut confined, mut free) = (Samples::default(), Samples::default());
    for _ in 0..bench.scale.stretches {
        free.push(rate::games(&off, queue, bench.scale.stretch)?);
        confined.push(rate::games(&on, queue, bench.scale.stretch)?);
    }
    print(bench, &format!("{queue}: games/s"), confined, free);
    Ok(())
}

/// Two daemons that differ in nothing else.
fn pair(setup: &Setup) -> Result<(Daemon, Daemon), Failure> {
    Ok((setup.start()?, setup.clone().with(CONFINEMENT_OFF).start()?))
}

fn print(bench: &Bench, what: &str, muster: Samples, baseline: Samples) {
    let what = format!("confined {what}");
    bench.print(&Row { what, muster, against: "not confined", baseline, target: Target::Shown });
}
