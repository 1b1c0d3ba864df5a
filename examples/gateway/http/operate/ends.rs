//! The streams that ended lately, and why: what an operator sees of a stream that is open no more.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use serde_json::{Value, json};
use tokio::sync::watch;
use tower_reauth::reauth::Ended;

use super::{
    ids,
    open::{caller, date},
};

/// How many are remembered.
const REMEMBERED: usize = 16;

/// The last streams that ended.
#[derive(Clone, Debug, Default)]
pub struct Ends(Arc<watch::Sender<Last>>);

#[derive(Debug, Default)]
struct Last {
    count: u64,
    ends: VecDeque<(SystemTime, Ended)>,
}

impl Ends {
    /// The end of a stream, as the layer around it tells it.
    pub fn note(&self, ended: &Ended) {
        let (now, mut forgotten) = (SystemTime::now(), None);
        self.0.send_modify(|last| {
            last.count += 1;
            last.ends.push_back((now, ended.clone()));
            if last.ends.len() > REMEMBERED {
                forgotten = last.ends.pop_front();
            }
        });
        // Not under the lock.
        drop(forgotten);
    }

    /// How many streams have ended so far.
    pub fn count(&self) -> u64 {
        self.0.borrow().count
    }

    /// Waits until that is another number.
    pub async fn changed_since(&self, known: u64) {
        // It is not closed for as long as this is there.
        let _ = self.0.subscribe().wait_for(|last| last.count != known).await;
    }

    /// Those that are remembered, the last one last.
    pub fn list(&self) -> Vec<Value> {
        let ends: Vec<_> = self.0.borrow().ends.iter().cloned().collect();
        ends.iter().map(|(at, ended)| described(*at, ended)).collect()
    }
}

fn described(at: SystemTime, ended: &Ended) -> Value {
    let mut shown = json!({ "id": ended.stream.map(ids::text), "label": ended.label.as_deref() });
    if let (Value::Object(shown), Value::Object(caller)) = (&mut shown, caller(&ended.identity)) {
        shown.extend(caller);
        shown.insert("ended".to_owned(), date(at).into());
        shown.insert("reason".to_owned(), ended.reason.as_str().into());
    }
    shown
}
