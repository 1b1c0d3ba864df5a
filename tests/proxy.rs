//! Callers that a trusted proxy vouches for, through the public API.

use std::{convert::Infallible, fs::File, net::SocketAddr, process::Command, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::time::advance;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    AuthMethod, Denied,
    bearer::{AuthLayer, Authenticate},
    proxy::{ClientAddress, OriginPolicy, PeerAddr, TrustedNetworks, TrustedProxy},
    verify::VerifyError,
};

const USER: HeaderName = HeaderName::from_static("x-user");
const SOURCE: HeaderName = HeaderName::from_static("x-auth-src");
const PROXY: [u8; 4] = [10, 0, 0, 1];

fn networks(texts: &[&str]) -> TrustedNetworks {
    TrustedNetworks::parse(texts).unwrap()
}

fn proxy() -> TrustedProxy {
    TrustedProxy::new(networks(&["10.0.0.0/8", "127.0.0.1"]), USER)
}

fn request(peer: [u8; 4], headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder().extension(PeerAddr(SocketAddr::from((peer, 40_000))));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

/// What the door says: the user, or why not.
async fn ask(proxy: &TrustedProxy, request: Request<()>) -> Result<String, Denied> {
    let user = proxy.present((&request).into())?;
    let identity = proxy.verify(&user).await?;
    assert_eq!(identity.method(), AuthMethod::TrustedProxy);
    Ok(identity.subject().to_owned())
}

#[tokio::test]
async fn the_user_is_the_text_of_the_header_without_the_space_around_it() {
    for (header, user) in
        [("alice", "alice"), (" bob@example.com\t", "bob@example.com"), ("josé", "josé"), ("a, b", "a, b")]
    {
        assert_eq!(ask(&proxy(), request(PROXY, &[("x-user", header)])).await.as_deref(), Ok(user));
    }
}

#[tokio::test]
async fn a_peer_outside_the_networks_names_nobody() {
    let stranger = || request([203, 0, 113, 9], &[("x-user", "alice"), ("x-forwarded-for", "10.0.0.1")]);
    assert_eq!(ask(&proxy(), stranger()).await, Err(Denied::Missing));
    let nobody = TrustedProxy::new(TrustedNetworks::none(), USER);
    assert_eq!(ask(&nobody, request(PROXY, &[("x-user", "alice")])).await, Err(Denied::Missing));
}

#[tokio::test]
async fn a_mapped_peer_is_the_ipv4_peer() {
    let mut request = request(PROXY, &[("x-user", "alice")]);
    request.extensions_mut().insert(PeerAddr("[::ffff:10.0.0.1]:40000".parse().unwrap()));
    assert_eq!(ask(&proxy(), request).await.as_deref(), Ok("alice"));
}

#[tokio::test]
async fn a_loopback_proxy_must_be_allowed() {
    let local = || request([127, 0, 0, 1], &[("x-user", "alice")]);
    assert_eq!(ask(&proxy(), local()).await, Err(Denied::Missing));
    assert_eq!(ask(&proxy().with_loopback_allowed(), local()).await.as_deref(), Ok("alice"));
    let elsewhere = TrustedProxy::new(networks(&["10.0.0.0/8"]), USER).with_loopback_allowed();
    assert_eq!(ask(&elsewhere, local()).await, Err(Denied::Missing));
}

#[tokio::test]
async fn a_required_header_must_be_there_and_not_blank() {
    let proxy = proxy().with_required_header(SOURCE);
    assert_eq!(ask(&proxy, request(PROXY, &[("x-user", "a")])).await, Err(Denied::Missing));
    assert_eq!(ask(&proxy, request(PROXY, &[("x-user", "a"), ("x-auth-src", " ")])).await, Err(Denied::Missing));
    assert_eq!(ask(&proxy, request(PROXY, &[("x-user", "a"), ("X-Auth-Src", "idp")])).await.as_deref(), Ok("a"));
}

#[tokio::test]
async fn no_user_two_users_and_an_unreadable_or_endless_user_are_refused() {
    let (most, more) = ("u".repeat(1_024), "u".repeat(1_025));
    assert_eq!(ask(&proxy(), request(PROXY, &[("x-user", &most)])).await, Ok(most));
    assert_eq!(ask(&proxy(), request(PROXY, &[("x-user", &more)])).await, Err(Denied::Malformed));
    assert_eq!(ask(&proxy(), request(PROXY, &[])).await, Err(Denied::Missing));
    assert_eq!(ask(&proxy(), request(PROXY, &[("x-user", "  ")])).await, Err(Denied::Missing));
    assert_eq!(ask(&proxy(), request(PROXY, &[("x-user", "a"), ("x-user", "b")])).await, Err(Denied::Malformed));
    let mut unreadable = request(PROXY, &[]);
    unreadable.headers_mut().insert(USER, http::HeaderValue::from_bytes(b"jos\xe9").unwrap());
    assert_eq!(ask(&proxy(), unreadable).await, Err(Denied::Malformed));
}

#[tokio::test]
async fn only_allowed_users_pass_letter_by_letter() {
    let proxy = proxy().with_allowed_users(["alice@example.com", "bob"]);
    assert_eq!(ask(&proxy, request(PROXY, &[("x-user", " bob ")])).await.as_deref(), Ok("bob"));
    for user in ["eve", "Bob", "alice@example.co"] {
        assert_eq!(ask(&proxy, request(PROXY, &[("x-user", user)])).await, Err(Denied::Rejected), "{user}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_unless_it_is_allowed() {
    let page = || request(PROXY, &[("x-user", "alice"), ("origin", "https://app.example.com")]);
    assert_eq!(ask(&proxy(), page()).await, Err(Denied::Rejected));
    let origins = OriginPolicy::new().with_allowed(["https://app.example.com".parse().unwrap()]);
    assert_eq!(ask(&proxy().with_origins(origins), page()).await.as_deref(), Ok("alice"));
}

#[tokio::test]
async fn a_server_that_does_not_name_the_peer_is_told_so() {
    let service = ServiceBuilder::new()
        .layer(AuthLayer::from_authenticator(proxy()))
        .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
    let request = Request::builder().header("x-user", "alice").body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 500);
}

#[tokio::test]
async fn a_recheck_asks_the_rules_of_now_about_user_and_peer() {
    let user =
        proxy().with_loopback_allowed().present((&request([127, 0, 0, 1], &[("x-user", "alice")])).into()).unwrap();
    let recheck = async |now: TrustedProxy| now.verify_again(&user).await.map(|who| who.subject().to_owned());

    assert_eq!(recheck(proxy().with_loopback_allowed()).await.as_deref(), Ok("alice"));
    assert_eq!(recheck(proxy().with_loopback_allowed().with_allowed_users(["alice"])).await.as_deref(), Ok("alice"));
    for now in [
        proxy(),
        proxy().with_loopback_allowed().with_allowed_users(["bob"]),
        TrustedProxy::new(networks(&["10.0.0.0/8"]), USER).with_loopback_allowed(),
    ] {
        assert_eq!(recheck(now).await, Err(VerifyError::Rejected));
    }
}

#[tokio::test]
async fn a_caller_of_other_header_rules_is_rejected_for_the_headers_are_gone() {
    let user = proxy().present((&request(PROXY, &[("x-user", "alice")])).into()).unwrap();
    assert!(proxy().verify_again(&user).await.is_ok());
    for now in [
        proxy().with_required_header(SOURCE),
        proxy().with_origins(OriginPolicy::new().with_any()),
        TrustedProxy::new(networks(&["10.0.0.0/8"]), SOURCE),
    ] {
        assert_eq!(now.verify_again(&user).await.unwrap_err(), VerifyError::Rejected);
    }
}

#[test]
fn streams_share_a_question_if_user_peer_and_header_rules_are_the_same() {
    let key = |proxy: &TrustedProxy, peer, user| {
        let caller = proxy.present((&request(peer, &[("x-user", user)])).into()).unwrap();
        proxy.key(&caller).expect("everyone has one")
    };
    let one = key(&proxy(), PROXY, "alice");
    assert_eq!(one, key(&proxy(), PROXY, " alice "));
    for other in [
        key(&proxy(), PROXY, "bob"),
        key(&proxy(), [10, 0, 0, 2], "alice"),
        key(&proxy().with_origins(OriginPolicy::new().with_any()), PROXY, "alice"),
    ] {
        assert_ne!(one, other);
    }
}

/// Runs a test of this file again in a process of its own, which may open 64 files. `true` in there.
fn is_short_of_descriptors(test: &str) -> bool {
    const MARK: &str = "TEST_WITH_FEW_DESCRIPTORS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let run = Command::new("sh")
        .args(["-c", r#"ulimit -n 64 && exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
    false
}

/// Every descriptor that is left.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_server_that_is_short_of_descriptors_says_503_and_neither_401_nor_yes() {
    if !is_short_of_descriptors("a_server_that_is_short_of_descriptors_says_503_and_neither_401_nor_yes") {
        return;
    }
    let alice = || request(PROXY, &[("x-user", "alice")]);
    let service = ServiceBuilder::new()
        .layer(AuthLayer::from_authenticator(proxy()))
        .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
    let ask = async || {
        let response = service.clone().oneshot(alice()).await.unwrap();
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry_after)
    };

    // Nothing is known yet.
    let taken = all_descriptors();
    assert_eq!(ask().await, (503, Some("1".to_owned())));
    drop(taken);
    assert_eq!(ask().await, (200, None));

    // What is known holds for a minute, at the door and for a stream.
    let proxy = proxy();
    let user = proxy.present((&alice()).into()).unwrap();
    let _taken = all_descriptors();
    assert_eq!(ask().await, (200, None));
    assert!(proxy.verify_again(&user).await.is_ok());
    advance(Duration::from_secs(60)).await;
    assert_eq!(ask().await, (503, Some("1".to_owned())));
    let denied = proxy.verify_again(&user).await.unwrap_err();
    assert_eq!(denied, VerifyError::unavailable_for(Duration::from_secs(1)));
}

#[tokio::test]
async fn an_address_of_this_machine_is_no_proxy() {
    let interfaces = if_addrs::get_if_addrs().unwrap();
    let own = interfaces.iter().map(|interface| interface.ip()).find(|address| !address.is_loopback());
    // A machine without a network has no such address.
    let Some(own) = own else { return };
    let everywhere = || TrustedProxy::new(networks(&["0.0.0.0/0", "::/0"]), USER).with_loopback_allowed();
    let mut disguised = request(PROXY, &[("x-user", "alice")]);
    disguised.extensions_mut().insert(PeerAddr(SocketAddr::new(own, 40_000)));
    assert_eq!(ask(&everywhere(), disguised).await, Err(Denied::Missing));
}

#[test]
fn what_stands_left_of_a_hop_that_is_not_trusted_is_a_strangers_word() {
    let client = |addresses: ClientAddress, header: &str, hops: &str| {
        let request = request(PROXY, &[(header, hops)]);
        addresses.resolve(request.headers(), PROXY.into()).to_string()
    };
    let addresses = || ClientAddress::new(networks(&["10.0.0.0/8"]));
    for seen in ["fe80::1%eth0", "unknown", "_hidden", "127.0.0.1", "unix:", ""] {
        assert_eq!(client(addresses(), "x-forwarded-for", &format!("6.6.6.6, {seen}")), "10.0.0.1", "{seen}");
        let behind = format!("6.6.6.6, {seen}, 10.9.9.9");
        assert_eq!(client(addresses(), "x-forwarded-for", &behind), "10.9.9.9", "{seen}");
    }
    let forwarded = "for=6.6.6.6, for=\"_hidden\", for=10.9.9.9;proto=https";
    assert_eq!(client(addresses().with_forwarded(), "forwarded", forwarded), "10.9.9.9");
    assert_eq!(client(addresses(), "forwarded", forwarded), "10.0.0.1");
}

#[test]
fn a_name_that_only_ends_with_the_letters_is_no_name_below() {
    let passes = |domain: &str, host: &str| {
        let page = request(PROXY, &[("origin", &format!("http://{host}")), ("host", host)]);
        OriginPolicy::new().with_same_private_host([domain]).allows(&page)
    };
    for domain in ["ts.net", ".ts.net", "TS.net"] {
        assert!(passes(domain, "box.ts.net") && passes(domain, "Box.TS.Net"), "{domain}");
        assert!(!passes(domain, "evilts.net"), "anybody can register evilts.net, and let it point here");
        assert!(!passes(domain, "ts.net"), "{domain}");
    }
}

#[tokio::test]
async fn what_a_page_of_another_site_embeds_is_refused_though_it_has_no_origin() {
    let embedded =
        |site| request(PROXY, &[("x-user", "alice"), ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")]);
    for site in ["cross-site", "same-site"] {
        assert_eq!(ask(&proxy(), embedded(site)).await, Err(Denied::Rejected), "{site}");
        let any = proxy().with_origins(OriginPolicy::new().with_any());
        assert_eq!(ask(&any, embedded(site)).await.as_deref(), Ok("alice"), "{site}");
    }
    for site in ["none", "same-origin"] {
        assert_eq!(ask(&proxy(), embedded(site)).await.as_deref(), Ok("alice"), "{site}");
    }
}

#[tokio::test]
async fn the_peer_is_found_where_axum_has_it() {
    use axum::{Router, extract::ConnectInfo, routing::get};
    let proxy = TrustedProxy::new(networks(&["127.0.0.1"]), USER)
        .with_loopback_allowed()
        .with_peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
    let app = Router::new()
        .route("/", get(async |who: tower_reauth::Identity| who.subject().to_owned()))
        .layer(AuthLayer::from_authenticator(proxy.clone()));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>());
    let server = tokio::spawn(server.into_future());
    let socket = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let get = Request::get("/").header("host", "a").header(USER, "alice").body(Empty::<Bytes>::new()).unwrap();
    let response = client.send_request(get).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "alice");
    server.abort();

    // It is looked for there and nowhere else.
    assert_eq!(ask(&proxy, request([127, 0, 0, 1], &[("x-user", "alice")])).await, Err(Denied::NoPeer));
    let mut mapped = request(PROXY, &[("x-user", "alice")]);
    mapped.extensions_mut().insert(ConnectInfo("[::ffff:127.0.0.1]:1".parse::<SocketAddr>().unwrap()));
    assert_eq!(ask(&proxy, mapped).await.as_deref(), Ok("alice"));
}
