//! Which scopes a caller has: strategies, declared scopes, and what implies what.

use http::{HeaderName, HeaderValue, Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, AuthMethod, Compat, Identity, Scope, ScopeResolverLayer, ScopeSet, Strict,
    scope::{Declared, Granted, ScopeHierarchy},
};

use crate::support::{ADMIN, READ, WRITE, access};

const X_SCOPES: HeaderName = HeaderName::from_static("x-scopes");

/// What `layer` grants `identity`, with these headers.
async fn granted(layer: ScopeResolverLayer, identity: Identity, headers: &[&[u8]]) -> Granted {
    let mut request = Request::new(());
    request.extensions_mut().insert(Access::new(identity));
    for value in headers {
        request.headers_mut().append(X_SCOPES, HeaderValue::from_bytes(value).expect("a header can hold it"));
    }
    let service = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Some(access(&request).granted())))
    });
    let Ok(response) = service.oneshot(request).await;
    response.into_body().expect("the request was let through")
}

async fn scopes(layer: ScopeResolverLayer, identity: Identity, headers: &[&[u8]]) -> String {
    granted(layer, identity, headers).await.scopes().to_string()
}

fn strict() -> ScopeResolverLayer {
    ScopeResolverLayer::new(Strict::new([READ, WRITE])).with_declared_header(X_SCOPES)
}

fn compat() -> ScopeResolverLayer {
    ScopeResolverLayer::new(Compat::new([READ, WRITE])).with_declared_header(X_SCOPES)
}

const ABSENT: &[&[u8]] = &[];
const BLANK: &[&[u8]] = &[b""];
const DECLARES_READ: &[&[u8]] = &[b"history:read"];
const DECLARES_ADMIN: &[&[u8]] = &[b"admin"];
const DECLARES_ALL: &[&[u8]] = &[b"admin,history:read,history:write"];

/// What is granted when the header is absent, blank, declares `read`, `admin`, everything.
type Results = [&'static str; 5];

#[tokio::test]
async fn strict_and_compat_follow_their_tables() {
    use AuthMethod::{Anonymous, SharedSecret, Token, TrustedProxy};
    const ALL: &str = "admin history:read history:write";
    const DEFAULTS: &str = "history:read history:write";
    const NARROWED: Results = ["history:read", "", "history:read", "", "history:read"];
    const DECLARED: Results = [DEFAULTS, "", "history:read", "admin", ALL];
    let nothing_own: Option<&[Scope]> = Some(&[]);
    let read_own: Option<&[Scope]> = Some(&[READ]);

    // The method, the scopes of the credential, what strict and what compat make of it.
    #[rustfmt::skip]
    let table: [(AuthMethod, Option<&[Scope]>, Results, Results); 12] = [
        (SharedSecret, None,        [""; 5],   [DEFAULTS; 5]),
        (SharedSecret, nothing_own, [""; 5],   [""; 5]),
        (SharedSecret, read_own,    NARROWED,  NARROWED),
        (Token,        None,        [""; 5],   [""; 5]),
        (Token,        nothing_own, [""; 5],   [""; 5]),
        (Token,        read_own,    NARROWED,  NARROWED),
        (TrustedProxy, None,        DECLARED,  DECLARED),
        (TrustedProxy, nothing_own, [""; 5],   [""; 5]),
        (TrustedProxy, read_own,    NARROWED,  NARROWED),
        (Anonymous,    None,        DECLARED,  DECLARED),
        (Anonymous,    nothing_own, [""; 5],   [""; 5]),
        (Anonymous,    read_own,    NARROWED,  NARROWED),
    ];
    for (method, own, by_strict, by_compat) in table {
        let mut identity = Identity::new("somebody", method);
        if let Some(own) = own {
            identity = identity.with_scopes(own.iter().cloned().collect::<ScopeSet>());
        }
        let headers = [ABSENT, BLANK, DECLARES_READ, DECLARES_ADMIN, DECLARES_ALL];
        for (header, (by_strict, by_compat)) in headers.into_iter().zip(by_strict.into_iter().zip(by_compat)) {
            let case = format!("{method:?} {own:?} {header:?}");
            assert_eq!(scopes(strict(), identity.clone(), header).await, by_strict, "strict: {case}");
            assert_eq!(scopes(compat(), identity.clone(), header).await, by_compat, "compat: {case}");
        }
    }
}

#[tokio::test]
async fn a_header_that_is_not_configured_declares_nothing() {
    let layer = ScopeResolverLayer::new(Strict::new(READ));
    let proxied = Identity::new("somebody", AuthMethod::TrustedProxy);
    assert_eq!(scopes(layer, proxied, DECLARES_ADMIN).await, "history:read");
}

#[tokio::test]
async fn declared_scopes_are_a_comma_separated_list() {
    let cases: [(&[&[u8]], &str); 9] = [
        (&[b"a,b"], "a b"),
        (&[b" a , b "], "a b"),
        (&[b"a\t,\tb"], "a b"),
        (&[b"b,a,b,a"], "a b"),
        (&[b",,a,,"], "a"),
        (&[b","], ""),
        (&[b"  "], ""),
        (&[b"a", b"b, c"], "a b c"),
        // What is not a scope-token could not be required: it says nothing about the others.
        (&[b"a b,c\"d,caf\xe9,e"], "e"),
    ];
    for (headers, expected) in cases {
        let proxied = Identity::new("somebody", AuthMethod::TrustedProxy);
        assert_eq!(scopes(strict(), proxied, headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn a_declaration_narrows_to_what_a_scope_implies_and_never_widens() {
    let hierarchy = ScopeHierarchy::new().with_all(ADMIN).with_implied(WRITE, READ);
    let own = |scope: Scope| Identity::new("somebody", AuthMethod::Token).with_scopes(scope);
    let cases = [
        (ADMIN, DECLARES_READ, "history:read"),
        (READ, DECLARES_ADMIN, ""),
        (WRITE, DECLARES_ALL, "history:read history:write"),
    ];
    for (scope, declared, expected) in cases {
        let layer = strict().with_hierarchy(hierarchy.clone());
        assert_eq!(scopes(layer, own(scope.clone()), declared).await, expected, "{scope}");
    }
}

#[tokio::test]
async fn a_closure_is_a_strategy_of_ones_own() {
    let layer = ScopeResolverLayer::new(|identity: &Identity, declared: Declared<'_>| {
        assert_eq!(identity.subject(), "somebody");
        declared.narrow(&ScopeSet::from([READ, WRITE]))
    })
    .with_declared_header(X_SCOPES);
    let identity = Identity::new("somebody", AuthMethod::Anonymous);
    assert_eq!(scopes(layer.clone(), identity.clone(), ABSENT).await, "history:read history:write");
    assert_eq!(scopes(layer.clone(), identity.clone(), DECLARES_READ).await, "history:read");
    assert_eq!(scopes(layer, identity, BLANK).await, "");
}

#[tokio::test]
async fn without_a_resolver_a_caller_has_the_scopes_of_the_credential() {
    let own = Access::new(Identity::new("somebody", AuthMethod::Token).with_scopes(READ));
    assert_eq!(own.granted().scopes(), &READ.into());
    let none = Access::new(Identity::new("somebody", AuthMethod::SharedSecret));
    assert!(none.granted().scopes().is_empty());
}

#[test]
fn implications_are_transitive() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|scope| scope.parse::<Scope>().expect("a scope"));
    let hierarchy = ScopeHierarchy::new()
        .with_implied(c.clone(), d.clone())
        .with_implied(a.clone(), b.clone())
        .with_implied(b.clone(), c.clone());
    assert!(hierarchy.implies(&a, &d));
    assert!(hierarchy.implies(&b, &d));
    assert!(!hierarchy.implies(&d, &a));
    assert!(!hierarchy.implies(&c, &b));
    assert!(hierarchy.implies(&d, &d), "a scope stands for itself");
}

#[test]
fn what_implies_everything_does_so_at_the_end_of_a_chain_too() {
    let hierarchy = ScopeHierarchy::new().with_implied(WRITE, ADMIN).with_all(ADMIN);
    assert!(hierarchy.implies(&WRITE, &READ));
    assert!(hierarchy.implies(&WRITE, &"never:heard:of".parse().expect("a scope")));
    assert!(!hierarchy.implies(&READ, &WRITE));
}

#[test]
fn a_hierarchy_may_run_in_a_circle() {
    let circle = ScopeHierarchy::new().with_implied(READ, WRITE).with_implied(WRITE, READ).with_implied(READ, READ);
    assert!(circle.implies(&READ, &WRITE) && circle.implies(&WRITE, &READ));
    assert!(!circle.implies(&READ, &ADMIN));
}

#[test]
fn a_hierarchy_in_which_everything_implies_everything_else_is_decided_at_once() {
    let scopes: Vec<Scope> = (0..12).map(|i| format!("scope:{i}").parse().expect("a scope")).collect();
    let mut tangle = ScopeHierarchy::new();
    for holder in &scopes {
        for implied in &scopes {
            tangle = tangle.with_implied(holder.clone(), implied.clone());
        }
    }
    assert!(tangle.implies(&scopes[0], &scopes[11]));
    assert!(!tangle.implies(&scopes[0], &READ));
}

#[test]
fn by_default_a_scope_stands_for_itself_alone() {
    let hierarchy = ScopeHierarchy::new();
    assert!(hierarchy.allows(&READ.into(), &READ));
    assert!(!hierarchy.allows(&ADMIN.into(), &READ));
    assert!(!hierarchy.allows(&ScopeSet::empty(), &READ));
}

#[test]
fn a_scope_set_is_written_and_read_as_rfc_6749_says() {
    let set: ScopeSet = "b a  b c ".parse().expect("scopes");
    assert_eq!(set.to_string(), "a b c");
    assert_eq!(set, "c b a".parse().expect("scopes"));
    assert_eq!("".parse::<ScopeSet>().expect("no scopes"), ScopeSet::empty());
    assert!("a\tb".parse::<ScopeSet>().is_err());
}

#[tokio::test]
async fn what_a_client_declares_does_not_make_its_checks_dear() {
    let most = (0..2_730).map(|n| format!("{n:05}")).collect::<Vec<_>>().join(",");
    let own: ScopeSet = (0..30).map(|n| format!("own{n}").parse::<Scope>().expect("a scope")).collect();
    let mut hierarchy = ScopeHierarchy::new();
    for n in 0..29 {
        let scope = |n: usize| format!("own{n}").parse().expect("a scope");
        hierarchy = hierarchy.with_implied(scope(n), scope(n + 1));
    }
    let service = ServiceBuilder::new()
        .layer(strict().with_hierarchy(hierarchy))
        .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(())));
    let mut took = Vec::new();
    for (header, status) in [(None, 200), (None, 200), (Some(most.clone()), 200), (Some(most.repeat(20)), 400)] {
        let mut request = Request::new(());
        let identity = Identity::new("alice", AuthMethod::Token).with_scopes(own.clone());
        request.extensions_mut().insert(Access::new(identity));
        if let Some(header) = header {
            request.headers_mut().insert(X_SCOPES, header.parse().expect("ASCII"));
        }
        let started = std::time::Instant::now();
        let Ok(response) = service.clone().oneshot(request).await;
        took.push(started.elapsed());
        assert_eq!(response.status(), status);
    }
    let limit = took[1] + std::time::Duration::from_millis(50);
    assert!(took[2] < limit && took[3] < limit, "{took:?}: cold, without the header, with it, with too much of it");
}

#[test]
fn what_several_layers_grant_is_found_in_time_that_grows_with_the_sum_of_their_sets() {
    let scopes = |prefix: &str, count: usize| -> ScopeSet {
        (0..count).map(|n| format!("{prefix}{n}").parse::<Scope>().expect("a scope")).collect()
    };
    let mut hierarchy = ScopeHierarchy::new();
    for n in 0..79 {
        let scope = |n: usize| format!("own{n}").parse().expect("a scope");
        hierarchy = hierarchy.with_implied(scope(n), scope(n + 1));
    }
    let (few, many) = (Granted::new(scopes("own", 80), hierarchy.clone()), Granted::new(scopes("s", 2_730), hierarchy));
    let fastest = (0..3).map(|_| {
        let started = std::time::Instant::now();
        assert!(few.clone().and(many.clone()).scopes().is_empty());
        started.elapsed()
    });
    let fastest = fastest.min().expect("three");
    assert!(fastest < std::time::Duration::from_millis(50), "{fastest:?}");
}
