//! Makes a recorded request anew.

use super::{compare, house::House, pack::text};
use crate::{
    client::Request,
    json::{Fields as _, Object},
};

/// The first difference between the answer and the recorded one.
pub fn request_and_compare(house: &House, vector: &Object) -> Result<(), String> {
    let response = send(house, vector.object("request").ok_or("no request was recorded")?)?;
    compare::response(vector.object("response").ok_or("no response was recorded")?, response)
}

/// Sends a recorded request.
pub fn send(house: &House, recorded: &Object) -> Result<crate::client::Response, String> {
    let mut request = Request::new(recorded.text("method").unwrap_or("GET"), &text(recorded, "path"));
    let none = Object::new();
    for (name, value) in recorded.object("headers").unwrap_or(&none).iter() {
        let value = value.as_str().ok_or("a header is text")?;
        request = request.header(name, &value.replace("{{PORT}}", &house.address.port().to_string()));
    }
    if let Some(body) = recorded.text("body") {
        request = request.body(body);
    }
    request.send(house.address).map_err(|error| format!("the exchange failed: {error}"))
}
