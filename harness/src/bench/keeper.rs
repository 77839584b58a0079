//! The process around the benchmark, which cleans up its processes and files.
//!
//! A second process of the same program measures the figures. However it ends, by itself, by a signal or by a panic,
//! all its processes become children of this one (prctl(2), `PR_SET_CHILD_SUBREAPER`), which kills them; so it kills no
//! process of others.

use std::process::{Child, Command, ExitCode};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use testkit::proc;

use crate::failure::{Failure, os};
use crate::names::MEASURE;

/// Runs the benchmark to its end, or until a signal.
pub(crate) fn run() -> Result<ExitCode, Failure> {
    let directory = tempfile::tempdir_in(process::temporary_directory())
        .map_err(os("make a temporary directory"))?;
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| os("become the reaper of what is left behind")(errno.into()))?;
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(|errno| os("block the signals")(errno.into()))?;
    let program = std::env::current_exe().map_err(os("find this program"))?;
    let mut measuring = Command::new(program)
        .arg(MEASURE)
        .args(std::env::args_os().skip(1))
        .env("TMPDIR", directory.path())
        .spawn()
        .map_err(os("start the measuring process"))?;
    let code = wait(&mut measuring, &signals);
    end_all_children();
    Ok(code)
}

/// Unblocks the signals, in the measuring process.
pub(crate) fn release_signals() {
    let _ = SigSet::all().thread_unblock();
}

fn wait(measuring: &mut Child, signals: &SigSet) -> ExitCode {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => match measuring.try_wait() {
                Ok(Some(status)) if status.success() => return ExitCode::SUCCESS,
                Ok(Some(status)) => {
                    let code = status.code().and_then(|code| u8::try_from(code).ok());
                    return ExitCode::from(code.unwrap_or(1));
                }
                Ok(None) => {}
                Err(_) => return ExitCode::FAILURE,
            },
            Ok(_) | Err(_) => {
                let _ = measuring.kill();
                let _ = measuring.wait();
                return ExitCode::FAILURE;
            }
        }
    }
}

/// The children of a killed child become children of this process, and are killed in the next iteration.
fn end_all_children() {
    loop {
        let children = proc::children(Pid::this().as_raw());
        if children.is_empty() {
            return;
        }
        for pid in children.into_iter().map(Pid::from_raw) {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}
