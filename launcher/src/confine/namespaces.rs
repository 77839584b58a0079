//! Namespaces that all games share: a network without interfaces, System V objects and message queues of their own,
//! and a read-only file system.
//!
//! They are created once, by a helper process ([`run`]) that enters them, sets them up and ends; the launcher keeps
//! them open, and every game enters them when it starts. All games share one set: creating a network namespace
//! takes longer than starting a game, and destroying one blocks the kernel for others. Users, Landlock and seccomp
//! separate the games from each other.
//!
//! Without root, all of this takes a user namespace, where the kernel permits those.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{is_beneath, unavailable};
use crate::wire::Setup;

/// The `argv[0]` by which the binary knows that it is the helper. `ps` shows it for a moment.
pub(crate) const NAME: &str = "muster-namespaces";

/// Directories with sockets and shared memory of other programs. Games find them empty.
const COVERED: &[&str] = &["/run", "/dev/shm"];

/// The namespaces that exist, opened.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// The one in which the others may be entered, if Muster is not root.
    pub(super) user: Option<OwnedFd>,
    pub(super) network: Option<OwnedFd>,
    pub(super) ipc: Option<OwnedFd>,
    pub(super) mount: Option<OwnedFd>,
    /// The /proc of that mount namespace, in which a game sees only itself.
    pub(super) proc: Option<OwnedFd>,
}

/// The namespaces that are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) network: bool,
    pub(super) ipc: bool,
    pub(super) mount: bool,
}

/// The helper's task.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    network: bool,
    ipc: bool,
    mount: bool,
    /// Paths that games may write.
    writable: Vec<PathBuf>,
    /// Paths that games may see although they are in a covered directory.
    shown: Vec<PathBuf>,
}

/// The helper's result: for each wanted namespace whether it was created, or why not.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    user: Option<Result<(), String>>,
    network: Option<Result<(), String>>,
    ipc: Option<Result<(), String>>,
    mount: Option<Result<(), String>>,
    proc: Option<Result<(), String>>,
}

impl Namespaces {
    pub(super) fn any(&self) -> bool {
        [&self.user, &self.network, &self.ipc, &self.mount].into_iter().any(Option::is_some)
    }

    /// Creates those that are wanted and available.
    pub(super) fn create(wanted: Wanted, setup: &Setup) -> Self {
        if !(wanted.network || wanted.ipc || wanted.mount) {
            return Self::default();
        }
        Self::try_create(wanted, setup).unwrap_or_else(|error| {
            unavailable("namespaces: games share the host's network and files", error);
            Self::default()
        })
    }

    fn try_create(wanted: Wanted, setup: &Setup) -> io::Result<Self> {
        let mut helper = Command::new("/proc/self/exe")
            .arg0(NAME)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let confinements = setup.programs.iter().map(|program| &program.confinement);
        let written = confinements.clone().flat_map(|it| it.write.iter().cloned());
        let read = confinements.flat_map(|it| it.read.iter().cloned());
        let named = setup.programs.iter().flat_map(|it| it.named_paths().map(Path::to_owned));
        let task = Task {
            network: wanted.network,
            ipc: wanted.ipc,
            mount: wanted.mount,
            writable: written.chain([setup.directory.clone()]).collect(),
            shown: read.chain(named).collect(),
        };
        let (Some(mut stdin), Some(stdout)) = (helper.stdin.take(), helper.stdout.take()) else {
            return Err(io::Error::other("no pipes to the helper"));
        };
        writeln!(stdin, "{}", serde_json::to_string(&task)?)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let done: Done = serde_json::from_str(&line)?;
        let open = |name: &str, layer: &str, done: &Option<Result<(), String>>| match done {
            Some(Ok(())) => File::open(format!("/proc/{}/ns/{name}", helper.id()))
                .map(OwnedFd::from)
                .inspect_err(|error| unavailable(layer, error))
                .ok(),
            Some(Err(why)) => {
                unavailable(layer, format!("{why}; {}", remedy()));
                None
            }
            None => None,
        };
        let made = Self {
            user: open("user", "a user namespace", &done.user),
            network: open("net", "a network namespace: games reach the network", &done.network),
            ipc: open("ipc", "an IPC namespace", &done.ipc),
            mount: open("mnt", "a mount namespace", &done.mount),
            proc: own_proc(&done, helper.id()),
        };
        // The helper ends at the end of its input.
        drop(stdin);
        helper.wait()?;
        Ok(made)
    }
}

/// The remedy for a namespace that is unavailable.
fn remedy() -> &'static str {
    match geteuid().is_root() {
        true => "Muster needs CAP_SYS_ADMIN for it, or a kernel that has them",
        false => {
            "start Muster as root, or allow user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces)"
        }
    }
}

/// The /proc that the helper has mounted, if it could.
fn own_proc(done: &Done, helper: u32) -> Option<OwnedFd> {
    let why = match done.proc.as_ref()? {
        Ok(()) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let place = format!("/proc/{helper}/root/proc");
            match rustix::fs::open(place, flags, Mode::empty()) {
                Ok(proc) => return Some(proc),
                Err(error) => error.to_string(),
            }
        }
        Err(why) => why.clone(),
    };
    // Games are confined without it as well: they see less.
    log::info!(
        "games have no /proc of their own: {why}; each sees itself in the host's, and not its children"
    );
    None
}

/// The helper: creates the namespaces, reports the result, and waits until its input ends, so that the launcher can
/// open them.
pub(crate) fn run() -> ExitCode {
    let mut line = String::new();
    let mut stdin = BufReader::new(io::stdin().lock());
    let task = stdin.read_line(&mut line).map_err(|error| error.to_string());
    let task =
        task.and_then(|_| serde_json::from_str::<Task>(&line).map_err(|error| error.to_string()));
    let Ok(task) = task else { return ExitCode::from(2) };
    let done = enter_all(&task);
    let result = serde_json::to_string(&done).unwrap_or_default();
    let is_sent = writeln!(io::stdout(), "{result}").is_ok();
    let _ = stdin.read_to_end(&mut Vec::new());
    if is_sent { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn enter_all(task: &Task) -> Done {
    let mut done = Done::default();
    if !geteuid().is_root() {
        let user = enter_user_namespace();
        if let Err(why) = &user {
            let failed = |is_wanted: bool| is_wanted.then(|| Err(why.clone()));
            done.network = failed(task.network);
            done.ipc = failed(task.ipc);
            done.mount = failed(task.mount);
            return done;
        }
        done.user = Some(user);
    }
    let enter = |flag| unshare(flag).map_err(|error| error.to_string());
    done.network = task.network.then(|| enter(CloneFlags::CLONE_NEWNET));
    done.ipc = task.ipc.then(|| enter(CloneFlags::CLONE_NEWIPC));
    done.mount = task.mount.then(|| {
        enter(CloneFlags::CLONE_NEWNS)?;
        set_up_mounts(task, &mut done.proc).map_err(|error| error.to_string())
    });
    done
}

/// Enters a user namespace in which this user keeps its number, and has all capabilities.
fn enter_user_namespace() -> Result<(), String> {
    let (user, group) = (geteuid(), getegid());
    let enter = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        // user_namespaces(7): without this only root may map groups.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
    };
    enter().map_err(|error| format!("a user namespace: {error}"))
}

/// Covers some directories, and makes everything read-only except what games may write.
fn set_up_mounts(task: &Task, proc: &mut Option<Result<(), String>>) -> io::Result<()> {
    let nothing: Option<&Path> = None;
    // Mounts here do not propagate to the host, nor the other way round.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, flags, nothing)?;
    // Opened before they are covered.
    let seen: Vec<(&PathBuf, File)> = (task.writable.iter().chain(&task.shown))
        .filter_map(|path| Some((path, File::open(path).ok()?)))
        .collect();
    for place in COVERED.iter().map(Path::new).filter(|place| place.is_dir()) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("none"), place, Some("tmpfs"), flags, Some("mode=0755,size=64k"))?;
        for (path, opened) in seen.iter().filter(|(path, _)| is_beneath(path, place)) {
            create_mount_point(path, &opened.metadata()?)?;
        }
    }
    for (path, opened) in &seen {
        let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source.as_str()), path.as_path(), nothing, flags, nothing)?;
    }
    *proc = Some(mount_proc().map_err(|error| error.to_string()));
    process::seal_mounts(c"/")?;
    for path in &task.writable {
        let path = CString::new(path.as_os_str().as_encoded_bytes())?;
        process::unseal_mount(&path)?;
    }
    Ok(())
}

/// Covers /proc by one in which each game sees its own processes only, and nothing of the machine: proc(5).
/// Language runtimes do not start without /proc.
fn mount_proc() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // "ptraceable", unlike "invisible", makes no exception for a group. Kernels before 5.8 do not know the name
    // and refuse it: for them it would be an option of the host's /proc, too.
    mount(Some("proc"), "/proc", Some("proc"), flags, Some("hidepid=ptraceable,subset=pid"))
}

/// Creates a file or directory that another one of its kind can be mounted on.
fn create_mount_point(path: &Path, what: &fs::Metadata) -> io::Result<()> {
    if what.is_dir() {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path).map(drop)
}
