//! How the clients are set up. Owns every librdkafka property and why it has its value; it must not
//! open connections.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::RECORD_BYTES_MAX;

/// How to reach a Kafka, and how to behave as its client.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Bootstrap servers, `host:port,host:port`.
    pub bootstrap: String,
    /// What brokers' logs and quotas call this process.
    pub client_id: String,
    /// Handed to librdkafka as they are, after everything else: TLS, SASL, tuning.
    pub extra: Vec<(String, String)>,
    /// How long [`Kafka::connect`](super::Kafka::connect) waits for a broker, in ms.
    pub connect_timeout_ms: u64,
    /// Without a heartbeat for this long a member's partitions go to others, in ms. The broker's
    /// `group.min.session.timeout.ms` (6 s by default) bounds it.
    pub session_timeout_ms: u32,
    /// Replicas of new topics; when absent, three or as many as there are brokers.
    pub replication_factor: Option<u16>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:19092".to_owned(),
            client_id: "amends".to_owned(),
            extra: Vec::new(),
            connect_timeout_ms: 15_000,
            session_timeout_ms: 6_000,
            replication_factor: None,
        }
    }
}

/// How long one question to the cluster may take.
pub(super) const REQUEST_TIMEOUT_MS: u32 = 10_000;
/// How long a record may wait for its acknowledgement. Whoever published it then decides: the outbox's
/// sweep sends it again.
const DELIVERY_TIMEOUT_MS: u32 = 30_000;
/// How long a member may keep its thread from polling before the group goes on without it. The
/// handshakes of a rebalance must end earlier.
const POLL_INTERVAL_MAX_MS: u32 = 120_000;

impl KafkaConfig {
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            // Topics are made by `ensure_topics`, with the properties that are wanted, or not at all.
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", REQUEST_TIMEOUT_MS.to_string())
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "60000")
            .set("message.max.bytes", (RECORD_BYTES_MAX + 64 * 1024).to_string())
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.extra {
            config.set(key, value);
        }
        config
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.finish(self.base())
    }

    /// A producer that waits `linger_ms` for company.
    pub(super) fn producer(&self, linger_ms: u32) -> ClientConfig {
        let mut config = self.base();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", linger_ms.to_string())
            .set("delivery.timeout.ms", DELIVERY_TIMEOUT_MS.to_string())
            .set("request.timeout.ms", REQUEST_TIMEOUT_MS.to_string())
            .set("retry.backoff.ms", "50")
            // A topic that was made this instant may be unknown to the broker that is asked first.
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536");
        if linger_ms > 0 {
            // Single records do not compress; batches of JSON shrink to a third.
            config.set("compression.type", "lz4");
        }
        self.finish(config)
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("fetch.min.bytes", "1")
            // A broker answers as soon as it has a byte; but a partition that is added, sought or
            // resumed waits for the fetch that is in the air.
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "50")
            // Read ahead a little, and go on soon after: a reader that is behind must not wait.
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "5")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (self.session_timeout_ms / 4).to_string())
            .set("max.poll.interval.ms", POLL_INTERVAL_MAX_MS.max(self.session_timeout_ms).to_string());
        config
    }

    /// A member of a group.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        config.set("partition.assignment.strategy", "cooperative-sticky").set("auto.offset.reset", "error");
        self.finish(config)
    }

    /// A reader without a group. librdkafka wants the name of one all the same; it is never joined.
    pub(super) fn tail(&self) -> ClientConfig {
        let mut config = self.consumer(&format!("{}-tail", self.client_id));
        config.set("auto.offset.reset", "earliest");
        self.finish(config)
    }
}
