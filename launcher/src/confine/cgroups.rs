//! A control group for each game, in a tree that was delegated to Muster; cgroups(7), version 2.
//!
//! systemd delegates with `Delegate=memory cpu pids`. The tree's root must be empty before controllers are enabled
//! beneath it, so its processes move to a leaf first.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use log::{Level, info, log, warn};

use crate::program::Limits;

/// The controllers that the limits need.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The group of Muster's own processes.
const OWN_LEAF: &str = "muster";

/// The period of `cpu.max`, in microseconds; the kernel's default.
const PERIOD_US: u64 = 100_000;

/// A delegated tree.
#[derive(Debug)]
pub(super) struct Tree {
    path: PathBuf,
    has: Vec<&'static str>,
}

/// A game's control group.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    /// A process that writes "0" here joins the group.
    pub(crate) procs: OwnedFd,
}

impl Tree {
    /// Finds the delegated tree of this process. Most machines without systemd's unit have none: that is logged
    /// at a low level, and only the first time.
    pub(super) fn find(is_known: bool) -> Option<Self> {
        match Self::own().and_then(|path| Self::take(path).map_err(|error| error.to_string())) {
            Ok(tree) => {
                let missing: Vec<_> =
                    CONTROLLERS.into_iter().filter(|it| !tree.has.contains(it)).collect();
                match missing.is_empty() {
                    true => info!("control groups in {}", tree.path.display()),
                    false => warn!(
                        "control groups in {} without the controllers {}",
                        tree.path.display(),
                        missing.join(", ")
                    ),
                }
                Some(tree)
            }
            Err(why) => {
                let level = if is_known { Level::Debug } else { Level::Info };
                log!(level, "games have no control groups and no limits by them: {why}");
                None
            }
        }
    }

    fn own() -> Result<PathBuf, String> {
        let text = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let group = text.lines().find_map(|line| line.strip_prefix("0::"));
        let group = group.ok_or("this machine has none of version 2")?;
        if group == "/" {
            return Err("none was delegated to Muster (systemd: Delegate=memory cpu pids)".into());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let root = root.and_then(|mount| mount.get(1).copied());
        let root = root.ok_or("version 2 is not mounted")?;
        let group = Path::new(root).join(group.trim_start_matches('/'));
        // An earlier launcher moved all of Muster's processes to the leaf.
        match group.file_name().is_some_and(|name| name == OWN_LEAF) {
            true => Ok(group.parent().map(Path::to_owned).unwrap_or(group)),
            false => Ok(group),
        }
    }

    /// Prepares a tree for groups with limits.
    fn take(path: PathBuf) -> io::Result<Self> {
        let mine = io::Error::other(format!(
            "{} was not delegated to Muster (systemd: Delegate=memory cpu pids)",
            path.display()
        ));
        // cgroups(7), delegation: the tree was delegated to a user that may write this file; for root, who
        // may write any file, systemd sets an attribute.
        if nix::unistd::geteuid().is_root() && !is_marked_delegated(&path) {
            return Err(mine);
        }
        if nix::unistd::access(&path.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK).is_err()
        {
            return Err(mine);
        }
        let leaf = path.join(OWN_LEAF);
        let made = fs::create_dir(&leaf);
        made.or_else(|error| if leaf.is_dir() { Ok(()) } else { Err(error) })?;
        for pid in fs::read_to_string(path.join("cgroup.procs"))?.lines() {
            // A process that has ended meanwhile is not in the way.
            let _ = fs::write(leaf.join("cgroup.procs"), pid);
        }
        let there = fs::read_to_string(path.join("cgroup.controllers"))?;
        let handed_down = |controller: &&str| {
            there.split_ascii_whitespace().any(|it| it == *controller)
                && fs::write(path.join("cgroup.subtree_control"), format!("+{controller}")).is_ok()
        };
        let has = CONTROLLERS.into_iter().filter(handed_down).collect();
        Ok(Self { path, has })
    }

    /// Disables the controllers, so that the tree's root can have processes again: systemd puts a Muster there
    /// that is restarted while games live. Their limits are off until the next launcher sets them.
    pub(super) fn release(&self) {
        for controller in &self.has {
            let control = self.path.join("cgroup.subtree_control");
            if let Err(error) = fs::write(control, format!("-{controller}")) {
                warn!("cannot disable the controller {controller} for games: {error}");
            }
        }
    }

    /// Creates a group, or opens the one that an earlier launcher created.
    pub(super) fn make(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        let path = self.path.join(name);
        let made = fs::create_dir(&path);
        made.or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })?;
        let cpu = limits
            .cpu_max
            .map(|per_cent| format!("{} {PERIOD_US}", per_cent.saturating_mul(PERIOD_US) / 100));
        let values = [
            ("memory", "memory.max", limits.memory_max.map(|bytes| bytes.to_string())),
            // Swapped memory still counts; a game that uses it is as slow as a stopped one.
            ("memory", "memory.swap.max", limits.memory_max.map(|_| "0".to_owned())),
            ("cpu", "cpu.max", cpu),
            ("pids", "pids.max", limits.processes_max.map(|count| count.to_string())),
        ];
        for (controller, file, value) in values {
            if let Some(value) = value.filter(|_| self.has.contains(&controller)) {
                let written = fs::write(path.join(file), value);
                // Without swap the file does not exist.
                written.or_else(|error| match file {
                    "memory.swap.max" => Ok(()),
                    _ => Err(error),
                })?;
            }
        }
        let procs = fs::OpenOptions::new().write(true).open(path.join("cgroup.procs"))?;
        Ok(Group { path, procs: procs.into() })
    }
}

/// Whether systemd delegated a tree; systemd.resource-control(5), "Delegate=".
fn is_marked_delegated(path: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(path, name, &mut value).is_ok_and(|length| &value[..length] == b"1")
    })
}

/// The name of a game's control group.
pub(crate) fn game_group(game: u64) -> String {
    format!("game-{game}")
}

impl Group {
    /// Kills all processes in the group at once.
    pub(crate) fn kill(&self) {
        if let Err(error) = fs::write(self.path.join("cgroup.kill"), "1") {
            warn!("cannot kill the processes in {}: {error}", self.path.display());
        }
    }

    /// Whether the group has processes.
    pub(crate) fn is_populated(&self) -> bool {
        let events = fs::read_to_string(self.path.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }

    /// Whether the kernel has killed one of its processes because its memory was used up.
    pub(crate) fn was_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events"));
        let kills = |line: &str| line.strip_prefix("oom_kill ")?.parse::<u64>().ok();
        events.is_ok_and(|events| events.lines().filter_map(kills).any(|kills| kills > 0))
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// When the process is gone, or may not be moved.
    pub(crate) fn add(&self, pid: i32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Group {
    /// Removes the group, unless its game outlives this launcher: the next one opens it again.
    fn drop(&mut self) {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && !self.is_populated() => {
                warn!("cannot remove the control group {}: {error}", self.path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of plain files stands for a tree: this machine may have no writable one.
    #[test]
    fn limits_are_written_in_the_kernels_format() {
        let place = tempfile::tempdir().unwrap();
        let game = place.path().join("game-1");
        fs::create_dir(&game).unwrap();
        fs::write(game.join("cgroup.procs"), "").unwrap();
        let tree = Tree { path: place.path().into(), has: CONTROLLERS.to_vec() };
        let limits = Limits {
            memory_max: Some(1 << 20),
            cpu_time_max: None,
            cpu_max: Some(150),
            files_max: 16,
            file_size_max: None,
            directory_max: None,
            processes_max: Some(7),
        };
        let group = tree.make("game-1", &limits).unwrap();
        let read = |file: &str| fs::read_to_string(game.join(file)).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "7");
        group.add(17).unwrap();
        assert_eq!(read("cgroup.procs"), "17");
        assert!(!group.was_out_of_memory());
        for (kills, was) in [(0, false), (2, true)] {
            let events = format!("low 0\noom 3\noom_kill {kills}\noom_group_kill 0\n");
            fs::write(game.join("memory.events"), events).unwrap();
            assert_eq!(group.was_out_of_memory(), was);
        }
        std::mem::forget(group);
    }
}
