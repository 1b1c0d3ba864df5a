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
        self.is_sent()
            && (self.0.says("sourceRole", "subagent") || self.get("sourceSessionKey").is_some_and(is_subagent))
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

/// Whether a session's key says that it is one of an agent that another one began.
fn is_subagent(key: &str) -> bool {
    let key = key.to_lowercase();
    let of_agent = key.strip_prefix("agent:").and_then(|rest| rest.split_once(':'));
    let own = of_agent.filter(|(agent, own)| !agent.is_empty() && !own.is_empty()).map_or(&*key, |(_, own)| own);
    own.starts_with("subagent:") || own.contains(":subagent:")
}

#[cfg(test)]
mod tests {
    use super::{super::table::object, *};

    #[test]
    fn who_is_sent_by_an_agent_that_another_one_began_is_told_by_role_or_key() {
        for (role, key, expected) in [
            ("subagent", "agent:main:main", true),
            ("", "agent:main:subagent:x", true),
            ("", "agent:main:subagent:x:subagent:y", true),
            ("", "Agent:Main:Subagent:x", true),
            ("", "subagent:x", true),
            ("", "agent:main:thread:subagent:x", true),
            ("", "agent:subagent:main", false),
            ("", "agent:main:mysubagent:x", false),
            ("", "agent:main:main", false),
            ("", "", false),
        ] {
            for (tool, sends) in [("sessions_send", true), ("subagent_announce", false)] {
                let message = object(&format!(
                    r#"{{"provenance":{{"kind":"inter_session","sourceTool":"{tool}","sourceRole":"{role}","sourceSessionKey":"{key}"}}}}"#
                ));
                let is = Provenance::of(&message).is_some_and(Provenance::is_coordination);
                assert_eq!(is, expected && sends, "{role:?} {key} {tool}");
            }
        }
    }
}
