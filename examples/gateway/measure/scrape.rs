//! `GET /metrics`: what was counted, as Prometheus reads it.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use ::http::{HeaderValue, Request, StatusCode, header::CACHE_CONTROL};
use axum::{
    body::Body,
    response::Response,
    routing::{MethodRouter, Route, get},
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tower::{Layer, Service};
use tower_reauth::observe;

use super::{names, process};
use crate::http::{
    handlers::{broken, only_get},
    reply,
};

/// The text format of Prometheus.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// From what an answer out of memory takes to what somebody would call a stall, in seconds.
const BUCKETS: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often what was observed is put into buckets, whether somebody scrapes or not: until then each observation
/// takes room of its own.
const UPKEEP: Duration = Duration::from_secs(5);

/// What was counted. Clones share it.
#[derive(Clone)]
pub struct Exporter {
    counted: PrometheusHandle,
    /// One scrape at a time: each takes a thread, and the room for its text.
    turn: Arc<Mutex<()>>,
    /// About when the process began.
    began: SystemTime,
}

impl Exporter {
    /// That of this process: all that is counted from now on.
    pub fn of_this_process() -> Result<Self, String> {
        static INSTALLED: OnceLock<Result<Exporter, String>> = OnceLock::new();
        INSTALLED.get_or_init(|| Self::install().map_err(|error| error.to_string())).clone()
    }

    fn install() -> Result<Self, BuildError> {
        let recorder = recorder()?;
        let exporter = Self { counted: recorder.handle(), turn: Arc::default(), began: SystemTime::now() };
        metrics::set_global_recorder(recorder)?;
        names::describe();
        observe::describe_metrics();
        Ok(exporter)
    }

    /// Keeps small what is not scraped, for as long as this runs.
    pub async fn keep_small(self) {
        let mut ticks = interval(UPKEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.counted.run_upkeep();
        }
    }

    async fn scrape(self) -> Response {
        let turn = self.turn.lock_owned().await;
        let text = spawn_blocking(move || {
            let _turn = turn;
            let mut text = self.counted.render();
            text.push_str(&process::text(self.began));
            text
        });
        match text.await {
            Ok(text) => {
                let mut response = reply::with_type(StatusCode::OK, TEXT, text);
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(error) => broken(&io::Error::other(error)),
        }
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    Ok(PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder())
}

/// The route, behind `layer`.
pub fn route<L>(exporter: Exporter, layer: L) -> MethodRouter
where
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send + 'static,
{
    let scrape = get(move || exporter.clone().scrape());
    scrape.route_layer(layer).head(only_get).fallback(only_get)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process::Command};

    use tokio::runtime::Builder;

    use super::*;

    /// What this process holds of memory, in bytes.
    fn memory() -> usize {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    }

    /// In a process of its own, in which nothing else takes room.
    #[test]
    fn what_nobody_scrapes_for_hours_takes_no_more_room() {
        const CHILD: &str = "GATEWAY_TEST_OF_UPKEEP";
        if env::var_os(CHILD).is_some() {
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            return runtime.block_on(is_not_scraped());
        }
        let (_, module) = module_path!().split_once("::").unwrap();
        let name = format!("{module}::what_nobody_scrapes_for_hours_takes_no_more_room");
        let child = Command::new(env::current_exe().unwrap()).args(["--exact", &name]).env(CHILD, "1").output();
        let child = child.unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    async fn is_not_scraped() {
        const EACH: usize = 20_000;
        const ROUNDS: usize = 150;
        let recorder = recorder().unwrap();
        let exporter = Exporter { counted: recorder.handle(), turn: Arc::default(), began: SystemTime::now() };
        let observe = |count: usize| {
            metrics::with_local_recorder(&recorder, || {
                let histogram = metrics::histogram!("seconds");
                (0..count).for_each(|n| histogram.record(n as f64));
            });
        };
        let upkeep = tokio::spawn(exporter.clone().keep_small());
        observe(EACH);
        tokio::time::sleep(2 * UPKEEP).await;
        let before = memory();
        for _ in 0..ROUNDS {
            observe(EACH);
            tokio::time::sleep(UPKEEP).await;
        }
        let took = memory().saturating_sub(before);
        assert!(took < ROUNDS * EACH * size_of::<f64>() / 4, "{took} bytes");
        assert!(!upkeep.is_finished());
        let total = format!("seconds_count {}", (ROUNDS + 1) * EACH);
        assert!(exporter.counted.render().contains(&total), "{}", exporter.counted.render());
    }
}
