//! Counts the cost of searches for tests: the number of checked items, independent of the machine. Empty otherwise.

#[cfg(test)]
thread_local! {
    static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one checked ticket, run or set, or one step of a search.
pub(super) fn count() {
    #[cfg(test)]
    COUNT.set(COUNT.get() + 1);
}

/// The number of items that `work` checks.
#[cfg(test)]
pub(super) fn of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    let done = work();
    (done, COUNT.get() - before)
}
