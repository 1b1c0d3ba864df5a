//! Whether the gateways that share a Redis have the same tokens: a file that one of them was not given is noticed.
//!
//! A hash of Redis, `{tower-reauth-gateway}:tokens`, has by the fingerprint of a file when a gateway had it last, which
//! gateway that is, and what of the file is no secret: however many gateways there are, as many entries as there are
//! different files. Entries that nobody renews are gone after half a minute, and all of it after a minute.
//!
//! A fingerprint hangs on all that the file says, secrets too, and not on the order in which it says it.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    process,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::Script;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tower_reauth::{
    revoke::{Revocations, shared::Connect},
    verify::TokenDigest,
};

use super::reach::Reach;
use crate::config::{ClientToken, Settings};

/// How often this gateway says what it has, and looks at what others have.
const TURN: Duration = Duration::from_secs(10);

/// How long files may differ until that is said: as long as it takes to bring one to all.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long Redis may take to answer.
const LIMIT: Duration = Duration::from_secs(3);

/// What is said of a file is left out where it would be longer, in bytes.
const MOST: usize = 16 * 1024;

/// How many ids a line of the log names.
const MOST_IDS: usize = 10;

/// Says what this gateway has, and returns the newest of what others have besides.
const LOOK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], 60000)
local known, newest, found = redis.call('HGETALL', KEYS[1]), -1, ''
for at = 1, #known, 2 do
  local seen, about = string.match(known[at + 1], '^(%d+) (.*)$')
  seen = tonumber(seen)
  if not seen or math.abs(now - seen) > 30000 then
    redis.call('HDEL', KEYS[1], known[at])
  elseif known[at] ~= ARGV[1] and seen > newest then
    newest, found = seen, about
  end
end
return found
";

/// Compares the tokens of this gateway with those of the others.
pub struct TokenFiles {
    pub reach: Reach,
    /// What the names of keys begin with.
    pub prefix: &'static str,
    pub settings: watch::Receiver<Arc<Settings>>,
    pub revocations: Revocations,
}

/// What a file says, without its secrets.
type About = BTreeMap<String, String>;

/// A file of tokens, as gateways compare it.
#[derive(Debug, PartialEq, Eq)]
struct File {
    fingerprint: String,
    /// What each token is besides its secret, by its id. Nothing where that would be too long.
    about: Option<About>,
}

/// What another gateway has.
#[derive(Debug, PartialEq, Eq)]
struct Other {
    name: String,
    about: Option<About>,
}

/// What was seen of others so far.
#[derive(Default)]
struct Comparison {
    differs_since: Option<Instant>,
    is_told: bool,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Differs,
    SameAgain,
}

impl TokenFiles {
    pub async fn run(mut self) -> Infallible {
        let name = name();
        let script = Script::new(LOOK);
        let key = format!("{{{}}}:tokens", self.prefix);
        let (mut connection, mut failed) = (None, String::new());
        let (mut comparison, mut withdrawn) = (Comparison::default(), HashSet::new());
        loop {
            let settings = Arc::clone(&self.settings.borrow_and_update());
            let tokens = settings.client_tokens.as_deref().unwrap_or_default();
            self.name_withdrawn(tokens, &mut withdrawn);
            let file = File::of(tokens);
            let mut look = script.key(&key);
            look.arg(&file.fingerprint).arg(file.said(&name));
            let asked = async {
                let connection = match &mut connection {
                    Some(connection) => connection,
                    none => none.insert(self.reach.connect().await?),
                };
                look.invoke_async::<String>(connection).await
            };
            match timeout(LIMIT, asked).await {
                Ok(Ok(found)) => {
                    failed.clear();
                    let other = Other::read(&found);
                    match comparison.look(Instant::now(), other.is_some()) {
                        Some(Word::Differs) => other.iter().for_each(|other| file.warn_of(other)),
                        Some(Word::SameAgain) => tracing::info!("all gateways have the same tokens again"),
                        None => {}
                    }
                }
                Ok(Err(error)) => {
                    connection = None;
                    // That Redis is away the log of revocations says.
                    let text = error.to_string();
                    if !error.is_io_error() && text != failed {
                        tracing::warn!(%error, "the tokens of gateways are not compared");
                        failed = text;
                    }
                }
                Err(_) => connection = None,
            }
            tokio::select! {
                () = sleep(TURN) => {}
                Ok(()) = self.settings.changed() => {}
            }
        }
    }

    /// Says, once of each, which tokens of this gateway's file another one has taken away.
    fn name_withdrawn(&self, tokens: &[ClientToken], told: &mut HashSet<TokenDigest>) {
        told.retain(|digest| self.revocations.is_token_revoked(*digest));
        for token in tokens.iter().filter(|token| self.revocations.is_token_revoked(token.digest)) {
            if told.insert(token.digest) {
                tracing::warn!(
                    "--tokens: {:?} was taken away on another gateway, or revoked, and opens nothing: the file of this \
                     one is not up to date. What is taken out of the file and put into it again while the gateway runs \
                     is good again, on all",
                    token.id
                );
            }
        }
    }
}

/// By which an operator finds this gateway.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().replace(' ', "-");
    format!("{host}/{}", process::id())
}

impl File {
    fn of(tokens: &[ClientToken]) -> Self {
        let mut whole: Vec<_> = tokens.iter().map(|token| (public(token), token.digest)).collect();
        whole.sort_by(|(a, _), (b, _)| a.cmp(b));
        let whole: String = whole.iter().map(|(public, digest)| format!("{public} {}\n", hex(digest))).collect();
        let about: About = tokens
            .iter()
            .map(|token| (token.id.clone(), hex(&TokenDigest::of(public(token)))[..8].to_owned()))
            .collect();
        let is_short = serde_json::to_string(&about).is_ok_and(|json| json.len() <= MOST);
        Self { fingerprint: hex(&TokenDigest::of(whole)), about: is_short.then_some(about) }
    }

    /// As others read it.
    fn said(&self, name: &str) -> String {
        let about = self.about.as_ref().and_then(|about| serde_json::to_string(about).ok());
        format!("{name} {}", about.as_deref().unwrap_or("null"))
    }

    fn warn_of(&self, other: &Other) {
        let gateway = short(&other.name);
        let differs = self.difference(other);
        tracing::warn!(
            gateway,
            "the tokens of another gateway (named by its host and process) are not those of this one, for a minute now: {differs}"
        );
    }

    /// In what the files differ, as far as that can be said without secrets: the end of a sentence.
    fn difference(&self, other: &Other) -> String {
        let (Some(ours), Some(theirs)) = (&self.about, &other.about) else {
            return "there are too many of them to say which".to_owned();
        };
        let ids = |ids: Vec<&String>| {
            let more = ids.len().saturating_sub(MOST_IDS);
            let mut ids: Vec<_> = ids.into_iter().take(MOST_IDS).map(|id| format!("{:?}", short(id))).collect();
            ids.extend((more > 0).then(|| format!("{more} more")));
            ids.join(", ")
        };
        let only = |of: &About, not: &About| ids(of.keys().filter(|id| !not.contains_key(*id)).collect());
        let others = ids(ours
            .iter()
            .filter(|(id, is)| theirs.get(*id).is_some_and(|other| other != *is))
            .map(|(id, _)| id)
            .collect());
        let parts = [
            ("only here", only(ours, theirs)),
            ("only there", only(theirs, ours)),
            ("with another subject, expiry or scopes", others),
        ];
        let parts: Vec<_> =
            parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(how, ids)| format!("{how}: {ids}")).collect();
        if parts.is_empty() { "some have other secrets".to_owned() } else { parts.join("; ") }
    }
}

impl Other {
    /// `None` where nobody has another file. What cannot be read is another file all the same.
    fn read(found: &str) -> Option<Self> {
        if found.is_empty() {
            return None;
        }
        let (name, about) = found.split_once(' ').unwrap_or((found, ""));
        Some(Self { name: name.to_owned(), about: serde_json::from_str(about).unwrap_or_default() })
    }
}

impl Comparison {
    fn look(&mut self, now: Instant, differs: bool) -> Option<Word> {
        if !differs {
            let was_told = std::mem::take(self).is_told;
            return was_told.then_some(Word::SameAgain);
        }
        let since = *self.differs_since.get_or_insert(now);
        let is_long = now.saturating_duration_since(since) > PATIENCE;
        let is_news = is_long && !self.is_told;
        self.is_told |= is_news;
        is_news.then_some(Word::Differs)
    }
}

/// All of a token that is no secret.
fn public(token: &ClientToken) -> String {
    let mut scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    scopes.sort();
    let nanoseconds = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos().to_string(),
        Err(before) => format!("-{}", before.duration().as_nanos()),
    };
    serde_json::json!([token.id, token.subject, scopes, token.expires_at.map(nanoseconds)]).to_string()
}

fn hex(digest: &TokenDigest) -> String {
    digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What another gateway says of itself goes into a line of the log.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str) -> ClientToken {
        ClientToken {
            id: id.to_owned(),
            digest: TokenDigest::of(format!("secret of {id}")),
            subject: "somebody".to_owned(),
            scopes: ["b", "a"].iter().map(|scope| scope.parse().unwrap()).collect(),
            expires_at: None,
        }
    }

    #[test]
    fn files_that_say_the_same_in_another_order_are_the_same() {
        let file = File::of(&[token("a"), token("b")]);
        assert_eq!(file, File::of(&[token("b"), token("a")]));
        let scopes = ["a", "b"].iter().map(|scope| scope.parse().unwrap()).collect();
        assert_eq!(file, File::of(&[ClientToken { scopes, ..token("a") }, token("b")]));
        assert_eq!(Other::read(""), None);
        assert_eq!(
            Other::read(&file.said("host/1")),
            Some(Other { name: "host/1".to_owned(), about: file.about.clone() })
        );
    }

    #[test]
    fn whatever_a_token_says_counts_and_what_differs_is_named_without_secrets() {
        let file = File::of(&[token("a"), token("b")]);
        let far = Some(UNIX_EPOCH + Duration::from_nanos(4_000_000_000_000_000_001));
        for (other, differs) in [
            (vec![token("a")], r#"only here: "b""#),
            (vec![token("a"), token("b"), token("c")], r#"only there: "c""#),
            (vec![token("a"), token("c")], r#"only here: "b"; only there: "c""#),
            (
                vec![token("a"), ClientToken { subject: String::new(), ..token("b") }],
                "with another subject, expiry or scopes: \"b\"",
            ),
            (
                vec![token("a"), ClientToken { expires_at: far, ..token("b") }],
                "with another subject, expiry or scopes: \"b\"",
            ),
            (vec![token("a"), ClientToken { digest: TokenDigest::of("x"), ..token("b") }], "some have other secrets"),
            (
                vec![
                    ClientToken { digest: token("b").digest, ..token("a") },
                    ClientToken { digest: token("a").digest, ..token("b") },
                ],
                "some have other secrets",
            ),
        ] {
            let other = File::of(&other);
            assert_ne!(other.fingerprint, file.fingerprint, "{differs}");
            assert_eq!(file.difference(&Other::read(&other.said("host/1")).unwrap()), differs);
        }
        let many: Vec<_> = (0..20).map(|n| token(&n.to_string())).collect();
        let many = Other::read(&File::of(&many).said("host/1")).unwrap();
        assert!(file.difference(&many).ends_with("10 more"), "{}", file.difference(&many));
        assert!(!file.said("host/1").contains(&hex(&token("a").digest)));
    }

    #[test]
    fn a_file_that_is_too_long_is_compared_and_not_described() {
        let many: Vec<_> = (0..2_000).map(|n| token(&n.to_string())).collect();
        let file = File::of(&many);
        assert!(file.said("host/1").len() < 100);
        let other = File::of(&many[1..]);
        assert_ne!(file.fingerprint, other.fingerprint);
        let differs = file.difference(&Other::read(&other.said("host/1")).unwrap());
        assert_eq!(differs, "there are too many of them to say which");
        for broken in ["host/1", "host/1 {", "host/1 [1]"] {
            assert_eq!(Other::read(broken), Some(Other { name: "host/1".to_owned(), about: None }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_differs_for_longer_than_a_minute_is_said_once_and_that_it_is_over_too() {
        let mut comparison = Comparison::default();
        let start = Instant::now();
        let mut look = |seconds, differs| comparison.look(start + Duration::from_secs(seconds), differs);
        assert_eq!([look(0, false), look(10, true), look(60, true), look(70, true)], [None, None, None, None]);
        assert_eq!([look(71, true), look(80, true), look(1_000, true)], [Some(Word::Differs), None, None]);
        assert_eq!([look(1_010, false), look(1_020, false)], [Some(Word::SameAgain), None]);
        assert_eq!([look(1_030, true), look(1_080, false), look(1_095, true)], [None, None, None], "not in one piece");
        assert_eq!(look(1_200, true), Some(Word::Differs));
    }
}
