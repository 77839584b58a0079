//! Short forms in which the brain writes down what it has most of. They are read as the long forms are.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// A duration as its seconds and nanoseconds, without their names.
pub(crate) fn duration<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    (span.as_secs(), span.subsec_nanos()).serialize(to)
}

/// Whether a value need not be written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether a value that is one by default need not be written.
pub(crate) fn is_one<T: From<u8> + PartialEq>(value: &T) -> bool {
    *value == T::from(1)
}
