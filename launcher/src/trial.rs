//! Tries once, when the launcher starts, whether the machine permits the confinement that is prepared for games.
//!
//! The privileges of a process do not follow from its user: root of a container may lack capabilities, have only a
//! few users, or be restricted by a security module. So each mode's layers are applied to a process that ends where
//! a game would begin ([`try_out`]). A layer that fails is left out, with one log line that names it, the reason
//! and the remedy, and the others are tried again.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use process::Stack;

use crate::confine::{Confiner, Identity, Layers};
use crate::directories::make_one;
use crate::executable::c_string;
use crate::launch_step::{LaunchStepError, Plan, try_out};
use crate::limits::TRIALS_MAX;
use crate::program::Program;
use crate::wire::Setup;

/// The attempt before the launch step.
pub(crate) const MAKE_DIRECTORY: &str = "give a directory to its user";

/// The name of a trial's working directory and control group.
const NAME: &str = "trial";

/// Prepares the confinement: what this machine offers, and each program's layers.
pub(crate) fn layers(setup: &Setup, stack: &mut Stack) -> (Confiner, Vec<Layers>) {
    let mut confiner = Confiner::new(setup);
    for _ in 0..TRIALS_MAX {
        let layers = all_layers(&confiner, setup);
        let failed = setup.programs.iter().enumerate().find_map(|(index, program)| {
            let error = try_program(&confiner, setup, index, &layers[index], stack).err()?;
            Some((program, error))
        });
        match failed {
            Some((program, error)) if confiner.leave_out(error, program) => {}
            // An attempt that belongs to no layer will fail again with the first game, which reports it.
            Some(_) | None => return (confiner, layers),
        }
    }
    let layers = all_layers(&confiner, setup);
    (confiner, layers)
}

fn all_layers(confiner: &Confiner, setup: &Setup) -> Vec<Layers> {
    let programs = setup.programs.iter().enumerate();
    programs.map(|(index, program)| confiner.layers(program, index, &setup.directory)).collect()
}

/// Tries a program's layers, with each kind of user that its games may have.
fn try_program(
    confiner: &Confiner,
    setup: &Setup,
    index: usize,
    layers: &Layers,
    stack: &mut Stack,
) -> Result<(), LaunchStepError> {
    for identity in identities(confiner, setup, index, layers) {
        try_one(confiner, setup, layers, identity, stack)?;
    }
    Ok(())
}

fn identities(
    confiner: &Confiner,
    setup: &Setup,
    index: usize,
    layers: &Layers,
) -> Vec<Option<Identity>> {
    let (first, last) = setup.ports;
    let own = match setup.programs[index].template {
        Some(_) => vec![confiner.user_of_template(layers, index)],
        None => vec![confiner.user_of_port(layers, first), confiner.user_of_port(layers, last)],
    };
    let own: Vec<_> = own.into_iter().flatten().map(Identity::own).collect();
    match own.is_empty() {
        true => vec![confiner.named_user(layers)],
        false => own.into_iter().map(Some).collect(),
    }
}

fn try_one(
    confiner: &Confiner,
    setup: &Setup,
    layers: &Layers,
    identity: Option<Identity>,
    stack: &mut Stack,
) -> Result<(), LaunchStepError> {
    let directory = setup.directory.join(NAME);
    let of = |attempt| {
        move |error: io::Error| LaunchStepError {
            attempt,
            errno: error.raw_os_error().unwrap_or(0),
        }
    };
    // One that an earlier launcher left is as good.
    let _ = fs::remove_dir(&directory);
    let made = make_one(&directory, identity);
    let result = made.map_err(of(MAKE_DIRECTORY)).and_then(|()| {
        let tried = try_in(confiner, layers, &directory, identity, stack);
        tried.map_err(of("make a process")).and_then(|result| result)
    });
    let _ = fs::remove_dir(&directory);
    result
}

fn try_in(
    confiner: &Confiner,
    layers: &Layers,
    directory: &Path,
    identity: Option<Identity>,
    stack: &mut Stack,
) -> io::Result<Result<(), LaunchStepError>> {
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let group = confiner.make_group(layers, NAME);
    let none = std::iter::empty::<&Path>;
    let ruleset = layers.paths.as_ref().map(|paths| paths.ruleset(directory, none(), none(), None));
    let ruleset = ruleset.transpose().map_err(io::Error::other)?.flatten();
    let directory = c_string(directory.as_os_str().as_encoded_bytes())?;
    let plan = Plan {
        program: null.as_fd(),
        arguments: &[],
        environment: &[],
        directory: &directory,
        has_tmp: layers.has_tmp,
        socket: None,
        control: None,
        output: null.as_fd(),
        cgroup: group.as_ref().map(|group| group.procs.as_fd()),
        namespaces: &layers.namespaces(),
        limits: &layers.limits,
        files_max: layers.files_max,
        identity,
        own_namespace: None,
        drops_capabilities: layers.drops_capabilities,
        may_read_own_proc: false,
        no_new_privileges: layers.no_new_privileges,
        ruleset: ruleset.as_ref().map(|ruleset| ruleset.as_fd()),
        // The process makes no call after its filter but the one that ends it.
        filter: layers.filter(true, false),
        listens: false,
    };
    try_out(stack, &plan)
}

/// The remedy for a layer that fails with an error.
pub(crate) fn remedy(attempt: &str, errno: i32, program: &Program) -> String {
    use crate::launch_step::{CHANGE_USER, ENTER_CGROUP, ENTER_DIRECTORY, ENTER_NAMESPACE};
    match (attempt, errno) {
        (MAKE_DIRECTORY | CHANGE_USER, libc::EINVAL) => format!(
                        "this user namespace has other users ({}): set confinement.first_user so that first_user plus each \
             port is among them, give the container more (/etc/subuid), or set confinement.user of mode {}",
            fs::read_to_string("/proc/self/uid_map").map_or_else(
                |_| "/proc/self/uid_map".to_owned(),
                |map| users_of(&map)
            ),
            program.mode
        ),
        (MAKE_DIRECTORY | CHANGE_USER, _) => {
            "Muster needs CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_KILL for it".to_owned()
        }
        (ENTER_NAMESPACE, _) => "Muster needs CAP_SYS_ADMIN and CAP_SYS_CHROOT for it".to_owned(),
                (ENTER_DIRECTORY, _) => "give Muster its own root by pivot_root, as containers do, instead of a chroot".to_owned(),
        (ENTER_CGROUP, _) => "delegate a control group to Muster (systemd: Delegate=yes)".to_owned(),
                _ => "give Muster the privileges for it, or turn it off in the configuration".to_owned(),
    }
}

/// The users of a namespace, for people: "0 to 65535".
fn users_of(map: &str) -> String {
    let ranges = map.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (first, count) = (words.next()?.ok()?, words.nth(1)?.ok()?);
        Some(format!("{first} to {}", first + count.saturating_sub(1)))
    });
    ranges.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_namespace_are_shown_as_ranges() {
        assert_eq!(users_of("         0     100000      65536\n"), "0 to 65535");
        assert_eq!(users_of("0 1000 1\n1 100000 65536\n"), "0 to 0, 1 to 65536");
    }
}
