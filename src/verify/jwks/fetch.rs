//! One fetch of the keys: first of the document that says where they are, if that is not known.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header::ACCEPT, uri::Scheme};

use super::{Jwks, JwksError, cache_control::freshness, settings::Place, settings::secure};
use crate::{
    claims,
    http_client::{
        MAX_BODY_LEN,
        secure::{shown, shown_url},
    },
    verify::jwt::KeySet,
};

/// What a provider answered.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// How long that is fresh, if it says so.
    pub(super) freshness: Option<Duration>,
}

impl Jwks {
    pub(super) async fn fetch(&self) -> Result<Fetched, JwksError> {
        let url = match &self.place {
            Place::KeySet(url) => url.clone(),
            Place::Issuer { issuer, documents } => self.discover(issuer, documents).await?,
        };
        let response = self.get(&url).await?;
        let keys = KeySet::read(response.body(), self.rsa, self.crypto)
            .map_err(|error| JwksError::KeySet(shown_url(&url), Arc::new(error)))?;
        Ok(Fetched { keys, freshness: freshness(response.headers()) })
    }

    /// Where the issuer says that its keys are.
    async fn discover(&self, issuer: &str, [openid, oauth]: &[Uri; 2]) -> Result<Uri, JwksError> {
        let (url, document) = match self.get(openid).await {
            Ok(document) => (openid, document),
            Err(JwksError::Status(_, status)) if status.is_client_error() => (oauth, self.get(oauth).await?),
            Err(error) => return Err(error),
        };
        let invalid = |problem: String| JwksError::Document(shown_url(url), problem);
        let members = claims::object(document.body()).map_err(|error| invalid(error.to_string()))?;
        let text = |name: &str| {
            let text = members.get(name).and_then(|value| value.as_str());
            text.ok_or_else(|| invalid(format!("`{name}` is missing, or is no text")))
        };
        match text("issuer")? {
            found if found == issuer => {
                let keys = secure(text("jwks_uri")?)?;
                // Not even to this machine: whatever listens there is none of the issuer's.
                let is_as_secure = keys.scheme() == Some(&Scheme::HTTPS) || url.scheme() != Some(&Scheme::HTTPS);
                if is_as_secure { Ok(keys) } else { Err(JwksError::Insecure(shown_url(&keys))) }
            }
            found => Err(JwksError::WrongIssuer(shown_url(url), found.to_owned())),
        }
    }

    async fn get(&self, url: &Uri) -> Result<Response<Bytes>, JwksError> {
        let request = Request::get(url).header(ACCEPT, "application/json, application/jwk-set+json").body(Bytes::new());
        let request = request.map_err(|_| JwksError::InvalidUrl(shown(&url.to_string())))?;
        let response = self.client.send(request).await;
        let response = response.map_err(|error| JwksError::Unreachable(shown_url(url), Arc::new(error)))?;
        match response.status() {
            StatusCode::OK if response.body().len() > MAX_BODY_LEN => Err(JwksError::TooLong(shown_url(url))),
            StatusCode::OK => Ok(response),
            status => Err(JwksError::Status(shown_url(url), status)),
        }
    }
}
