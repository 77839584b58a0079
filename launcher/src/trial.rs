//! Whether the machine lets games have the walls that are prepared for them: it is tried, once, when the launcher starts.
//!
//! What rights a process has cannot be told from its user: root of a container may lack capabilities, have a few users
//! only, or live where a security module says no. So each mode's walls are put up around a process that ends where a
//! game would begin ([`try_out`]). What fails is left out with one line, which names it, why, and what helps, and the
//! rest is tried again.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use process::Stack;

use crate::confine::{Confiner, Identity, Walls};
use crate::directories::make_one;
use crate::executable::c_string;
use crate::launch_step::{Plan, Stumble, try_out};
use crate::program::Program;
use crate::wire::Setup;

/// The attempt that precedes the launch step.
pub(crate) const MAKE_DIRECTORY: &str = "give a directory to its user";

/// The name of the working directory of trials, and of their control group.
const NAME: &str = "trial";

/// Trials, at most: each but the last one takes a layer away.
const TRIALS_MAX: usize = 16;

/// What confinement comes to here: what it works with, and each mode's walls.
pub(crate) fn walls(setup: &Setup, stack: &mut Stack) -> (Confiner, Vec<Walls>) {
    let mut confiner = Confiner::new(setup);
    for _ in 0..TRIALS_MAX {
        let walls = all_walls(&confiner, setup);
        let failed = setup.programs.iter().enumerate().find_map(|(mode, program)| {
            let stumble = try_mode(&confiner, setup, mode, &walls[mode], stack).err()?;
            Some((program, stumble))
        });
        match failed {
            Some((program, stumble)) if confiner.leave_out(stumble, program) => {}
            // What is none of a layer's will fail again, with the first game, which says so.
            Some(_) | None => return (confiner, walls),
        }
    }
    let walls = all_walls(&confiner, setup);
    (confiner, walls)
}

fn all_walls(confiner: &Confiner, setup: &Setup) -> Vec<Walls> {
    let programs = setup.programs.iter().enumerate();
    programs.map(|(mode, program)| confiner.walls(program, mode, &setup.place)).collect()
}

/// Tries a mode's walls, with every kind of user that its games may be.
fn try_mode(
    confiner: &Confiner,
    setup: &Setup,
    mode: usize,
    walls: &Walls,
    stack: &mut Stack,
) -> Result<(), Stumble> {
    for identity in identities(confiner, setup, mode, walls) {
        try_one(confiner, setup, walls, identity, stack)?;
    }
    Ok(())
}

fn identities(
    confiner: &Confiner,
    setup: &Setup,
    mode: usize,
    walls: &Walls,
) -> Vec<Option<Identity>> {
    let (first, last) = setup.ports;
    let own = match setup.programs[mode].template {
        Some(_) => vec![confiner.user_of_template(walls, mode)],
        None => vec![confiner.user_of_port(walls, first), confiner.user_of_port(walls, last)],
    };
    let own: Vec<_> = own.into_iter().flatten().map(Identity::own).collect();
    match own.is_empty() {
        true => vec![confiner.named_user(walls)],
        false => own.into_iter().map(Some).collect(),
    }
}

fn try_one(
    confiner: &Confiner,
    setup: &Setup,
    walls: &Walls,
    identity: Option<Identity>,
    stack: &mut Stack,
) -> Result<(), Stumble> {
    let directory = setup.place.join(NAME);
    let of = |attempt| {
        move |error: io::Error| Stumble { attempt, errno: error.raw_os_error().unwrap_or(0) }
    };
    // One that an earlier launcher left is as good.
    let _ = fs::remove_dir(&directory);
    let made = make_one(&directory, identity);
    let result = made.map_err(of(MAKE_DIRECTORY)).and_then(|()| {
        let tried = try_in(confiner, walls, &directory, identity, stack);
        tried.map_err(of("make a process")).and_then(|result| result)
    });
    let _ = fs::remove_dir(&directory);
    result
}

fn try_in(
    confiner: &Confiner,
    walls: &Walls,
    directory: &Path,
    identity: Option<Identity>,
    stack: &mut Stack,
) -> io::Result<Result<(), Stumble>> {
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let group = confiner.make_group(walls, NAME);
    let nobody = std::iter::empty::<&Path>;
    let ruleset =
        walls.paths.as_ref().map(|paths| paths.ruleset(directory, nobody(), nobody(), None));
    let ruleset = ruleset.transpose().map_err(io::Error::other)?.flatten();
    let directory = c_string(directory.as_os_str().as_encoded_bytes())?;
    let plan = Plan {
        program: null.as_fd(),
        arguments: &[],
        environment: &[],
        directory: &directory,
        has_tmp: walls.has_tmp,
        socket: None,
        control: None,
        output: null.as_fd(),
        cgroup: group.as_ref().map(|group| group.procs.as_fd()),
        namespaces: &walls.namespaces(),
        limits: &walls.limits,
        files_max: walls.files_max,
        identity,
        own_namespace: None,
        gives_up_rights: walls.gives_up_rights,
        sees_itself: false,
        no_new_privileges: walls.no_new_privileges,
        ruleset: ruleset.as_ref().map(|ruleset| ruleset.as_fd()),
        // The process makes no call after its filter but the one that ends it.
        filter: walls.filter(true, false),
        listens: false,
    };
    try_out(stack, &plan)
}

/// What helps against a layer that cannot be had for such an error.
pub(crate) fn cure(attempt: &str, errno: i32, program: &Program) -> String {
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
        (ENTER_DIRECTORY, _) => "give Muster a root of its own by pivot_root, as containers do, instead of a chroot".to_owned(),
        (ENTER_CGROUP, _) => "delegate a control group to Muster (systemd: Delegate=yes)".to_owned(),
        _ => "give Muster the rights for it, or turn it off in the configuration".to_owned(),
    }
}

/// The users of a namespace, as people write them: "0 to 65535".
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
    fn users_of_a_namespace_are_told_as_ranges() {
        assert_eq!(users_of("         0     100000      65536\n"), "0 to 65535");
        assert_eq!(users_of("0 1000 1\n1 100000 65536\n"), "0 to 0, 1 to 65536");
    }
}
