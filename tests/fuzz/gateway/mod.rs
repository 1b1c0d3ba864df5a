//! The targets of the gateway: what strangers ask it for, and what lies in its state folder and its settings.

pub(crate) mod branch;
pub(crate) mod client_tokens;
pub(crate) mod compressed_record;
pub(crate) mod database;
pub(crate) mod history_query;
pub(crate) mod json;
pub(crate) mod openclaw_json;
pub(crate) mod projection;
pub(crate) mod request;
pub(crate) mod resume_id;
pub(crate) mod socket_message;
mod store;
pub(crate) mod transcript;
