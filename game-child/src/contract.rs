//! The environment variables of the contract that say how to reach Muster.

use protocol::GAME_PROTOCOL;

use crate::RunError;

/// Refuses a version of the contract that this library does not implement.
pub(crate) fn check_protocol() -> Result<(), RunError> {
    let other = process::variable("MUSTER_PROTOCOL").filter(|version| version != GAME_PROTOCOL);
    other.map_or(Ok(()), |other| Err(RunError::Protocol(other.to_string_lossy().into_owned())))
}

/// The number of the control channel, or of a template's channel.
pub(crate) fn control_number() -> Result<i32, RunError> {
    let text = process::variable("MUSTER_CONTROL_FD").ok_or(RunError::NotUnderMuster)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.filter(|number| *number >= 0).ok_or_else(|| {
        RunError::BadControlNumber(text.to_string_lossy().escape_debug().to_string())
    })
}
