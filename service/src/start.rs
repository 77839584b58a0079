//! The clean start of the daemon and of the keeper: inherited state is reset, and failures are logged once there is a
//! log.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::path::Path;

use process::start::{self, Failure, Part};

use crate::store;

/// The inherited state that could not be reset.
#[must_use]
pub struct Flaws(Vec<Failure>);

/// Resets the state that this process inherited. Must be called before anything is opened. Passed descriptors stay
/// open: those of the service manager, and that of a configuration such as `/dev/fd/63`. After an upgrade in place no
/// descriptor is closed.
pub fn begin(config: Option<&Path>, is_upgrade: bool) -> Flaws {
    let mut flaws = start::begin(Part::Service);
    // After an upgrade the process only has descriptors that the previous program kept on purpose.
    if !is_upgrade {
        let config = config.and_then(descriptor_of).map(|number| number..=number);
        let kept: Vec<RangeInclusive<RawFd>> =
            store::given_numbers().into_iter().chain(config).collect();
        let closed = start::close_unknown_descriptors(&kept);
        flaws.extend(closed.err().map(|error| ("close what it inherited", error)));
    }
    Flaws(flaws)
}

impl Flaws {
    /// Logs the failures.
    pub fn tell(self) {
        for (attempt, error) in self.0 {
            if error.kind() == io::ErrorKind::PermissionDenied {
                log::info!("cannot {attempt}: {error}; keeping the inherited state");
            } else {
                log::warn!("cannot {attempt}: {error}; keeping the inherited state");
            }
        }
    }
}

/// The number of a descriptor by its path; proc_pid_fd(5).
fn descriptor_of(path: &Path) -> Option<RawFd> {
    let directories = ["/dev/fd", "/proc/self/fd"];
    let number = directories.iter().find_map(|directory| path.strip_prefix(directory).ok())?;
    number.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_that_of_a_descriptor() {
        let number = |path: &str| descriptor_of(Path::new(path));
        assert_eq!(number("/dev/fd/63"), Some(63));
        assert_eq!(number("/proc/self/fd/7"), Some(7));
        assert_eq!(number("/etc/muster/muster.toml"), None);
        assert_eq!(number("/dev/fd/x"), None);
    }
}
