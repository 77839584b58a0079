//! The limits of this crate.

/// Reads of a list of children, at most: where children are created and reaped all the time, no two reads agree.
pub(crate) const CHILDREN_READS_MAX: usize = 8;

/// Bytes of stack for what a new process does before it runs its program.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// Processors of a machine, at most.
pub(crate) const PROCESSORS_MAX: usize = 8192;
