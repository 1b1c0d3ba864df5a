//! Which `Authorization` headers hold a token, and which token (RFC 6750 section 2.1, RFC 9110
//! section 11.1).

use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    BearerAuthLayer,
    bearer::TokenSyntax,
    verify::{BearerToken, VerifyError, verify_fn},
};

use crate::support::{alice, request_with};

/// What a header with these bytes is answered with, when `token` is the one that is good.
async fn status(layer: BearerAuthLayer, authorization: impl AsRef<[u8]>) -> StatusCode {
    status_of(layer, request_with(authorization)).await
}

async fn status_of(layer: BearerAuthLayer, request: Request<()>) -> StatusCode {
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(())));
    let Ok(response) = service.oneshot(request).await;
    response.status()
}

/// Accepts exactly this token.
fn only(token: impl AsRef<[u8]>) -> BearerAuthLayer {
    let token = token.as_ref().to_vec();
    BearerAuthLayer::new(verify_fn(move |presented| {
        if presented.as_bytes() == token { Ok(alice()) } else { Err(VerifyError::Rejected) }
    }))
}

fn only_opaque(token: impl AsRef<[u8]>) -> BearerAuthLayer {
    only(token).with_token_syntax(TokenSyntax::Opaque)
}

#[tokio::test]
async fn the_scheme_is_recognised_in_any_case() {
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(status(only("t0ken"), format!("{scheme} t0ken")).await, 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_header_of_another_scheme_presents_no_credential() {
    for header in ["Basic dXNlcjpwYXNz", "Digest t0ken", "Bearers t0ken", "t0ken", "", "Bear er t0ken", "DPoP t0ken"] {
        assert_eq!(status(only("t0ken"), header).await, 401, "{header:?}");
    }
}

#[tokio::test]
async fn two_headers_are_malformed_even_when_they_agree() {
    for second in ["Bearer t0ken", "Bearer another", "Basic dXNlcjpwYXNz", ""] {
        let mut request = request_with("Bearer t0ken");
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static(second));
        assert_eq!(status_of(only("t0ken"), request).await, 400, "{second:?}");
    }
}

#[tokio::test]
async fn each_character_of_a_b64token_and_no_other_is_taken() {
    for byte in (0x20..=0x7e).chain(0x80..=0xff).chain([b'\t']) {
        let token = [b'a', byte, b'b'];
        let expected = if byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte) { 200 } else { 400 };
        let header = [b"Bearer ".as_slice(), &token].concat();
        assert_eq!(status(only(token), header).await, expected, "{:?}", char::from(byte));
    }
}

#[tokio::test]
async fn padding_stands_only_at_the_end_of_a_b64token() {
    for token in ["a=", "a==", "a=====", "YWxpY2U=", "a.b-c_d~e+f/0="] {
        assert_eq!(status(only(token), format!("Bearer {token}")).await, 200, "{token}");
    }
    for token in ["=", "==", "=a", "a=b", "a=b="] {
        assert_eq!(status(only(token), format!("Bearer {token}")).await, 400, "{token}");
    }
}

#[tokio::test]
async fn a_scheme_without_a_token_is_malformed() {
    for header in ["Bearer", "Bearer ", "Bearer    ", "bearer\u{20}\u{20}"] {
        assert_eq!(status(only("t0ken"), header).await, 400, "{header:?}");
        assert_eq!(status(only_opaque("t0ken"), header).await, 400, "{header:?}, opaque");
    }
}

#[tokio::test]
async fn spaces_around_a_token_do_not_belong_to_it() {
    for header in ["Bearer   t0ken", "Bearer t0ken ", "Bearer t0ken\t \t"] {
        assert_eq!(status(only("t0ken"), header).await, 200, "{header:?}");
    }
}

#[tokio::test]
async fn a_tab_is_no_separator() {
    assert_eq!(status(only("t0ken"), "Bearer\tt0ken").await, 401);
    assert_eq!(status(only("t0ken"), "Bearer \tt0ken").await, 400);
}

#[tokio::test]
async fn more_than_one_token_is_malformed() {
    for header in ["Bearer t0ken t0ken", "Bearer t0ken,t0ken", "Bearer t0ken, Bearer t0ken", r#"Bearer realm="x""#] {
        assert_eq!(status(only("t0ken"), header).await, 400, "{header}");
    }
}

#[tokio::test]
async fn an_opaque_token_is_whatever_a_header_can_hold() {
    let tokens: [&[u8]; 6] = [b"pass word", b"\"quoted\", and = more", b"=", b"a\tb", b"p\xe4ssw\xf6rd", b"\xff"];
    for token in tokens {
        let header = [b"Bearer ", token].concat();
        assert_eq!(status(only_opaque(token), &header).await, 200, "{token:?}");
        assert_eq!(status(only(token), &header).await, 400, "{token:?}, not opaque");
    }
}

#[tokio::test]
async fn a_token_of_more_than_16_kib_is_malformed() {
    const LIMIT: usize = BearerToken::MAX_LEN;
    for (length, expected) in [(LIMIT, 200), (LIMIT + 1, 400), (100 * LIMIT, 400)] {
        let token = "x".repeat(length);
        assert_eq!(status(only(&token), format!("Bearer {token}")).await, expected, "{length}");
        assert_eq!(status(only_opaque(&token), format!("Bearer {token}")).await, expected, "{length}");
        let header = HeaderValue::from_str(&token).expect("a header can hold it");
        assert_eq!(BearerToken::from_header(&header, 0..length).is_some(), expected == 200, "{length}");
    }
    let padded = format!("Bearer {}t0ken", " ".repeat(LIMIT));
    assert_eq!(status(only("t0ken"), padded).await, 400);
    // What is no bearer token is none, whatever its length.
    assert_eq!(status(only("t0ken"), format!("Basic {}", "x".repeat(2 * LIMIT))).await, 401);
}

#[tokio::test]
async fn white_space_around_an_opaque_token_does_not_belong_to_it() {
    for header in ["Bearer  pass word", "Bearer pass word  ", "Bearer \tpass word\t", "Bearer \t pass word"] {
        assert_eq!(status(only_opaque("pass word"), header).await, 200, "{header:?}");
    }
    assert_eq!(status(only_opaque("pass word"), "Bearer \t ").await, 400);
}

#[tokio::test]
async fn a_token_is_text_unless_arbitrary_bytes_are_let_in() {
    let text = |expected: Option<&'static str>| {
        BearerAuthLayer::new(verify_fn(move |token| {
            assert_eq!(token.to_str(), expected);
            Ok(alice())
        }))
        .with_token_syntax(TokenSyntax::Opaque)
    };
    assert_eq!(status(text(Some("pässword")), "Bearer pässword").await, 200);
    assert_eq!(status(text(None), b"Bearer p\xe4ssword").await, 200);
}
