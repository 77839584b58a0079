//! Why games are stopped, in words for operators.

use std::borrow::Cow;

use brain::StopReason;

/// The sentence for the log.
pub(crate) fn text(reason: &StopReason) -> Cow<'static, str> {
    match reason {
        StopReason::Operator => "an operator wants it to end".into(),
        StopReason::OperatorKill => "an operator wants it dead".into(),
        StopReason::Shutdown => "the daemon is shutting down".into(),
        StopReason::DrainTimeout(timeout) => {
            format!("the drain time is over: shutdown.drain_timeout is {timeout:?}").into()
        }
        StopReason::PortNeeded => "its port is needed for another mode".into(),
        StopReason::Surplus => "more games are warm than are needed".into(),
        StopReason::ModeChanged => "its mode has changed".into(),
        StopReason::MaxDuration(longest) => {
            format!("its time is over: max_duration is {longest:?}").into()
        }
        StopReason::AliveTimeout(silence) => {
            format!("it missed its heartbeat: alive_timeout is {silence:?}").into()
        }
        StopReason::BrokeContract(what) => format!("it broke the contract: {what}").into(),
        StopReason::OutlivedKill => "it is still there after SIGKILL; trying again".into(),
    }
}

/// The key of the configuration whose limit ends the game, if one does.
pub(crate) const fn limit(reason: &StopReason) -> Option<&'static str> {
    match reason {
        StopReason::DrainTimeout(_) => Some("drain_timeout"),
        StopReason::MaxDuration(_) => Some("max_duration"),
        StopReason::AliveTimeout(_) => Some("alive_timeout"),
        _ => None,
    }
}
