//! One follower's stream of server-sent events.
//!
//! Owns where a follower stands. It holds at most one page of entries: one that reads slowly from
//! the past reads the next page later, and one that cannot keep up with the present is cut; it comes
//! back with the last id that it saw and misses nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures::stream::{self, Stream, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

use crate::feed::{Entry, EntryId, Feed, FeedError};
use crate::notice::OrderId;

/// Entries that are read at once.
const PAGE: usize = 256;
/// When a follower that lost its connection comes back.
const RETRY: Duration = Duration::from_secs(1);

/// What a follower asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The last event that it saw; `None` begins now, [`EntryId::ZERO`] with everything there is.
    pub after: Option<EntryId>,
    /// Only this order.
    pub order_id: Option<OrderId>,
}

struct Follower {
    feed: Arc<dyn Feed>,
    order_id: Option<OrderId>,
    cursor: EntryId,
    stage: Stage,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

enum Stage {
    Past,
    Present(broadcast::Receiver<Arc<Entry>>),
}

/// Begins to follow. The first event carries an id and no data, so that a follower who loses the
/// connection before anything happened still comes back to this place; an event `gap` follows when
/// entries after the last one seen may be gone.
///
/// # Errors
/// When the feed cannot be read.
pub async fn follow(
    feed: Arc<dyn Feed>,
    wish: Wish,
    shutdown: CancellationToken,
    place: OwnedSemaphorePermit,
) -> Result<impl Stream<Item = Result<Event, Infallible>>, FeedError> {
    // Subscribed before the bounds are read, so that nothing falls between the two.
    let live = feed.live().await?;
    let bounds = feed.bounds().await?;
    let mut first = Vec::new();
    let (cursor, stage) = match wish.after {
        None => (bounds.map_or(EntryId::ZERO, |bounds| bounds.newest), Stage::Present(live)),
        Some(after) => {
            let lost = after > EntryId::ZERO && bounds.is_none_or(|bounds| bounds.oldest > after);
            if lost {
                let oldest = bounds.map(|bounds| bounds.oldest.to_string());
                let gap = json!({ "after": after.to_string(), "oldest": oldest });
                first.push(Event::default().event("gap").data(gap.to_string()));
            }
            (after, Stage::Past)
        }
    };
    first.insert(0, Event::default().id(cursor.to_string()).retry(RETRY));
    let follower = Follower { feed, order_id: wish.order_id, cursor, stage, shutdown, _place: place };
    let rest = stream::unfold(follower, |mut follower| async move {
        let events = follower.next().await?;
        Some((stream::iter(events), follower))
    });
    Ok(stream::iter(first).chain(rest.flatten()).map(Ok))
}

impl Follower {
    /// The next events, at least one; `None` ends the stream.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => None,
            events = self.advance() => events,
        }
    }

    async fn advance(&mut self) -> Option<Vec<Event>> {
        loop {
            let entries = match &mut self.stage {
                Stage::Past => self.page().await?,
                Stage::Present(live) => match live.recv().await {
                    Ok(entry) if entry.id > self.cursor => vec![entry],
                    Ok(_) => continue,
                    Err(broadcast::error::RecvError::Lagged(entries)) => {
                        tracing::info!(entries, "events: a slow follower is cut");
                        return None;
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            };
            let Some(last) = entries.last() else { continue };
            self.cursor = last.id;
            let events: Vec<Event> = entries.iter().filter_map(|entry| self.event(entry)).collect();
            if !events.is_empty() {
                return Some(events);
            }
        }
    }

    /// A page of the past; the last one leads into the present.
    async fn page(&mut self) -> Option<Vec<Arc<Entry>>> {
        let read = async {
            let live = self.feed.live().await?;
            Ok::<_, FeedError>((live, self.feed.after(self.cursor, PAGE).await?))
        };
        match read.await {
            Ok((live, page)) => {
                self.cursor = page.next;
                if !page.more {
                    self.stage = Stage::Present(live);
                }
                Some(page.entries)
            }
            Err(error) => {
                tracing::warn!(%error, "events: the past cannot be read; a follower is cut");
                None
            }
        }
    }

    fn event(&self, entry: &Entry) -> Option<Event> {
        let notice = &entry.notice;
        if self.order_id.as_ref().is_some_and(|wanted| wanted.as_str() != notice.order_id) {
            return None;
        }
        // An entry that somebody else wrote: a line break in a field would break the stream's frame.
        if notice.kind.contains(['\n', '\r']) {
            return None;
        }
        let data = notice.to_json().ok()?;
        Some(Event::default().id(entry.id.to_string()).event(&notice.kind).data(data))
    }
}
