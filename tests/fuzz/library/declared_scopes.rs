//! What a header declares never widens what a credential has, whoever it is: of one with scopes of its own it leaves those
//! that both have, by name or by implication; a token without any gets nothing by it; only who is vouched for gets what
//! is declared, and that and no more.

use std::{convert::Infallible, future::Ready};

use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_reauth::{Access, AuthMethod, Identity, Scope, ScopeResolverLayer, ScopeSet, Strict, scope::ScopeHierarchy};

use crate::support;

const READ: Scope = Scope::from_static("read");
const WRITE: Scope = Scope::from_static("write");
const ADMIN: Scope = Scope::from_static("admin");

/// The first byte chooses who calls; header lines are behind it.
pub(crate) fn run(input: &[u8]) {
    let Some((choice, lines)) = input.split_first() else { return };
    let (own, method) = match choice % 4 {
        0 => (Some(ScopeSet::from([WRITE])), AuthMethod::Token),
        1 => (Some(ScopeSet::from([ADMIN])), AuthMethod::SharedSecret),
        2 => (None, AuthMethod::Token),
        _ => (None, AuthMethod::TrustedProxy),
    };
    let mut identity = Identity::new("somebody", method);
    if let Some(own) = &own {
        identity = identity.with_scopes(own.clone());
    }
    let mut request = Request::new(());
    *request.headers_mut() = support::headers(lines);
    request.extensions_mut().insert(Access::new(identity));
    let values: Vec<Vec<u8>> =
        request.headers().get_all("x-scopes").iter().map(|value| value.as_bytes().to_vec()).collect();

    let hierarchy = ScopeHierarchy::new().with_all(ADMIN).with_implied(WRITE, READ);
    let layer = ScopeResolverLayer::new(Strict::new(READ))
        .with_hierarchy(hierarchy.clone())
        .with_declared_header("x-scopes".parse().expect("a name"));
    let handler = service_fn(|request: Request<()>| -> Ready<Result<Response<Option<ScopeSet>>, Infallible>> {
        let access: &Access = request.extensions().get().expect("it was put there");
        std::future::ready(Ok(Response::new(Some(access.granted().scopes().clone()))))
    });
    let Ok(response) = support::ready(layer.layer(handler).call(request));
    let Some(granted) = response.into_body() else {
        assert!(values.iter().map(Vec::len).sum::<usize>() > 16 * 1024, "refused, though it is not long");
        return;
    };

    let names = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
    let declared: ScopeSet =
        names.filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok()?.parse::<Scope>().ok()).collect();
    let expected = match (own, method, values.is_empty()) {
        (Some(own), _, true) => own,
        (Some(own), _, false) => declared
            .into_iter()
            .filter(|scope| own.iter().any(|own| own == scope || *own == ADMIN || (*own == WRITE && *scope == READ)))
            .collect(),
        (None, AuthMethod::TrustedProxy, true) => READ.into(),
        (None, AuthMethod::TrustedProxy, false) => declared,
        (None, ..) => ScopeSet::empty(),
    };
    assert_eq!(granted, expected);
}
