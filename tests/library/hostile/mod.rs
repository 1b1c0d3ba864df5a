//! A hostile user: code of a user's that panics, blocks or comes back in, at each of its calls.
//!
//! One run is one scenario, one call of the user's code and one act. The victim's stream is opened and used
//! while the user is hostile; beside it are a stream of the same credential and one of another, whose
//! calls are all good ones. A run without an act counts the calls; then there is a run for each call that
//! panics, for each that blocks, and for each other act at up to [`MOST_CALLS`] calls, spread evenly. After
//! each run:
//!
//! 1. no item that became ready after access was gone was delivered, by any stream;
//! 2. each stream of the victim's has ended, its task was woken for that, and nothing hangs, which a
//!    watchdog sees to;
//! 3. the stream of another credential goes on, ends with its own access, and a new one can be opened;
//! 4. nothing is left of bodies, credentials, claims and tasks, and no stream is counted as open.

mod scenarios;
mod user;
mod world;

use std::{
    collections::BTreeSet,
    panic,
    sync::{Mutex, Once},
    thread,
    time::{Duration, Instant},
};

use self::{
    scenarios::{SCENARIOS, Scenario, run},
    user::{ACTS, Act, Meter, Outrage, Subscriber},
    world::lock,
};

/// Of the calls at which the user does something else than panic or block, how many of a scenario are tried.
const MOST_CALLS: usize = 48;

/// What is running now, since when.
static RUNNING: Mutex<Option<(String, Instant)>> = Mutex::new(None);

/// What the hostile user's panics say is not for the eye.
fn silence() {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Outrage>() {
                others(info);
            }
        }));
    });
}

/// Ends the process, with the name of the run, where one does not come to its end.
fn watch() {
    thread::spawn(|| {
        loop {
            thread::sleep(Duration::from_millis(200));
            if let Some((name, _)) = lock(&RUNNING).as_ref().filter(|(_, since)| since.elapsed().as_secs() > 60) {
                eprintln!("the run hangs: {name}");
                std::process::abort();
            }
        }
    });
}

/// One run: the calls of it, and what was wrong.
fn one(scenario: &'static Scenario, plan: Option<(Act, usize)>) -> (usize, BTreeSet<&'static str>, Vec<String>) {
    *lock(&RUNNING) = Some((format!("{} {plan:?}", scenario.name), Instant::now()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let world = runtime.block_on(run(scenario, plan));
    world::World::enter(None);
    *lock(&RUNNING) = None;
    let sites = lock(&world.sites).clone();
    let at = *lock(&world.acted_at);
    let failed = std::mem::take(&mut *lock(&world.failures));
    let failures = failed.iter().map(|what| format!("{} {plan:?} at {at:?}: {what}", scenario.name)).collect();
    (world.calls(), sites, failures)
}

#[test]
fn whatever_the_users_code_does_at_whichever_call_access_ends_and_nobody_else_is_hurt() {
    silence();
    watch();
    let dispatch = tracing::Dispatch::new(Subscriber);
    let _log = tracing::dispatcher::set_default(&dispatch);
    let _recorder = metrics::set_default_local_recorder(&Meter);

    let started = Instant::now();
    let (mut all_sites, mut all_calls, mut runs, mut failures) = (BTreeSet::new(), 0, 0, Vec::new());
    for scenario in SCENARIOS {
        let (calls, sites, failed) = one(scenario, None);
        assert_eq!(failed, <[String; 0]>::default(), "without an act");
        for (which, act) in ACTS.into_iter().enumerate() {
            let step = if let Act::Panic | Act::Block = act { 1 } else { calls.div_ceil(MOST_CALLS).max(1) };
            for at in (1 + which % step..=calls).step_by(step) {
                failures.extend(one(scenario, Some((act, at))).2);
                runs += 1;
            }
        }
        all_calls += calls;
        all_sites.extend(sites);
    }
    let counts = format!(
        "{} scenarios, {} call sites, {all_calls} calls, {} acts, {runs} runs in {:.1?}",
        SCENARIOS.len(),
        all_sites.len(),
        ACTS.len(),
        started.elapsed()
    );
    println!("{counts}\n{all_sites:?}");
    failures.truncate(40);
    assert!(failures.is_empty(), "{counts}\n{}", failures.join("\n"));
    assert!(SCENARIOS.len() >= 21 && all_sites.len() >= 39 && all_calls >= 2_000 && runs >= 10_000, "{counts}");
}
