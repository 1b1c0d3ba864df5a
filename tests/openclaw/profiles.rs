//! Every vector of every profile.

use std::{collections::BTreeSet, thread, time::Duration};

use super::{
    house::House,
    live,
    pack::{Pack, Profile, text},
    replay,
};
use crate::json::{Fields as _, Object};

/// Vectors whose answer differs, and has to.
const EXCEPTIONS: [Exception; 1] = [Exception {
    pack: "carried-seq",
    vector: "carried-seq",
    reason: "the number of a message was carried by the peer's own bus and is in no file",
}];

struct Exception {
    pack: &'static str,
    vector: &'static str,
    reason: &'static str,
}

/// One test for each profile, so that they run side by side.
macro_rules! profiles {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];

        $(#[test]
        fn $test() {
            replay_profile($name);
        })*
    };
}

profiles! {
    a_token_from_the_environment: "token",
    no_authentication: "none",
    no_authentication_behind_a_proxy: "none-proxied",
    a_password: "password",
    a_trusted_proxy_with_every_check: "tproxy",
    a_trusted_proxy_on_loopback_that_is_not_allowed: "tproxy-strict",
    a_trusted_proxy_for_any_user: "tproxy-open",
    the_default_failure_limit: "ratelimit",
    a_failure_limit_that_spares_nobody: "ratelimit-custom",
    configured_agents: "agents",
    a_global_session_scope: "global",
    a_store_outside_of_agents: "store",
    live_streams: "live",
}

#[test]
fn every_recorded_profile_is_tested_and_every_pack_belongs_to_one() {
    let tested: BTreeSet<String> = TESTED.iter().map(|name| (*name).to_owned()).collect();
    let recorded: BTreeSet<String> = Profile::all().into_iter().map(|profile| profile.name).collect();
    assert_eq!(tested, recorded);
    let used: BTreeSet<String> = Pack::all().into_iter().map(|pack| pack.profile).collect();
    assert_eq!(used, recorded);
}

/// Says all that differs at once.
fn replay_profile(name: &str) {
    let house = House::open(&Profile::named(name));
    let packs = Pack::of(name);
    for pack in &packs {
        house.disk.write(&pack.files);
    }
    let mut complaints = Vec::new();
    let mut replayed = 0;
    for pack in &packs {
        for vector in pack.vectors.iter().filter(|vector| !live::is_live(vector) || live::can_be_replayed(vector)) {
            replayed += 1;
            if let Err(complaint) = replay_vector(&house, pack, vector) {
                complaints.push(format!("{} / {}\n    {complaint}", pack.name, text(vector, "name")));
            }
        }
    }
    house.close();
    assert!(replayed > 0, "nothing was recorded for {name}");
    let count = complaints.len();
    assert!(count == 0, "{count} of {replayed} vectors of {name} differ:\n{}", complaints.join("\n"));
}

fn replay_vector(house: &House, pack: &Pack, vector: &Object) -> Result<(), String> {
    if let Some(seconds) = vector.number("delay") {
        thread::sleep(Duration::from_secs_f64(seconds));
    }
    let ask =
        || if live::is_live(vector) { live::replay(house, vector) } else { replay::request_and_compare(house, vector) };
    let result = ask().or_else(|complaint| match complaint.contains("body.killed: expected false") {
        // A stream of a request before this one may not have been noticed to be gone; by now it is.
        true => ask(),
        false => Err(complaint),
    });
    let name = text(vector, "name");
    let exception = EXCEPTIONS.iter().find(|exception| exception.pack == pack.name && exception.vector == name);
    match (exception, result) {
        (None, result) => result,
        (Some(_), Err(_)) => Ok(()),
        (Some(exception), Ok(())) => Err(format!("this is no exception any more ({})", exception.reason)),
    }
}
