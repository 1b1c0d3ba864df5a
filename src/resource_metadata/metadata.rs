//! One resource, and what is said of it.

use http::Uri;
use serde_json::{Map, Value, json};

use super::{InvalidUrl, invalid};
use crate::{Scope, bearer::Challenge};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of one protected resource (RFC 9728 section 2).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceMetadata {
    /// In the form in which hosts are compared.
    pub(super) host: String,
    /// Of the document.
    url: String,
    path: String,
    query: Option<String>,
    document: Map<String, Value>,
}

impl ResourceMetadata {
    /// Describes the resource at this URL, which is what clients call: `https://mcp.example.com/mcp`. It takes bearer
    /// tokens from the `Authorization` header.
    ///
    /// # Errors
    ///
    /// If the text is no `https` URL, or has a fragment (section 1.2). On loopback `http` will do.
    pub fn new(resource: &str) -> Result<Self, InvalidUrl> {
        let (uri, host) = invalid::parse(resource)?;
        let origin = format!("{}://{}", uri.scheme_str().unwrap_or_default(), authority_of(&uri));
        // The slash of a URL without a path is left out; that of a longer path stays (section 3.1).
        let path = format!("{WELL_KNOWN}{}", if uri.path() == "/" { "" } else { uri.path() });
        let query = uri.query().map(str::to_owned);
        let url = match &query {
            Some(query) => format!("{origin}{path}?{query}"),
            None => format!("{origin}{path}"),
        };
        let mut document = Map::new();
        document.insert("resource".into(), resource.into());
        document.insert("bearer_methods_supported".into(), json!(["header"]));
        Ok(Self { host, url, path, query, document })
    }

    /// Names the authorization servers that give tokens for the resource, by their issuer identifiers (RFC 8414
    /// section 2).
    ///
    /// # Errors
    ///
    /// If one is no `https` URL, or has a query or a fragment. On loopback `http` will do.
    pub fn with_authorization_servers<I>(self, issuers: I) -> Result<Self, InvalidUrl>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut servers = Vec::new();
        for issuer in issuers {
            let issuer = issuer.as_ref();
            let (uri, _) = invalid::parse(issuer)?;
            if uri.query().is_some() {
                return Err(InvalidUrl { text: issuer.to_owned(), reason: "an issuer has no query" });
            }
            servers.push(issuer.to_owned());
        }
        Ok(self.with_parameter("authorization_servers", servers))
    }

    /// Names the scopes that a client may ask for.
    #[must_use]
    pub fn with_scopes_supported(self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        let scopes: Vec<Value> = scopes.into_iter().map(|scope| scope.as_str().into()).collect();
        self.with_parameter("scopes_supported", scopes)
    }

    /// Names the resource for people.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        self.with_parameter("resource_name", name)
    }

    /// Any other parameter of section 2 or of the registry: `resource_documentation`, `bearer_methods_supported`,
    /// `resource_name#de`. Set again, it is replaced; set to [`Value::Null`], it is left out. What `resource` says stays
    /// as it is.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        match value.into() {
            _ if name == "resource" => {}
            Value::Null => drop(self.document.remove(name)),
            value => drop(self.document.insert(name.to_owned(), value)),
        }
        self
    }

    /// The URL of the document, which stands between the host and the path of the resource (section 3.1).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path at which the document is served.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> String {
        Value::Object(self.document.clone()).to_string()
    }

    /// The challenge that points to the document.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        // A URL that was parsed is visible ASCII.
        Challenge::new().with_resource_metadata(&self.url).unwrap_or_default()
    }

    /// The length of the resource's path, if `path` is it or lies below it.
    pub(super) fn contains(&self, path: &str) -> Option<usize> {
        let resource = self.path[WELL_KNOWN.len()..].trim_end_matches('/');
        let rest = path.strip_prefix(resource)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(resource.len())
    }

    pub(super) fn is_at(&self, uri: &Uri) -> bool {
        uri.path() == self.path && self.query.as_deref().is_none_or(|query| uri.query() == Some(query))
    }
}

fn authority_of(uri: &Uri) -> &str {
    uri.authority().map_or("", |authority| authority.as_str())
}
