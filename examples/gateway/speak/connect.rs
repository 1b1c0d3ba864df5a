//! The first request of a socket: `connect`, in which a client says who it is and what it wants.

use serde_json::{Value, json};

use super::{
    frame::Refusal,
    shape::{FILLED, Presence::*, Shape, wrong},
};
use crate::json::{Fields as _, Object, text::trim};

/// The version of the protocol that is spoken, and the oldest whose clients are told so in its words.
const PROTOCOL: u64 = 4;
const OLDEST: u64 = 3;

const MODES: [&str; 8] = ["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];
const CLIENTS: [&str; 17] = [
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-browser-copilot",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-linux",
    "openclaw-ios",
    "openclaw-watchos",
    "openclaw-android",
    "node-host",
    "openclaw-worker",
    "test",
    "fingerprint",
    "openclaw-probe",
];

const PARAMS: Shape = Shape::Members(&[
    ("minProtocol", Required, Shape::Integer(1, u64::MAX)),
    ("maxProtocol", Required, Shape::Integer(1, u64::MAX)),
    (
        "client",
        Required,
        Shape::Members(&[
            ("id", Required, Shape::OneOf(&CLIENTS)),
            ("displayName", Optional, FILLED),
            ("version", Required, FILLED),
            ("platform", Required, FILLED),
            ("deviceFamily", Optional, FILLED),
            ("modelIdentifier", Optional, FILLED),
            ("mode", Required, Shape::OneOf(&MODES)),
            ("instanceId", Optional, FILLED),
        ]),
    ),
    ("caps", Optional, Shape::List(&FILLED)),
    ("commands", Optional, Shape::List(&FILLED)),
    ("permissions", Optional, Shape::Map(&Shape::Bool)),
    ("pathEnv", Optional, Shape::Text),
    ("role", Optional, FILLED),
    ("scopes", Optional, Shape::List(&FILLED)),
    (
        "device",
        Optional,
        Shape::Members(&[
            ("id", Required, FILLED),
            ("publicKey", Required, FILLED),
            ("signature", Required, FILLED),
            ("signedAt", Required, Shape::Integer(0, u64::MAX)),
            ("nonce", Required, FILLED),
        ]),
    ),
    (
        "auth",
        Optional,
        Shape::Members(&[
            ("token", Optional, Shape::Text),
            ("bootstrapToken", Optional, Shape::Text),
            ("deviceToken", Optional, Shape::Text),
            ("password", Optional, Shape::Text),
            ("approvalRuntimeToken", Optional, Shape::Text),
            ("agentRuntimeIdentityToken", Optional, Shape::Text),
        ]),
    ),
    ("locale", Optional, Shape::Text),
    ("userAgent", Optional, Shape::Text),
]);

/// What a client says of itself. Nothing of it is believed.
pub struct Connect {
    pub client: &'static str,
    mode: &'static str,
    is_a_node: bool,
    has_a_device: bool,
    pub scopes: Vec<String>,
    token: Option<String>,
    password: Option<String>,
}

impl Connect {
    pub fn read(params: &Value) -> Result<Self, Refusal> {
        if let Some(what) = wrong(params, PARAMS) {
            return Err(Refusal::invalid(format!("invalid connect params: {what}")));
        }
        let nothing = Object::new();
        let params = params.as_object().unwrap_or(&nothing);
        let [least, most] = ["minProtocol", "maxProtocol"].map(|name| params.number(name).unwrap_or_default());
        if least > PROTOCOL as f64 || most < PROTOCOL as f64 {
            let [least, most] = ["minProtocol", "maxProtocol"].map(|name| params.get(name));
            return Err(Refusal::invalid("protocol mismatch").with_details(json!({
                "code": "PROTOCOL_MISMATCH",
                "clientMinProtocol": least,
                "clientMaxProtocol": most,
                "expectedProtocol": PROTOCOL,
                "minimumProbeProtocol": OLDEST,
            })));
        }
        let is_a_node = match params.text("role") {
            None | Some("operator") => false,
            Some("node") => true,
            Some(_) => return Err(Refusal::invalid("invalid role")),
        };
        let client = params.object("client").unwrap_or(&nothing);
        let one_of = |name, texts: &'static [&'static str]| {
            texts.iter().find(|text| client.says(name, text)).copied().unwrap_or_default()
        };
        let auth = params.object("auth").unwrap_or(&nothing);
        let scopes = params.array("scopes").into_iter().flatten();
        Ok(Self {
            client: one_of("id", &CLIENTS),
            mode: one_of("mode", &MODES),
            is_a_node,
            has_a_device: params.contains_key("device"),
            scopes: scopes.filter_map(Value::as_str).map(str::to_owned).collect(),
            token: auth.text("token").filter(|token| !token.is_empty()).map(str::to_owned),
            password: auth.text("password").filter(|password| !password.is_empty()).map(str::to_owned),
        })
    }

    /// What it shows where a password is asked for, or else a token, without the space around it. Either field can carry
    /// either.
    pub fn secret(&self, is_password: bool) -> Option<&str> {
        let [first, second] = if is_password { [&self.password, &self.token] } else { [&self.token, &self.password] };
        first.as_deref().or(second.as_deref()).map(trim)
    }

    /// Whether it says that it is a program of this machine that acts for its operator. A browser's page is none.
    pub fn is_a_tool(&self) -> bool {
        matches!((self.client, self.mode), ("gateway-client", "backend") | ("cli", "cli"))
    }

    /// Whether it says that it is a page, which has an origin.
    pub fn is_a_page(&self) -> bool {
        self.client == "openclaw-control-ui" || self.mode == "webchat"
    }

    /// Why one who is let in is not: it says that it is what is known by its device, which this gateway knows nobody by.
    pub fn lacks_a_device(&self) -> Option<Refusal> {
        if self.is_a_node {
            return Some(no_device());
        }
        let is_the_ui = matches!(self.client, "openclaw-control-ui" | "openclaw-tui") && !self.has_a_device;
        is_the_ui.then(|| {
            Refusal::invalid("control ui requires device identity (use HTTPS or localhost secure context)")
                .with_details(json!({ "code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" }))
        })
    }
}

/// Nothing was shown that says who the client is.
pub fn no_device() -> Refusal {
    let details = json!({ "code": "DEVICE_IDENTITY_REQUIRED" });
    Refusal { code: "NOT_PAIRED", ..Refusal::invalid("device identity required").with_details(details) }
}

/// The page may not call.
pub fn wrong_origin(reason: &str) -> Refusal {
    Refusal::invalid(
        "origin not allowed (open the Control UI from the gateway host or allow it in \
         gateway.controlUi.allowedOrigins)",
    )
    .with_details(json!({ "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason }))
}

/// What was shown is wrong.
pub fn wrong_secret(is_password: bool) -> Refusal {
    no_secret(is_password, "mismatch", "update_auth_credentials")
}

/// What was shown is blank.
pub fn blank_secret(is_password: bool) -> Refusal {
    no_secret(is_password, "missing", "update_auth_configuration")
}

fn no_secret(is_password: bool, what: &str, next: &str) -> Refusal {
    let kind = if is_password { "password" } else { "token" };
    let details = json!({
        "code": format!("AUTH_{kind}_{what}").to_uppercase(),
        "authReason": format!("{kind}_{what}"),
        "canRetryWithDeviceToken": false,
        "recommendedNextStep": next,
    });
    Refusal::invalid(format!("unauthorized: gateway {kind} {what} (provide gateway auth {kind})")).with_details(details)
}

/// The client failed too often, and may try again in so many milliseconds.
pub fn locked_out(retry_after: Option<u64>) -> Refusal {
    let details = json!({
        "code": "AUTH_RATE_LIMITED",
        "authReason": "rate_limited",
        "canRetryWithDeviceToken": false,
        "recommendedNextStep": "wait_then_retry",
    });
    let refusal = Refusal::invalid("unauthorized: too many failed authentication attempts (retry later)");
    Refusal { retry: Some(retry_after), ..refusal.with_details(details) }
}

/// The one who gets in is refused for a reason for which there is no word in the protocol.
pub fn unauthorized() -> Refusal {
    Refusal::invalid("unauthorized").with_details(json!({
        "code": "AUTH_UNAUTHORIZED",
        "authReason": "unauthorized",
        "canRetryWithDeviceToken": false,
        "recommendedNextStep": "review_auth_configuration",
    }))
}

/// The code with which a socket is closed after this.
pub fn close_code(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal { code: "UNAVAILABLE", .. } => 1013,
        Refusal { message, .. } if message == "protocol mismatch" => 1002,
        _ => 1008,
    }
}
