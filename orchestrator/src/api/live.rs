//! Live changes, as Server-Sent Events: hints of what to look at again, resumable for a while.
//!
//! One follower a process numbers the hints and remembers the newest; each reader has a place in that memory. A
//! reader that falls out of it is told to ask again for everything.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use chrono::Utc;
use parking_lot::Mutex;
use saga_protocol::{SagaChanged, SagaId};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::{Api, sagas};
use crate::auth::Caller;
use crate::engine::Engine;

/// Changes that are remembered.
const REMEMBERED: usize = 8_192;
/// Changes of one event at most, so that a slow reader is noticed.
const AT_ONCE: usize = 256;
/// Readers take three times this long a silence for a broken line.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long one connection lasts at most: then whoever reads must show again who they are.
const CONNECTION_MAX: Duration = Duration::from_secs(15 * 60);

/// What readers are told.
#[derive(Clone, Debug)]
enum News {
    Saga(SagaChanged),
    Ops(&'static str),
}

#[derive(Debug, Default)]
struct Memory {
    /// The number of the oldest that is remembered.
    first: u64,
    news: VecDeque<News>,
}

impl Memory {
    fn next(&self) -> u64 {
        self.first + self.news.len() as u64
    }
}

/// The memory of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Tells one process's numbers from another's.
    run: u64,
    memory: Mutex<Memory>,
    more: Notify,
}

impl Default for Live {
    fn default() -> Self {
        Self(Arc::new(Shared {
            run: rand::random::<u32>().into(),
            memory: Mutex::default(),
            more: Notify::new(),
        }))
    }
}

impl Live {
    /// Follows the hints until closing.
    pub(super) async fn follow(self, engine: Engine, closing: CancellationToken) {
        let mut hints = engine.waiters.live();
        let mut news = engine.news.subscribe();
        loop {
            let hint = tokio::select! {
                () = closing.cancelled() => return,
                // What was missed is told again soon: jobs move on.
                Ok(what) = news.recv() => {
                    self.tell(what);
                    continue;
                }
                hint = hints.recv() => hint,
            };
            match hint {
                Ok(events) => self.remember(events.sagas.iter().cloned().map(News::Saga)),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                    // Whoever reads has a gap now.
                    let mut memory = self.0.memory.lock();
                    memory.first = memory.next() + 1;
                    memory.news.clear();
                    drop(memory);
                    self.0.more.notify_waiters();
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Says that something of operators' has changed in this process.
    pub fn tell(&self, what: &'static str) {
        self.remember(std::iter::once(News::Ops(what)));
    }

    fn remember(&self, news: impl Iterator<Item = News>) {
        let mut memory = self.0.memory.lock();
        for one in news {
            memory.news.push_back(one);
            if memory.news.len() > REMEMBERED {
                memory.news.pop_front();
                memory.first += 1;
            }
        }
        drop(memory);
        self.0.more.notify_waiters();
    }

    fn id(&self, at: u64) -> String {
        format!("{:x}-{at}", self.0.run)
    }

    /// The place that a reader left off at; `None` when it cannot be known here.
    fn place(&self, id: &str) -> Option<u64> {
        let (run, at) = id.split_once('-')?;
        let at: u64 = at.parse().ok()?;
        let known = u64::from_str_radix(run, 16).ok()? == self.0.run;
        (known && at <= self.0.memory.lock().next()).then_some(at)
    }
}

/// From where on, and of what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveQuery {
    after: Option<String>,
    saga: Option<SagaId>,
}

struct Reader {
    live: Live,
    at: u64,
    saga: Option<SagaId>,
    pending: VecDeque<Event>,
    closing: CancellationToken,
    until: Instant,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            // Also while there is always something new.
            if self.closing.is_cancelled() || Instant::now() >= self.until {
                return None;
            }
            if let Some(event) = self.pending.pop_front() {
                return Some((Ok(event), self));
            }
            let live = self.live.clone();
            let more = live.0.more.notified();
            tokio::pin!(more);
            // Registered before looking, so that nothing slips between.
            more.as_mut().enable();
            if self.read() {
                continue;
            }
            tokio::select! {
                () = more => {}
                () = self.closing.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
            }
        }
    }

    /// Takes what is new; `false` when nothing is.
    fn read(&mut self) -> bool {
        let memory = self.live.0.memory.lock();
        if self.at == memory.next() {
            return false;
        }
        if self.at < memory.first || self.at > memory.next() {
            self.at = memory.next();
            drop(memory);
            self.pending.push_back(Event::default().event("reset").id(self.live.id(self.at)).data("{}"));
            return true;
        }
        let from = usize::try_from(self.at - memory.first).unwrap_or(usize::MAX);
        let news: Vec<News> = memory.news.iter().skip(from).take(AT_ONCE).cloned().collect();
        drop(memory);
        for one in news {
            self.at += 1;
            let event = Event::default().id(self.live.id(self.at));
            match one {
                News::Saga(it) if self.saga.is_none_or(|saga| saga == it.saga) => {
                    let data = json!({ "saga": it.saga, "revision": it.revision, "status": it.status });
                    self.pending.push_back(event.event("saga").data(data.to_string()));
                }
                News::Ops(what) if self.saga.is_none() => {
                    self.pending.push_back(event.event("ops").data(json!({ "what": what }).to_string()));
                }
                News::Saga(_) | News::Ops(_) => {}
            }
        }
        true
    }
}

/// Live changes (Server-Sent Events)
///
/// Events `saga` (`saga`, `revision`, `status`), `ops` (`what` has changed) and `reset` (changes were missed: ask again
/// for everything). `Last-Event-ID`, or `after`, resumes.
#[utoipa::path(
    get, path = "/ops/live", operation_id = "live", tag = "operators",
    params(
        ("after" = Option<String>, Query, description = "The id of the last event; the header `Last-Event-ID` does the same"),
        ("saga" = Option<uuid::Uuid>, Query, description = "Only this saga"),
    ),
    responses(
        (status = 200, description = "Events, without end", body = String, content_type = "text/event-stream"),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such saga", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn live(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Result<Query<LiveQuery>, QueryRejection>,
) -> Result<Sse<impl futures::Stream<Item = Result<Event, Infallible>>>, Problem> {
    let asked = sagas::query(asked)?;
    match asked.saga {
        Some(saga) => drop(sagas::whole(&api, &caller, saga).await?),
        None if caller.only_own() => return Err(Problem::bad_request("Give `saga`, one of your own.")),
        None => {}
    }
    let live = api.live().clone();
    let last =
        headers.get("last-event-id").and_then(|it| it.to_str().ok()).map(str::to_owned).or(asked.after);
    let now = live.0.memory.lock().next();
    let mut pending = VecDeque::new();
    let at = match &last {
        None => now,
        Some(id) => live.place(id).unwrap_or_else(|| {
            pending.push_back(Event::default().event("reset").id(live.id(now)).data("{}"));
            now
        }),
    };
    // Whether one may still listen is asked at the next connection, which goes on where this one ends.
    let left = caller.expires_at.map_or(CONNECTION_MAX, |at| (at - Utc::now()).to_std().unwrap_or_default());
    let until = Instant::now() + left.min(CONNECTION_MAX);
    let reader = Reader { live, at, saga: asked.saga, pending, closing: api.closing().clone(), until };
    let stream = futures::stream::unfold(reader, Reader::next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
