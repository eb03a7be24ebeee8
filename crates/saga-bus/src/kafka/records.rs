//! From librdkafka's messages to records. Owns the copy; it must not interpret anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use saga_protocol::Headers;
use saga_protocol::envelope::{HeaderName, header_name};

use crate::{Record, TopicPartition};

/// Topic names, each kept once.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    /// Few topics a reader: a list is found through faster than a table is hashed.
    pub(super) fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|it| &***it == name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.push(name.clone());
        name
    }
}

/// Copies a message; key, data and header values share one allocation.
pub(super) fn record(message: &BorrowedMessage<'_>, names: &mut Names) -> Record {
    let at = TopicPartition { topic: names.get(message.topic()), partition: message.partition() };
    let offset = message.offset();
    // The binding panics over a header name that is not UTF-8. Whoever wrote it must not be able to
    // stop a shard: the record goes on without headers, and fails where it is decoded.
    let header_list = catch_unwind(AssertUnwindSafe(|| header_list(message))).unwrap_or_else(|_| {
        tracing::warn!(partition = ?at, offset, "a record's header names are not UTF-8: its headers are dropped");
        Vec::new()
    });
    let key = message.key().filter(|key| !key.is_empty());
    let data = message.payload().filter(|data| !data.is_empty());
    let values: usize = header_list.iter().map(|(_, value)| value.len()).sum();
    let mut buffer =
        BytesMut::with_capacity(values + key.map_or(0, <[u8]>::len) + data.map_or(0, <[u8]>::len));
    let mut copy = |bytes: &[u8]| -> Bytes {
        buffer.put_slice(bytes);
        buffer.split().freeze()
    };
    let headers = header_list.into_iter().map(|(name, value)| (name, copy(value))).collect();
    let key = key.map(&mut copy);
    let data = data.map(&mut copy);
    Record { at, offset, key, headers: Headers(headers), data }
}

fn header_list<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(HeaderName, &'a [u8])> {
    let Some(headers) = message.headers() else { return Vec::new() };
    headers.iter().map(|header| (header_name(header.key), header.value.unwrap_or_default())).collect()
}
