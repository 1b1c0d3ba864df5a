//! A verifier that answers what it is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tower_reauth::{
    Identity, VerifyToken,
    revoke::Revision,
    verify::{BearerToken, Verification, VerifyError},
};

use super::alice;

pub type Answer = Result<Identity, VerifyError>;

/// A verifier that answers what it is told, and remembers when it was asked. At first it says that
/// every token is alice's.
#[derive(Clone)]
pub struct Oracle {
    revision: Option<Revision>,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    asked: Vec<Instant>,
    waiting: VecDeque<oneshot::Sender<Answer>>,
}

#[derive(Clone)]
enum Manner {
    Says(Answer),
    SaysAfter(Duration, Answer),
    Waits,
    Panics,
    PanicsLater,
}

impl Oracle {
    /// A verifier without a revision.
    pub fn without_revision() -> Self {
        let state = State { manner: Manner::Says(Ok(alice())), asked: Vec::new(), waiting: VecDeque::new() };
        Self { revision: None, state: Arc::new(Mutex::new(state)) }
    }

    /// A verifier that tells when an answer may have changed.
    pub fn with_revision() -> Self {
        Self::with(Revision::new())
    }

    /// A verifier that tells by this revision.
    pub fn with(revision: Revision) -> Self {
        Self { revision: Some(revision), ..Self::without_revision() }
    }

    /// Answers at once.
    pub fn says(&self, answer: Answer) {
        self.state().manner = Manner::Says(answer);
    }

    /// Answers after a while what it would have answered at once.
    pub fn says_after(&self, delay: Duration, answer: Answer) {
        self.state().manner = Manner::SaysAfter(delay, answer);
    }

    /// Leaves questions open until [`answers`](Self::answers).
    pub fn waits(&self) {
        self.state().manner = Manner::Waits;
    }

    /// Answers the oldest question that is open.
    pub fn answers(&self, answer: Answer) {
        let question = self.state().waiting.pop_front().expect("a question is open");
        let _ = question.send(answer);
    }

    pub fn panics(&self) {
        self.state().manner = Manner::Panics;
    }

    pub fn panics_later(&self) {
        self.state().manner = Manner::PanicsLater;
    }

    /// Moves the revision.
    pub fn moves(&self) {
        self.revision.as_ref().expect("it has one").bump();
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.state().asked.len()
    }

    /// When it was asked.
    pub fn asked_at(&self) -> Vec<Instant> {
        self.state().asked.clone()
    }

    /// How many questions are open: not answered, and somebody still wants to know.
    pub fn open_questions(&self) -> usize {
        self.state().waiting.iter().filter(|question| !question.is_closed()).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock held")
    }
}

impl VerifyToken for Oracle {
    fn verify(&self, _: &BearerToken) -> Verification {
        let manner = {
            let mut state = self.state();
            state.asked.push(Instant::now());
            state.manner.clone()
        };
        match manner {
            Manner::Says(answer) => answer.into(),
            Manner::SaysAfter(delay, answer) => Verification::pending(async move {
                sleep(delay).await;
                answer
            }),
            Manner::Waits => {
                let (sender, receiver) = oneshot::channel();
                self.state().waiting.push_back(sender);
                Verification::pending(async move { receiver.await.expect("a question that is open is answered") })
            }
            Manner::Panics => panic!("the verifier panics, as it was told"),
            Manner::PanicsLater => Verification::pending(async {
                tokio::task::yield_now().await;
                panic!("the verifier panics, as it was told")
            }),
        }
    }

    fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }
}
