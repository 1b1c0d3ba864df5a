//! Which schemes a challenge names (RFC 9110 section 11.6.1): those by which a caller gets in under the settings of
//! now.

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};

use super::rules::{Rules, Shown};

/// The scheme of a user name that a proxy vouches for. There is none in the registry (RFC 9110 section 16.4.1), and
/// a 401 without a challenge is not allowed.
const TRUSTED_PROXY: &[u8] = b"TrustedProxy";
const BEARER: &[u8] = b"Bearer";

/// Names them in the challenge for bearer tokens that the library wrote, if there is one.
pub fn name_schemes(headers: &mut HeaderMap, rules: &Rules) {
    let Some(challenge) = headers.get(WWW_AUTHENTICATE) else { return };
    match rules.shown() {
        Shown::Secret(_) => {}
        Shown::Nothing { .. } => drop(headers.remove(WWW_AUTHENTICATE)),
        Shown::Proxy { password, .. } => {
            let Some(parameters) = challenge.as_bytes().strip_prefix(BEARER) else { return };
            let Ok(proxied) = HeaderValue::from_bytes(&[TRUSTED_PROXY, parameters].concat()) else { return };
            let bearer = headers.insert(WWW_AUTHENTICATE, proxied);
            if let (Some(bearer), Some(_)) = (bearer, password) {
                headers.append(WWW_AUTHENTICATE, bearer);
            }
        }
    }
}
