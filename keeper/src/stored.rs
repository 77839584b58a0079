//! The descriptors that the keeper holds, by name, in the order in which they came.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use service::store::{self, Given};

/// Descriptors in the store, at most.
pub(crate) const STORED_MAX: usize = 4096;

/// Bytes of names in the store, at most, each with one to part it from the next: they are handed over in one variable,
/// for which the kernel has 128 KiB; execve(2), `MAX_ARG_STRLEN`.
const NAMES_MAX: usize = 120 * 1024;

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    descriptors: Vec<(String, OwnedFd)>,
    name_bytes: usize,
    is_full: bool,
}

impl Stored {
    /// What was given to the keeper is for the daemon.
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

    /// All names, as `LISTEN_FDNAMES` has them.
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
    fn names_add_up_and_go_together() {
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
    fn it_has_an_end() {
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
