//! Where the input of a turn came from, if not from the user.

use crate::json::{Fields, Object};

/// What a message says of its origin.
#[derive(Clone, Copy)]
pub struct Provenance<'m>(&'m Object);

impl<'m> Provenance<'m> {
    pub fn of(message: &'m Object) -> Option<Self> {
        let provenance = message.object("provenance")?;
        let kind = provenance.text("kind")?;
        ["external_user", "inter_session", "internal_system"].contains(&kind).then_some(Self(provenance))
    }

    /// The text of this field.
    pub fn get(self, key: &str) -> Option<&'m str> {
        self.0.trimmed(key)
    }

    fn is_from(self, kind: &str, tool: &str) -> bool {
        self.0.says("kind", kind) && self.get("sourceTool") == Some(tool)
    }

    /// Sent by another session.
    pub fn is_sent(self) -> bool {
        self.is_from("inter_session", "sessions_send")
    }

    /// Of a scheduled run.
    pub fn is_cron_run(self) -> bool {
        self.is_from("internal_system", "cron")
            && ["jobId", "runId", "sourceSessionKey"].iter().all(|key| self.get(key).is_some())
    }

    /// Sent by an agent to the one that coordinates it.
    pub fn is_coordination(self) -> bool {
        self.is_sent() && self.0.says("sourceRole", "subagent")
    }

    /// The report of an agent or a task that has ended.
    pub fn is_report(self) -> bool {
        const TOOLS: [&str; 6] = [
            "subagent_announce",
            "subagent_settle",
            "agent_harness_task",
            "image_generate",
            "music_generate",
            "video_generate",
        ];
        let tool = self.get("sourceTool").map(str::to_lowercase);
        self.0.says("kind", "inter_session") && tool.is_some_and(|tool| TOOLS.contains(&tool.as_str()))
    }
}
