//! What the tests count: things looked at, whatever the machine. Nothing outside of tests.

#[cfg(test)]
thread_local! {
    static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one ticket, run or set that is looked at, or one step of a search.
pub(super) fn count() {
    #[cfg(test)]
    COUNT.set(COUNT.get() + 1);
}

/// How many things `work` looks at.
#[cfg(test)]
pub(super) fn of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    let done = work();
    (done, COUNT.get() - before)
}
