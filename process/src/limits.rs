//! The limits of this crate.

/// Reads of a list of children, at most: where children are created and reaped all the time, no two reads agree.
pub(crate) const CHILDREN_READS_MAX: usize = 8;

/// Bytes of stack for what a new process does before it runs its program.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// Processors of a machine, at most.
pub(crate) const PROCESSORS_MAX: usize = 8192;

/// The highest score; proc_pid_oom_score_adj(5).
pub(crate) const OOM_SCORE_MAX: i32 = 1000;

/// Linux's default soft limit of a stack: an unlimited one changes the layout of a program's memory.
pub(crate) const STACK_MAX: u64 = 8 * 1024 * 1024;
