//! The log, and the network between it and a node: a message takes its time, or is lost on the way.

use std::{
    future::{Future, pending},
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};
use tower_reauth::revoke::shared::{Entry, LogError, Origin, RevocationLog, Standing};

use super::record::Record;
use crate::shared_revocations::memory::{Kept, Memory};

/// The log as a server that can stand still, and be replaced by a copy of it.
pub struct Server {
    pub memory: Memory,
    record: Arc<Record>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// It answers nothing until then.
    held_until: Instant,
    /// Moves when all connections break.
    connections: u32,
    /// Whether nobody is told that they broke.
    is_silent: bool,
}

/// How it is on the way between a node and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// Some answers come after the node gave up.
    Slow,
    /// Some requests arrive after the node gave up.
    Late,
    /// Requests are lost, and answers to others.
    Lossy,
    /// It is told that nobody is there.
    Refused,
    /// Nothing arrives.
    Cut,
}

/// A node's way to the log.
pub struct Link {
    server: Arc<Server>,
    sky: Arc<Sky>,
    rng: Mutex<Rng>,
}

/// The weather, and until when: it is calm after that.
pub struct Sky(Mutex<(Weather, Instant)>);

impl Server {
    pub fn new(memory: Memory, record: Arc<Record>) -> Arc<Self> {
        let state = State { held_until: Instant::now(), connections: 0, is_silent: false };
        Arc::new(Self { memory, record, state: Mutex::new(state) })
    }

    pub fn hold(&self, until: Instant) {
        self.state.lock().expect("nobody panics").held_until = until;
    }

    /// A copy takes its place. Whether those who are connected are told, or hear nothing any more.
    pub fn fail_over_to(&self, copy: Kept, is_silent: bool) {
        self.memory.fail_over_to(copy);
        let mut state = self.state.lock().expect("nobody panics");
        state.connections += 1;
        state.is_silent = is_silent;
    }

    fn state(&self) -> State {
        *self.state.lock().expect("nobody panics")
    }

    /// What is asked on a connection that was opened before `connections` broke.
    async fn served(&self, connections: u32) -> Result<(), LogError> {
        loop {
            let State { held_until, connections: now, is_silent } = self.state();
            if now != connections {
                return if is_silent { pending().await } else { Err(LogError::unavailable("the connection broke")) };
            }
            if held_until <= Instant::now() {
                return Ok(());
            }
            sleep_until(held_until).await;
        }
    }
}

impl Weather {
    /// How many milliseconds a message takes.
    fn delay(self) -> RangeInclusive<u64> {
        match self {
            Self::Calm => 0..=5,
            Self::Slow => 50..=900,
            Self::Late => 0..=4_000,
            Self::Lossy => 0..=100,
            Self::Refused | Self::Cut => 0..=0,
        }
    }

    fn loses(self, rng: &mut Rng) -> bool {
        match self {
            Self::Cut => true,
            Self::Lossy => rng.u8(..100) < 30,
            Self::Calm | Self::Slow | Self::Late | Self::Refused => false,
        }
    }
}

impl Sky {
    pub fn calm() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Weather::Calm, Instant::now()))))
    }

    pub fn set(&self, weather: Weather, until: Instant) {
        *self.0.lock().expect("nobody panics") = (weather, until);
    }

    fn weather(&self) -> Weather {
        let (weather, until) = *self.0.lock().expect("nobody panics");
        if until <= Instant::now() { Weather::Calm } else { weather }
    }
}

impl Link {
    pub fn new(server: &Arc<Server>, sky: &Arc<Sky>, rng: Rng) -> Self {
        Self { server: Arc::clone(server), sky: Arc::clone(sky), rng: Mutex::new(rng) }
    }

    /// A message, there or back, which is on its way from this call on.
    fn message(&self) -> impl Future<Output = Result<(), LogError>> + Send + 'static {
        let weather = self.sky.weather();
        let (is_lost, delay) = {
            let mut rng = self.rng.lock().expect("nobody panics");
            (weather.loses(&mut rng), Duration::from_millis(rng.u64(weather.delay())))
        };
        let sky = Arc::clone(&self.sky);
        async move {
            if weather == Weather::Refused {
                return Err(LogError::unavailable("it is not there"));
            }
            if !delay.is_zero() {
                sleep(delay).await;
            }
            if is_lost || sky.weather() == Weather::Cut {
                pending::<()>().await;
            }
            Ok(())
        }
    }

    async fn ask<T>(&self, answer: impl AsyncFnOnce(&Memory) -> T) -> Result<T, LogError> {
        let connections = self.server.state().connections;
        self.message().await?;
        self.server.served(connections).await?;
        let answer = answer(&self.server.memory).await;
        self.server.served(connections).await?;
        self.message().await?;
        Ok(answer)
    }
}

impl RevocationLog for Link {
    fn standing(&self) -> impl Future<Output = Result<Standing, LogError>> + Send {
        self.ask(async |memory: &Memory| memory.standing())
    }

    async fn state(&self, take: &mut (dyn FnMut(Entry) + Send)) -> Result<(), LogError> {
        let state = self.ask(async |memory: &Memory| memory.state()).await?;
        state.into_values().for_each(take);
        Ok(())
    }

    fn read(&self, after: u64, at_most: Duration) -> impl Future<Output = Result<Vec<(u64, Entry)>, LogError>> + Send {
        self.ask(async move |memory: &Memory| memory.read(after, at_most).await)
    }

    /// What was sent arrives even if whoever sent it has given up by then, or crashed.
    async fn append(&self, entries: &[Entry], origin: Origin) -> Result<(), LogError> {
        let (sent, server, entries) = (self.message(), Arc::clone(&self.server), entries.to_vec());
        let connections = server.state().connections;
        let (done, answered) = oneshot::channel();
        tokio::spawn(async move {
            let arrive = async {
                sent.await?;
                server.served(connections).await?;
                server.memory.append(&entries, origin);
                server.record.took(&entries, origin);
                Ok(())
            };
            let answer = arrive.await;
            // Whoever asked may not be there any more.
            done.send(answer).unwrap_or_default();
        });
        answered.await.expect("it is answered")?;
        self.server.served(connections).await?;
        self.message().await
    }
}
