//! The file of per-client tokens (`--tokens`), TOML or JSON by its extension:
//!
//! ```toml
//! [[token]]
//! id = "ci"                             # names it in logs; unique
//! sha256 = "9f86d081884c7d65…"          # of the token, as sha256sum has it; or `secret`, the token itself
//! subject = "build server"              # whose it is; the id if left out
//! scopes = ["operator.read"]            # none if left out
//! expires_at = 2027-01-01T00:00:00Z     # RFC 3339; never if left out
//! ```
//!
//! In JSON it is `{"token": [{"id": …}]}`. Every mistake is an error, an unknown field included: a
//! misspelt `expires_at` must not mean "never". A file without the list is one too, for it may be
//! just being written; `token = []` takes every token away. An expired token is no mistake, nor a scope
//! that no route asks for, but both are worth a [word](advice).
//!
//! A file that is written over in place is read while it is written, and one that is [cut](Cut) at the end of
//! a line is good TOML: without its last line a token would not expire. A new file that is renamed over the
//! old one is always whole.

use std::array;
use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use tower_reauth::{ScopeSet, verify::TokenDigest};

use super::document::{Document, Node};
use super::{ConfigError, Secret};

/// One client's token. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    pub id: String,
    pub digest: TokenDigest,
    pub subject: String,
    pub scopes: ScopeSet,
    pub expires_at: Option<SystemTime>,
}

impl ClientToken {
    /// Reads the text of the whole file; one broken entry breaks it.
    pub fn parse_all(file: &Path, text: &str) -> Result<Vec<Self>, ConfigError> {
        let document = match file.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Document::toml(file, text)?,
            Some("json") => Document::json(file, text)?,
            _ => {
                let reason = "must end in .toml or .json";
                return Err(ConfigError::malformed(file, "the file's name", reason));
            }
        };
        let root = document.root();
        root.allow_only(&["token"])?;
        Self::unique(&root.at("token")?.needed()?.items()?)
    }

    fn unique(entries: &[Node<'_>]) -> Result<Vec<Self>, ConfigError> {
        let mut ids = HashMap::new();
        let mut digests = HashMap::new();
        let mut tokens = Vec::with_capacity(entries.len());
        for (n, entry) in entries.iter().enumerate() {
            let token = Self::parse(entry)?;
            let named = |what| entry.error(format!("{what} (id {:?})", token.id));
            if let Some(first) = ids.insert(token.id.clone(), n) {
                return Err(named(format!("has the id of token[{first}]")));
            }
            if let Some(first) = digests.insert(token.digest, n) {
                return Err(named(format!("is the same token as token[{first}]")));
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn parse(entry: &Node<'_>) -> Result<Self, ConfigError> {
        let id = entry.at("id")?.text()?.unwrap_or_default().trim();
        if id.is_empty() {
            return Err(entry.error("needs an id"));
        }
        let named = |what: &str| entry.error(format!("{what} (id {id:?})"));

        entry.allow_only(&["id", "sha256", "secret", "subject", "scopes", "expires_at"])?;
        let digest = match (entry.at("sha256")?.text()?, entry.at("secret")?.text()?) {
            (Some(hex), None) => from_hex(hex).ok_or_else(|| named("needs 64 hex digits as sha256"))?,
            (None, Some(secret)) => {
                Secret::new(secret).map_err(|flaw| named(&format!("has a secret that {flaw}")))?.digest()
            }
            (Some(_), Some(_)) => return Err(named("has both sha256 and secret")),
            (None, None) => return Err(named("needs sha256 or secret")),
        };
        let scopes = entry.at("scopes")?.texts()?.into_iter().map(str::parse).collect::<Result<ScopeSet, _>>();
        let scopes = scopes.map_err(|_| named("has a scope with a blank or a character that none may have"))?;
        let expires_at = match entry.at("expires_at")?.text()? {
            None => None,
            Some(text) => {
                let at: Timestamp =
                    text.parse().map_err(|_| named("needs an RFC 3339 time with its offset as expires_at"))?;
                Some(at.into())
            }
        };
        Ok(Self {
            id: id.to_owned(),
            digest,
            subject: entry.at("subject")?.text()?.unwrap_or(id).to_owned(),
            scopes,
            expires_at,
        })
    }
}

/// How a list of tokens is the beginning of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its last token is there, and says less than it did.
    WithinAToken,
    /// What is there is as it was.
    BetweenTokens,
}

impl Cut {
    /// How `before` was cut to `after`, if it was.
    pub fn between(before: &[ClientToken], after: &[ClientToken]) -> Option<Self> {
        let (last, whole) = after.split_last()?;
        let was = before.get(whole.len())?;
        if *whole != before[..whole.len()] {
            return None;
        }
        if last == was {
            return (after.len() < before.len()).then_some(Self::BetweenTokens);
        }
        let says_less = last.id == was.id
            && last.digest == was.digest
            && (last.subject == was.subject || last.subject == last.id)
            && (last.scopes == was.scopes || last.scopes.is_empty())
            && (last.expires_at == was.expires_at || last.expires_at.is_none());
        says_less.then_some(Self::WithinAToken)
    }
}

/// The scopes that the gateway's routes ask for, and the others of OpenClaw.
pub const KNOWN_SCOPES: [&str; 6] = [
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.pairing",
    "operator.talk.secrets",
];

/// What is probably not meant as it is written.
pub fn advice(tokens: &[ClientToken]) -> impl Iterator<Item = String> {
    let now = SystemTime::now();
    tokens.iter().flat_map(move |token| {
        let id = &token.id;
        let is_expired = token.expires_at.is_some_and(|at| at <= now);
        let expired = is_expired.then(|| format!("--tokens: {id:?} has expired and opens nothing"));
        let unknown = token.scopes.iter().filter(|scope| !KNOWN_SCOPES.contains(&scope.as_str()));
        let unknown = unknown.map(move |scope| {
            format!(
                "--tokens: {id:?} has the scope {scope}, which opens nothing: there are {}",
                KNOWN_SCOPES.join(", ")
            )
        });
        expired.into_iter().chain(unknown)
    })
}

/// The digest that 64 hex digits are. What `sha256sum` writes after them is left out.
pub fn from_hex(text: &str) -> Option<TokenDigest> {
    let digit = |digit: u8| char::from(digit).to_digit(16)?.try_into().ok();
    let text = text.split_ascii_whitespace().next()?;
    let digits: Option<Vec<u8>> = text.bytes().map(digit).collect();
    let digits: [u8; 64] = digits?.try_into().ok()?;
    Some(TokenDigest::from_bytes(array::from_fn(|n| digits[2 * n] << 4 | digits[2 * n + 1])))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const SHA256_OF_TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn read(name: &str, content: &str) -> Result<Vec<ClientToken>, String> {
        ClientToken::parse_all(Path::new(name), content).map_err(|error| error.to_string())
    }

    fn toml(content: &str) -> Result<Vec<ClientToken>, String> {
        read("tokens.toml", content)
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let from_toml = toml(&format!(
            r#"
            [[token]]
            id = "ci"
            sha256 = "{SHA256_OF_TEST}"
            subject = "build server"
            scopes = ["operator.read", "operator.write"]
            expires_at = 2027-01-01T01:00:00+01:00

            [[token]]
            id = "me"
            secret = "hunter2"
            "#
        ));
        let from_json = read(
            "tokens.json",
            &format!(
                r#"{{"token": [
                    {{"id": "ci", "sha256": "{}", "subject": "build server",
                      "scopes": ["operator.read", "operator.write"],
                      "expires_at": "2027-01-01T00:00:00Z"}},
                    {{"id": "me", "secret": "hunter2"}}
                ]}}"#,
                SHA256_OF_TEST.to_uppercase()
            ),
        );
        assert_eq!(from_toml, from_json);

        let tokens = from_toml.unwrap();
        assert_eq!(tokens[0].digest, TokenDigest::of("test"));
        assert_eq!(tokens[0].subject, "build server");
        assert_eq!(tokens[0].scopes.to_string(), "operator.read operator.write");
        let new_year: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(tokens[0].expires_at, Some(new_year.into()));
        assert_eq!(tokens[1].digest, TokenDigest::of("hunter2"));
        assert_eq!(tokens[1].subject, "me");
        assert!(tokens[1].scopes.is_empty());
        assert_eq!(tokens[1].expires_at, None);
    }

    #[test]
    fn an_empty_list_is_no_tokens_and_an_expired_token_is_a_token() {
        assert_eq!(toml("token = []"), Ok(Vec::new()));
        assert_eq!(read("tokens.json", "{\"token\":[]}"), Ok(Vec::new()));
        let yesterday = Timestamp::now() - SignedDuration::from_hours(24);
        let content = format!("[[token]]\nid = \"a\"\nsecret = \"b\"\nexpires_at = \"{yesterday}\"");
        assert_eq!(toml(&content).unwrap().len(), 1);
    }

    #[test]
    fn every_mistake_is_an_error_that_says_where_and_never_the_secret() {
        let sha256 = format!("sha256 = '{SHA256_OF_TEST}'");
        for (entry, expected) in [
            ("secret = 'hunter2'".to_owned(), "token[0]: needs an id"),
            ("id = 'a'".to_owned(), r#"token[0]: needs sha256 or secret (id "a")"#),
            (format!("id = 'a'\nsecret = 'hunter2'\n{sha256}"), r#"token[0]: has both sha256 and secret (id "a")"#),
            ("id = 'a'\nsha256 = 'abc'".to_owned(), r#"token[0]: needs 64 hex digits as sha256 (id "a")"#),
            (
                format!("id = 'a'\nsha256 = '{}'", "+f".repeat(32)),
                r#"token[0]: needs 64 hex digits as sha256 (id "a")"#,
            ),
            ("id = 'a'\nsecret = ' '".to_owned(), r#"token[0]: has a secret that is blank (id "a")"#),
            (
                "id = 'a'\nsecret = 'hunter2'\nexpires = 2027-01-01T00:00:00Z".to_owned(),
                "token[0]: has the unknown field `expires`",
            ),
            (
                "id = 'a'\nsecret = 'hunter2'\nexpires_at = 2027-01-01T00:00:00".to_owned(),
                r#"token[0]: needs an RFC 3339 time with its offset as expires_at (id "a")"#,
            ),
            (
                "id = 'a'\nsecret = 'hunter2'\nscopes = ['a b']".to_owned(),
                r#"token[0]: has a scope with a blank or a character that none may have (id "a")"#,
            ),
            ("id = 'a'\nsecret = 'hunter2'\nscopes = 'operator.read'".to_owned(), "token[0].scopes: must be a list"),
            ("id = 'a'\nsecret = 123456".to_owned(), "token[0].secret: must be text"),
            (
                "id = 'a'\nsecret = 'x'\n[[token]]\nid = 'a'\nsecret = 'y'".to_owned(),
                r#"token[1]: has the id of token[0] (id "a")"#,
            ),
            (
                format!("id = 'a'\nsecret = 'test'\n[[token]]\nid = 'b'\n{sha256}"),
                r#"token[1]: is the same token as token[0] (id "b")"#,
            ),
            ("id = 'a'\nsecret = 'hunter2".to_owned(), "line 3: "),
        ] {
            let error = toml(&format!("[[token]]\n{entry}")).unwrap_err();
            assert!(error.contains(&format!("tokens.toml: {expected}")), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("123456"), "{error}");
        }
        assert!(toml("[[tokens]]\nid = 'a'").unwrap_err().contains("unknown field `tokens`"));
        for (name, empty) in [("tokens.toml", " "), ("tokens.json", "{}")] {
            assert!(read(name, empty).unwrap_err().contains("token: is needed"));
        }
        assert!(read("tokens.json", "[]").unwrap_err().contains("must be an object"));
        assert!(read("tokens", "").unwrap_err().contains("must end in .toml or .json"));
    }

    #[test]
    fn the_output_of_sha256sum_is_a_digest() {
        let tokens = toml(&format!("[[token]]\nid = 'a'\nsha256 = '{SHA256_OF_TEST}  -'")).unwrap();
        assert_eq!(tokens[0].digest, TokenDigest::of("test"));
    }

    #[test]
    fn a_list_that_lost_its_end_is_told_from_one_that_was_changed() {
        let whole = "[[token]]\nid = 'b'\nsecret = 'b'\nscopes = ['operator.read']\n\
                     [[token]]\nid = 'a'\nsecret = 'a'\nsubject = 'me'\nscopes = ['operator.read']\n\
                     expires_at = 2020-01-01T00:00:00Z\n";
        let before = toml(whole).unwrap();
        let cut = |lines: usize| {
            let text: String = whole.split_inclusive('\n').take(lines).collect();
            Cut::between(&before, &toml(&text).unwrap())
        };
        for lines in [9, 8, 7] {
            assert_eq!(cut(lines), Some(Cut::WithinAToken), "{lines}");
        }
        assert_eq!(cut(4), Some(Cut::BetweenTokens));
        for changed in [whole, "token = []", &whole.replace("'b'", "'c'"), &whole.replace("2020", "2021")] {
            assert_eq!(Cut::between(&before, &toml(changed).unwrap()), None, "{changed}");
        }
        assert_eq!(Cut::between(&before, &before[1..]), None);
    }

    #[test]
    fn what_opens_nothing_is_worth_a_word() {
        let tokens = toml(
            "[[token]]\nid = 'a'\nsecret = 'a'\nscopes = ['operator.read', 'operator.raed']\n\
             [[token]]\nid = 'b'\nsecret = 'b'\nexpires_at = 2020-01-01T00:00:00Z\n",
        );
        let advice: Vec<_> = advice(&tokens.unwrap()).collect();
        assert!(advice[0].contains("\"a\" has the scope operator.raed"), "{advice:?}");
        assert!(advice[1].contains("\"b\" has expired"), "{advice:?}");
        assert_eq!(advice.len(), 2);
    }

    #[test]
    fn debug_shows_no_digest() {
        let tokens = toml("[[token]]\nid = 'a'\nsecret = 'test'").unwrap();
        let shown = format!("{tokens:?}");
        assert!(shown.contains("digest: TokenDigest(redacted)"), "{shown}");
        assert!(!shown.contains("159"), "0x9f, the first byte: {shown}");
    }
}
