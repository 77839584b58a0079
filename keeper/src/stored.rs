//! The descriptors that the keeper holds, by name, in order of arrival.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use service::store::{self, Given};

/// The largest number of stored descriptors.
pub(crate) const STORED_MAX: usize = 4096;

/// The largest total length of names in bytes, including separators: they are passed in one variable, which the kernel
/// limits to 128 KiB; execve(2), `MAX_ARG_STRLEN`.
const NAMES_MAX: usize = 120 * 1024;

/// The stored descriptors.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    descriptors: Vec<(String, OwnedFd)>,
    name_bytes: usize,
    is_full: bool,
}

impl Stored {
    /// Descriptors that the keeper inherited are meant for the daemon.
    pub(crate) fn of(mut given: Given) -> Self {
        let descriptors = given.claim_if(|_| true);
        let name_bytes = descriptors.iter().map(|(name, _)| name.len() + 1).sum();
        Self { descriptors, name_bytes, is_full: false }
    }

    pub(crate) fn put(&mut self, name: &str, descriptors: Vec<OwnedFd>) {
        if !store::is_name(name) {
            return log::warn!("cannot store descriptors under the name \"{name}\"");
        }
        for descriptor in descriptors {
            let bytes = self.name_bytes + name.len() + 1;
            let is_full = self.descriptors.len() == STORED_MAX || bytes > NAMES_MAX;
            if is_full && !std::mem::replace(&mut self.is_full, true) {
                log::warn!(
                    "the store is full with {} descriptors, {name} and others are dropped: after a \
                     crash of the daemon they will be missing",
                    self.descriptors.len()
                );
            }
            if is_full {
                return;
            }
            self.name_bytes = bytes;
            self.descriptors.push((name.to_owned(), descriptor));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.descriptors.retain(|(it, _)| it != name);
        self.name_bytes = self.descriptors.iter().map(|(name, _)| name.len() + 1).sum();
        self.is_full = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.descriptors.len()
    }

    /// All names, in the format of `LISTEN_FDNAMES`.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.descriptors.iter().map(|(name, _)| name.as_str()).collect();
        names.join(":")
    }

    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(|(_, descriptor)| descriptor.as_fd()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn descriptors_of_one_name_accumulate_and_are_removed_together() {
        let mut stored = Stored::default();
        stored.put("state", vec![descriptor()]);
        stored.put("game-1", vec![descriptor(), descriptor()]);
        stored.put("not:a:name", vec![descriptor()]);
        assert_eq!((stored.len(), stored.names().as_str()), (3, "state:game-1:game-1"));
        stored.remove("game-1");
        stored.remove("game-2");
        assert_eq!((stored.len(), stored.names().as_str()), (1, "state"));
        assert_eq!(stored.name_bytes, "state:".len());
    }

    #[test]
    fn the_store_is_bounded() {
        let mut stored = Stored::default();
        let long = "x".repeat(store::NAME_MAX);
        for _ in 0..NAMES_MAX / long.len() + 10 {
            stored.put(&long, vec![descriptor()]);
        }
        assert!(stored.is_full && stored.names().len() <= NAMES_MAX);
        stored.remove(&long);
        stored.put("state", vec![descriptor()]);
        assert_eq!(stored.names(), "state");
    }
}
