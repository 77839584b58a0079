//! What the brain knows, for an operator who looks for a defect: JSON, without what stands for a right. A copy is written
//! down by a thread, so that the loop is held up no longer than by an upgrade.

use std::sync::Arc;

use brain::Brain;
use protocol::Secret;
use serde_json::Value;

use super::Server;
use crate::operators::socket::PendingReply;
use crate::worker::{Next, Worker};
use protocol::admin::Refusal;

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

/// Parts of the matchmaker by which sessions and parties are found: halves of keys, and codes.
const HIDDEN_PARTS: [&str; 2] = ["sessions", "parties"];

/// A dump that is being written.
pub(super) struct Dump {
    asked_by: Option<PendingReply>,
    writer: Worker<String>,
}

impl Server {
    /// Begins to write down what the brain knows; it is answered later.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) fn begin_dump(&mut self, asked_by: Option<PendingReply>) -> Result<(), String> {
        if self.dump.is_some() {
            return Err("another dump is under way".to_owned());
        }
        let (brain, waker) = (self.brain.clone(), Arc::clone(&self.waker));
        let writer = Worker::spawn("dump", Some(waker), move |reporter| {
            reporter.send(without_secrets(&brain));
        });
        let writer = writer.map_err(|error| format!("cannot make a thread: {error}"))?;
        self.dump = Some(Dump { asked_by, writer });
        Ok(())
    }

    /// Another program goes on, and knows nothing of the dump.
    pub(super) fn break_dump_off(&mut self) {
        let asked_by = self.dump.take().and_then(|dump| dump.asked_by);
        let error = "another program goes on; ask that one".to_owned();
        let refusal = serde_json::to_string(&Refusal { error }).unwrap_or_default();
        if let (Some(admin), Some(asker)) = (&mut self.admin, asked_by) {
            admin.send_deferred(asker, &refusal);
        }
    }

    /// A dump may be written.
    pub(super) fn look_after_dump(&mut self) {
        let Some(dump) = &self.dump else { return };
        let text = match dump.writer.next() {
            Next::Report(text) => text,
            Next::Pending => return,
            Next::Ended => {
                let error = "the dump was broken off".to_owned();
                serde_json::to_string(&Refusal { error }).unwrap_or_default()
            }
        };
        let asked_by = self.dump.take().and_then(|dump| dump.asked_by);
        if let (Some(admin), Some(asker)) = (&mut self.admin, asked_by) {
            admin.send_deferred(asker, &text);
        }
    }
}

fn without_secrets(brain: &Brain) -> String {
    let mut state = serde_json::to_value(brain).unwrap_or_default();
    for part in HIDDEN_PARTS {
        if let Some(part) = state["matchmaker"].get_mut(part) {
            *part = HIDDEN.into();
        }
    }
    hide(&mut state);
    state.to_string()
}

/// Whatever has the form of a secret is taken for one.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) if text.parse::<Secret>().is_ok() => *value = HIDDEN.into(),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        _ => {}
    }
}
