//! What agents tell each other is for the model only, and so is what a run that they began answers.

use std::collections::HashSet;

use super::{META, block, provenance::Provenance, run_id};
use crate::json::{Fields, Object};

/// Marks as hidden what is no part of the conversation with the user.
pub fn hide(messages: &mut [Object]) {
    let mut inputs = Inputs::default();
    for message in messages {
        if inputs.hides(message) {
            message.set("display", false);
        }
    }
}

/// The inputs so far, by their keys.
#[derive(Default)]
struct Inputs {
    hidden: HashSet<String>,
    /// Runs that a user's message has steered.
    steered: HashSet<String>,
}

impl Inputs {
    fn hides(&mut self, message: &Object) -> bool {
        let meta = message.object(META);
        let steers = || meta.and_then(|meta| meta.text("steerTargetRunId"));
        if block::is_user(message) {
            let is_hidden = Provenance::of(message).is_some_and(Provenance::is_coordination);
            if !is_hidden {
                self.steered.extend(steers().or_else(|| run_id(message)).map(str::to_owned));
            } else if steers().is_none() {
                let key = message.text("idempotencyKey").or_else(|| meta?.text("idempotencyKey"));
                self.hidden.extend(key.map(str::to_owned));
            }
            return is_hidden;
        }
        // Most sessions have none of this.
        !self.hidden.is_empty()
            && matches!(message.text("role"), Some("assistant" | "toolResult" | "custom"))
            && run_id(message)
                .is_some_and(|run| !self.steered.contains(run) && self.hidden.contains(&format!("{run}:user")))
    }
}
