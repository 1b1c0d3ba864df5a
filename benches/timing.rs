//! Whether how long a refusal takes says how much of a token was right.
//!
//! `cargo bench --bench timing`: for each question two classes of tokens, both of them refused; 1,000,000 calls, timed one by
//! one, of a class that a coin chose for each. Welch's t-test then says whether the means differ, of all calls and of those
//! faster than some percentiles, as dudect does (Reparaz, Balasch and Verbauwhede, 2017): what interrupts a call says nothing
//! about it. The largest |t| counts. Below 4.5 no difference was found.
//!
//! `cargo bench --bench timing -- check` ends with 1 if a question is at 4.5 or more in each of three runs, or if a control, a
//! comparison that stops at the first wrong byte, is below: then it would have found nothing anywhere.

use std::{convert::Infallible, hint::black_box, process::ExitCode, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Identity, StaticToken, Tokens, VerifyToken,
    verify::{BearerToken, Token, TokenDigest, VerifyError, verify_fn},
};

/// Where dudect says that there is a difference.
const LIMIT: f64 = 4.5;
/// The percentiles that slower calls are left out above, besides none.
const CROPS: [f64; 5] = [0.5, 0.75, 0.9, 0.95, 0.99];

const SECRET: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928";
/// All but the last character is right.
const RIGHT_PREFIX: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a392f";
/// None is.
const WRONG: &str = "0a7d6e5f4c3b2a1f80f7e4d5c2b3a0910a7d6e5f4c3b2a1f";
/// Two secrets that are shown to be wrong: one as long as what is shown, and one that is not.
const OTHERS: [&str; 2] = ["b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1b6c5d4e3f2a1b0c9", "b6c5d4e3f2a1"];

/// A question, which answers with the |t| of so many calls.
type Question = (&'static str, Box<dyn Fn(usize) -> f64>);

fn main() -> ExitCode {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    // `cargo test --benches` only tries it out.
    let is_wanted = has("--bench");
    let is_check = is_wanted && has("check");
    let calls = if is_wanted { 1_000_000 } else { 1_000 };
    let runs = if is_check { 3 } else { 1 };
    let (controls, questions) = questions();
    let mut is_good = true;

    println!("{:62} |t| of {calls} calls", "question");
    for (name, ask) in controls {
        let found = ask(calls);
        println!("{name:62} {found:8.1} (a difference is found)");
        is_good &= found >= LIMIT;
    }
    for (name, ask) in questions {
        let mut seen = Vec::new();
        while seen.len() < runs && seen.last().is_none_or(|t| *t >= LIMIT) {
            seen.push(ask(calls));
        }
        println!("{name:62} {}", seen.iter().map(|t| format!("{t:8.1}")).collect::<String>());
        is_good &= seen.last().is_some_and(|t| *t < LIMIT);
    }
    if is_check && !is_good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The controls, and the questions.
fn questions() -> (Vec<Question>, Vec<Question>) {
    let stops_early = || {
        verify_fn(|token| match token.as_bytes().iter().eq(SECRET.as_bytes()) {
            true => Ok(Identity::new("shared-secret", AuthMethod::SharedSecret)),
            false => Err(VerifyError::Rejected),
        })
    };
    let tokens = || Tokens::new([Token::new("a", SECRET), Token::new("b", OTHERS[0])]).expect("no duplicates");
    let of_one_digest = [alike_in_digest(true), alike_in_digest(false)];
    let static_token = || StaticToken::new(SECRET);
    let prefix = || [RIGHT_PREFIX.to_owned(), WRONG.to_owned()];
    let controls: Vec<Question> = vec![
        ("control, stops at the first wrong byte: right prefix or wrong", verifier(stops_early, prefix())),
        ("the door of the control: right prefix or wrong", door(stops_early, prefix())),
    ];
    let questions: Vec<Question> = vec![
        ("StaticToken: right prefix or wrong", verifier(static_token, prefix())),
        ("StaticToken: a secret as long as what is shown or shorter", rotations(static_token())),
        ("Tokens: right prefix or wrong", verifier(tokens, prefix())),
        ("Tokens: a digest that begins as a known one or not", verifier(tokens, of_one_digest)),
        ("the door of StaticToken: right prefix or wrong", door(static_token, prefix())),
        ("the door of Tokens: right prefix or wrong", door(tokens, prefix())),
    ];
    (controls, questions)
}

/// The first token whose digest has its first two bytes in common with the secret's, or has not even the first.
fn alike_in_digest(is_alike: bool) -> String {
    let secret = TokenDigest::of(SECRET);
    let fits = |text: &String| {
        let digest = TokenDigest::of(text);
        match is_alike {
            true => digest.as_bytes()[..2] == secret.as_bytes()[..2],
            false => digest.as_bytes()[0] != secret.as_bytes()[0],
        }
    };
    (0u64..).map(|n| format!("{n:048x}")).find(fits).expect("there are enough")
}

fn header(token: &str) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(format!("Bearer {token}"))).expect("it is visible ASCII")
}

fn presented(token: &str) -> BearerToken {
    BearerToken::from_header(&header(token), 7..7 + token.len()).expect("it is not empty")
}

fn is_refused(verifier: &impl VerifyToken, token: &BearerToken) -> bool {
    verifier.verify(token).now_or_never().expect("there is nothing to wait for").is_err()
}

/// The same token each time, and another secret.
fn rotations(secret: StaticToken) -> Box<dyn Fn(usize) -> f64> {
    Box::new(move |calls| {
        let prepare = |class: usize| {
            // Both are read, and then other calls come: what reading them leaves in caches, and of branches foretold, is alike.
            secret.rotate(OTHERS[1 - class]);
            secret.rotate(OTHERS[class]);
            for _ in 0..16 {
                assert!(is_refused(&secret, &presented(WRONG)));
            }
            presented(WRONG)
        };
        time(calls, prepare, |token| assert!(is_refused(&secret, black_box(token))))
    })
}

/// What the verifier alone takes, hashing included: one of its own for each call. Where in a table a digest is looked for, and
/// what is met there by chance, is of the table's keys.
fn verifier<V: VerifyToken + 'static>(
    verifier: impl Fn() -> V + 'static,
    tokens: [String; 2],
) -> Box<dyn Fn(usize) -> f64> {
    Box::new(move |calls| {
        let prepare = |class: usize| (verifier(), presented(&tokens[class]));
        time(calls, prepare, |(verifier, token)| assert!(is_refused(verifier, black_box(token))))
    })
}

/// What a request takes from the layer on, its refusal included, with a verifier of its own for each call.
fn door<V: VerifyToken>(verifier: impl Fn() -> V + 'static, tokens: [String; 2]) -> Box<dyn Fn(usize) -> f64> {
    Box::new(move |calls| {
        let prepare = |class: usize| {
            let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
            let mut request = Request::new(());
            request.headers_mut().insert(AUTHORIZATION, header(&tokens[class]));
            Some((BearerAuthLayer::new(verifier()).layer(service), request))
        };
        time(calls, prepare, |call| {
            let (service, request) = call.take().expect("it is called once");
            assert_eq!(answer(service, black_box(request)), StatusCode::UNAUTHORIZED);
        })
    })
}

fn answer(
    service: impl Service<Request<()>, Response = Response<()>, Error = Infallible>,
    request: Request<()>,
) -> StatusCode {
    let Ok(response) = service.oneshot(request).now_or_never().expect("there is nothing to wait for");
    response.status()
}

/// The |t| of so many calls. What is prepared, and dropped, is so in the same way for both classes and not timed.
fn time<I>(calls: usize, mut prepare: impl FnMut(usize) -> I, mut call: impl FnMut(&mut I)) -> f64 {
    let mut coin = Coin(0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()));
    let mut taken: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    // The first ones warm the caches up.
    for turn in 0..calls + calls / 10 {
        let class = coin.toss();
        let mut input = black_box(prepare(black_box(class)));
        let start = Instant::now();
        call(&mut input);
        let nanoseconds = start.elapsed().as_nanos() as f64;
        if turn >= calls / 10 {
            taken[class].push(nanoseconds);
        }
    }
    let mut all = taken.concat();
    all.sort_unstable_by(f64::total_cmp);
    let crops = CROPS.map(|crop| all[(all.len() as f64 * crop) as usize]);
    let tests = crops.into_iter().chain([f64::INFINITY]).map(|most| {
        let [a, b] = taken.each_ref().map(|taken| Moments::of(taken.iter().copied().filter(|time| *time <= most)));
        a.t(&b).abs()
    });
    tests.fold(0.0, f64::max)
}

/// Xorshift: which class comes next is as good as chance.
struct Coin(u64);

impl Coin {
    fn toss(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1)
    }
}

/// The number, the mean and the variance of a sample, by Welford.
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(sample: impl Iterator<Item = f64>) -> Self {
        sample.fold(Self::default(), |Self { count, mean, squares }, value| {
            let delta = value - mean;
            let mean = mean + delta / (count + 1.0);
            Self { count: count + 1.0, mean, squares: squares + delta * (value - mean) }
        })
    }

    /// Welch's t.
    fn t(&self, other: &Self) -> f64 {
        let of_mean = |sample: &Self| sample.squares / (sample.count - 1.0) / sample.count;
        let difference = self.mean - other.mean;
        if difference == 0.0 { 0.0 } else { difference / (of_mean(self) + of_mean(other)).sqrt() }
    }
}
