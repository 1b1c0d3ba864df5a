//! What the claims of a token must be, and whose identity they make.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tower_reauth::{Identity, verify::jwt::JwtVerifier};

use crate::{AUDIENCE, ISSUER, key_set, signer::Signer, verdict, verifier, word};

struct House {
    signer: Signer,
    verifier: JwtVerifier,
}

fn house() -> House {
    let signer = Signer::new("key", "EdDSA");
    let verifier = verifier(key_set(&[signer.jwk()]));
    House { signer, verifier }
}

impl House {
    fn with(mut self, change: impl FnOnce(JwtVerifier) -> JwtVerifier) -> Self {
        self.verifier = change(self.verifier);
        self
    }

    /// The word for a token whose claims are the usual ones but for these; `null` takes one away.
    async fn word(&self, changes: Value) -> &'static str {
        word(&self.verifier, &self.signer.token(&changed(changes))).await
    }

    async fn identity(&self, changes: Value) -> Identity {
        verdict(&self.verifier, &self.signer.token(&changed(changes))).await.expect("it is good")
    }

    async fn scopes(&self, changes: Value) -> String {
        self.identity(changes).await.scopes().expect("a token has scopes of its own").to_string()
    }
}

fn changed(changes: Value) -> Value {
    let mut claims = Signer::claims();
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn at(seconds: f64) -> Option<SystemTime> {
    Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))
}

#[tokio::test]
async fn an_identity_is_what_the_claims_say() {
    let identity = house().identity(json!({ "jti": "7", "iat": 1_000_000_000, "nbf": 1_000_000_001.5 })).await;
    assert_eq!((identity.issuer(), identity.subject()), (Some(ISSUER), "alice"));
    assert_eq!(identity.credential_id(), Some("7"));
    assert_eq!(identity.issued_at(), at(1_000_000_000.0));
    assert_eq!(identity.not_before(), at(1_000_000_001.5));
    assert_eq!(identity.expires_at(), at(4_000_000_000.0));
    assert_eq!(identity.scopes().expect("scopes").to_string(), "read write");
    assert_eq!(house().identity(json!({ "scope": null })).await.scopes().map(|scopes| scopes.is_empty()), Some(true));
}

#[tokio::test]
async fn a_token_comes_from_the_issuer_and_is_for_the_audience() {
    let house = house();
    for (changes, word) in [
        (json!({}), "good"),
        (json!({ "iss": format!("{ISSUER}/") }), "wrong_issuer"),
        (json!({ "iss": "HTTPS://ISSUER.EXAMPLE" }), "wrong_issuer"),
        (json!({ "iss": "" }), "wrong_issuer"),
        (json!({ "iss": [ISSUER] }), "invalid_claim"),
        (json!({ "iss": null }), "missing_claim"),
        (json!({ "aud": [AUDIENCE] }), "good"),
        (json!({ "aud": ["another", AUDIENCE] }), "good"),
        (json!({ "aud": "another" }), "wrong_audience"),
        (json!({ "aud": format!("{AUDIENCE} another") }), "wrong_audience"),
        (json!({ "aud": "" }), "wrong_audience"),
        (json!({ "aud": [] }), "wrong_audience"),
        (json!({ "aud": [AUDIENCE, 7] }), "invalid_claim"),
        (json!({ "aud": { "aud": AUDIENCE } }), "invalid_claim"),
        (json!({ "aud": null }), "missing_claim"),
        (json!({ "sub": null }), "missing_claim"),
        (json!({ "sub": "" }), "invalid_claim"),
        (json!({ "sub": 7 }), "invalid_claim"),
        (json!({ "jti": 7 }), "invalid_claim"),
    ] {
        assert_eq!(house.word(changes.clone()).await, word, "{changes}");
    }
    let more = house.with(|verifier| verifier.with_audience("another"));
    assert_eq!(more.word(json!({ "aud": "another" })).await, "good");
    assert_eq!(more.word(json!({})).await, "good");
    assert_eq!(more.word(json!({ "aud": "a third" })).await, "wrong_audience");
    let any = more.with(JwtVerifier::with_any_audience);
    assert_eq!(any.word(json!({ "aud": null })).await, "good");
}

#[tokio::test]
async fn a_date_is_a_number_that_this_system_can_express() {
    let house = house();
    for (date, word) in [
        (json!(4_000_000_000_u64), "good"),
        (json!(4_000_000_000.25), "good"),
        (json!(4e9), "good"),
        (json!(1), "good"),
        (json!(-1), "good"),
        (json!(-1.5), "good"),
        (json!(253_402_300_799_u64), "good"),
        (json!(u64::MAX), "invalid_claim"),
        (json!(1e300), "invalid_claim"),
        (json!(-1e300), "invalid_claim"),
        (json!("4000000000"), "invalid_claim"),
        (json!([4_000_000_000_u64]), "invalid_claim"),
        (json!({}), "invalid_claim"),
        (json!(true), "invalid_claim"),
    ] {
        for name in ["exp", "nbf", "iat"] {
            assert_eq!(house.word(json!({ (name): date })).await, word, "{name} {date}");
        }
    }
    // `null` is a value, and no date; here it must not take the claim away.
    for name in ["exp", "nbf", "iat"] {
        let mut claims = Signer::claims();
        claims[name] = Value::Null;
        assert_eq!(word(&house.verifier, &house.signer.token(&claims)).await, "invalid_claim", "{name}");
    }
    assert_eq!(house.word(json!({ "exp": null })).await, "missing_claim");
    let for_ever = house.with(JwtVerifier::with_optional_expiry);
    assert_eq!(for_ever.identity(json!({ "exp": null })).await.expires_at(), None);
    assert_eq!(for_ever.word(json!({ "exp": "never" })).await, "invalid_claim");
}

#[tokio::test]
async fn scopes_are_a_text_or_an_array() {
    let house = house();
    for (changes, scopes) in [
        (json!({ "scope": "write  read " }), "read write"),
        (json!({ "scope": "" }), ""),
        (json!({ "scope": null, "scp": "files.read mail.send" }), "files.read mail.send"),
        (json!({ "scope": null, "scp": ["b", "a", "a"] }), "a b"),
        (json!({ "scope": "a", "scp": ["b"] }), "a b"),
        (json!({ "scope": ["a", "b"] }), "a b"),
        (json!({ "roles": ["admin"] }), "read write"),
    ] {
        assert_eq!(house.scopes(changes.clone()).await, scopes, "{changes}");
    }
    for changes in [
        json!({ "scope": 7 }),
        json!({ "scope": ["a b"] }),
        json!({ "scope": ["a", 7] }),
        json!({ "scope": [""] }),
        json!({ "scope": "a \"b\"" }),
        json!({ "scp": { "a": true } }),
    ] {
        assert_eq!(house.word(changes.clone()).await, "invalid_claim", "{changes}");
    }
}

#[tokio::test]
async fn roles_are_scopes_where_it_was_said_that_they_are() {
    let keycloak = house().with(|verifier| verifier.with_scopes_at(["realm_access", "roles"]));
    let roles = |roles: Value| json!({ "scope": "openid", "realm_access": { "roles": roles } });
    assert_eq!(keycloak.scopes(roles(json!(["admin", "Domain Users", "ops"]))).await, "admin openid ops");
    assert_eq!(keycloak.scopes(roles(json!("admin"))).await, "admin openid");
    assert_eq!(keycloak.scopes(roles(json!("Domain Users"))).await, "openid");
    assert_eq!(keycloak.scopes(json!({ "realm_access": 7 })).await, "read write");
    assert_eq!(keycloak.word(roles(json!({ "admin": true }))).await, "invalid_claim");

    let several = keycloak.with(|verifier| verifier.with_scopes_at(["https://api.example/roles"]));
    let changes = json!({ "scope": null, "https://api.example/roles": ["a"], "realm_access": { "roles": ["b"] } });
    assert_eq!(several.scopes(changes).await, "a b");
}

#[tokio::test]
async fn the_tokens_of_the_providers_that_people_have_are_read_by_the_recipes() {
    // Keycloak: the audience is a mapper's, roles stand in two places.
    let keycloak = house()
        .with(|verifier| verifier.with_scopes_at(["realm_access", "roles"]))
        .with(|verifier| verifier.with_scopes_at(["resource_access", "api", "roles"]));
    let token = json!({
        "typ": "Bearer", "azp": "app", "acr": "1", "scope": "profile",
        "realm_access": { "roles": ["staff"] }, "resource_access": { "api": { "roles": ["writer"] } },
    });
    assert_eq!(keycloak.scopes(token).await, "profile staff writer");

    // Entra: the audience is the application's id, a person is `oid`, scopes are `scp`, roles are `roles`.
    let entra = house()
        .with(|verifier| verifier.with_audience("6e74172b-be56-4843-9ff4-e66a39bb12e3"))
        .with(|verifier| verifier.with_subject_claim("oid").with_scopes_at(["roles"]));
    let token = json!({
        "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "oid": "person", "sub": "pairwise", "scope": null,
        "scp": "Files.Read", "roles": ["Task.Write"], "ver": "2.0",
    });
    let person = entra.identity(token).await;
    assert_eq!(
        (person.subject(), person.scopes().expect("scopes").to_string()),
        ("person", "Files.Read Task.Write".into())
    );

    // Auth0: several audiences, permissions beside scopes.
    let auth0 = house().with(|verifier| verifier.with_scopes_at(["permissions"]));
    let token = json!({
        "aud": [AUDIENCE, "https://tenant.example/userinfo"], "azp": "app", "scope": "openid",
        "permissions": ["read:files"],
    });
    assert_eq!(auth0.scopes(token).await, "openid read:files");

    // Cognito: an access token has no audience but a client, and groups.
    let cognito = house().with(|verifier| verifier.with_audience_claim("client_id").with_scopes_at(["cognito:groups"]));
    let token = json!({
        "aud": null, "client_id": AUDIENCE, "token_use": "access", "scope": "api/read", "cognito:groups": ["staff"],
    });
    assert_eq!(cognito.scopes(token).await, "api/read staff");
    let id_token = json!({ "aud": AUDIENCE, "token_use": "id" });
    assert_eq!(cognito.word(id_token).await, "missing_claim");
}

#[tokio::test]
async fn a_token_of_another_kind_is_not_taken_for_an_access_token() {
    let usual = house();
    let strict = house().with(|verifier| verifier.with_type("at+jwt"));
    for (kind, by_default, where_required) in [
        (Value::Null, "good", "wrong_type"),
        (json!("JWT"), "good", "wrong_type"),
        (json!("jwt"), "good", "wrong_type"),
        (json!("at+jwt"), "good", "good"),
        (json!("AT+JWT"), "good", "good"),
        (json!("application/at+jwt"), "good", "good"),
        (json!("Application/AT+jwt"), "good", "good"),
        (json!("application/jwt"), "good", "wrong_type"),
        (json!("logout+jwt"), "wrong_type", "wrong_type"),
        (json!("secevent+jwt"), "wrong_type", "wrong_type"),
        (json!("dpop+jwt"), "wrong_type", "wrong_type"),
        (json!("application/application/at+jwt"), "wrong_type", "wrong_type"),
        (json!(""), "wrong_type", "wrong_type"),
        (json!("äpplication/at+jwt"), "wrong_type", "wrong_type"),
    ] {
        for (house, expected) in [(&usual, by_default), (&strict, where_required)] {
            let mut header = house.signer.header();
            if !kind.is_null() {
                header["typ"] = kind.clone();
            }
            let token = house.signer.sign(&header, &Signer::claims());
            assert_eq!(word(&house.verifier, &token).await, expected, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_token_about_events_is_no_access_token_whatever_its_type_says() {
    let logout = json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} }, "sid": "s-1" });
    for house in [house(), house().with(|verifier| verifier.with_type("JWT"))] {
        assert_eq!(house.word(logout.clone()).await, "wrong_type");
        assert_eq!(house.word(json!({ "events": [] })).await, "wrong_type");
    }
}

#[tokio::test]
async fn the_callers_own_claims_are_read_by_their_own_type() {
    #[derive(serde::Deserialize)]
    struct Tenant {
        tenant: String,
        #[serde(default)]
        is_trial: bool,
    }

    let house = house().with(JwtVerifier::with_claims::<Tenant>);
    let identity = house.identity(json!({ "tenant": "acme", "is_trial": true })).await;
    let tenant: &Tenant = identity.claims().expect("it was asked for");
    assert_eq!((tenant.tenant.as_str(), tenant.is_trial), ("acme", true));
    assert_eq!(house.word(json!({})).await, "invalid_claim");
    assert_eq!(house.word(json!({ "tenant": 7 })).await, "invalid_claim");
}
