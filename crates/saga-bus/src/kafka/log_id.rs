//! Asks the cluster for its id and a topic's id, afresh each time. Owns the only unsafe code of the
//! workspace: the Rust binding has no call for a topic's id, and remembers the first cluster id for ever.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use rdkafka::admin::AdminClient;
use rdkafka::bindings::{self as c, rd_kafka_resp_err_t as Code};

use super::config::REQUEST_TIMEOUT_MS;
use super::context::Logged;
use crate::{BusError, LogId};

/// Blocks until the cluster has answered, or a timeout.
pub(super) fn log_id(admin: &AdminClient<Logged>, topic: &str) -> Result<LogId, BusError> {
    Ok(LogId { cluster: cluster_id(admin)?, topic: topic_id(admin, topic)? })
}

/// Blocks until the cluster has answered, or a timeout.
pub(super) fn cluster_id(admin: &AdminClient<Logged>) -> Result<String, BusError> {
    let client = admin.inner().native_ptr();
    let queue = Queue::new(admin);
    // SAFETY: client and queue live until the call returns; null options mean the defaults.
    unsafe { c::rd_kafka_DescribeCluster(client, ptr::null(), queue.0) };
    let answer = queue.answer()?;
    // SAFETY: the event lives as long as `answer`; the result and the string belong to it.
    let id = unsafe {
        let result = c::rd_kafka_event_DescribeCluster_result(answer.0);
        if result.is_null() { None } else { text(c::rd_kafka_DescribeCluster_result_cluster_id(result)) }
    };
    id.ok_or_else(|| BusError::Broker("the cluster has no id".to_owned()))
}

fn topic_id(admin: &AdminClient<Logged>, topic: &str) -> Result<String, BusError> {
    let client = admin.inner().native_ptr();
    let name = CString::new(topic).map_err(|_| BusError::NoTopic(topic.to_owned()))?;
    let queue = Queue::new(admin);
    let mut names = [name.as_ptr()];
    // SAFETY: the names live until the collection, which copies them, is made; client, collection and
    // queue live until the call returns, and the call copies the collection.
    unsafe {
        let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        c::rd_kafka_DescribeTopics(client, topics, ptr::null(), queue.0);
        c::rd_kafka_TopicCollection_destroy(topics);
    }
    let answer = queue.answer()?;
    // SAFETY: the event lives as long as `answer`; everything read here belongs to it, and the array
    // has as many elements as `count` says.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(answer.0);
        if result.is_null() {
            return Err(BusError::Broker("the answer is not about topics".to_owned()));
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count == 0 {
            return Err(BusError::NoTopic(topic.to_owned()));
        }
        let description = *topics;
        let error = c::rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            match c::rd_kafka_error_code(error) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
                    return Err(BusError::NoTopic(topic.to_owned()));
                }
                _ => return Err(BusError::Broker(text(c::rd_kafka_error_string(error)).unwrap_or_default())),
            }
        }
        let id = c::rd_kafka_TopicDescription_topic_id(description);
        let id = if id.is_null() { None } else { text(c::rd_kafka_Uuid_base64str(id)) };
        id.ok_or_else(|| BusError::Broker(format!("topic `{topic}` has no id")))
    }
}

/// Copies a C string.
///
/// # Safety
/// `text` is null or a string that ends with a null byte and lives until this returns.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// A queue of its own for one answer.
struct Queue(*mut c::rd_kafka_queue_t);

impl Queue {
    fn new(admin: &AdminClient<Logged>) -> Self {
        // SAFETY: the client lives as long as `admin`; the queue is destroyed once, by `drop`. The
        // functions above keep `admin` borrowed for as long as they have the queue.
        Self(unsafe { c::rd_kafka_queue_new(admin.inner().native_ptr()) })
    }

    fn answer(&self) -> Result<Answer, BusError> {
        // The request itself times out earlier, and says why.
        let timeout_ms = i32::try_from(REQUEST_TIMEOUT_MS + 5_000).unwrap_or(i32::MAX);
        // SAFETY: the queue lives until `self` is dropped.
        let event = unsafe { c::rd_kafka_queue_poll(self.0, timeout_ms) };
        if event.is_null() {
            return Err(BusError::Broker("the cluster did not answer".to_owned()));
        }
        let answer = Answer(event);
        // SAFETY: the event is not null and lives as long as `answer`; its string belongs to it.
        unsafe {
            if c::rd_kafka_event_error(answer.0) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(BusError::Broker(
                    text(c::rd_kafka_event_error_string(answer.0)).unwrap_or_default(),
                ));
            }
        }
        Ok(answer)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed nowhere else.
        unsafe { c::rd_kafka_queue_destroy(self.0) };
    }
}

struct Answer(*mut c::rd_kafka_event_t);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: handed over by `rd_kafka_queue_poll`, destroyed nowhere else.
        unsafe { c::rd_kafka_event_destroy(self.0) };
    }
}
