//! What every server process has: a bus, a name, addresses to listen on, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use saga_bus::{Bus, Kafka, KafkaConfig};
use saga_protocol::Topics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;

/// Which bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BusKind {
    /// Apache Kafka
    Kafka,
    /// Within one process: `amends dev` alone
    InProcess,
}

/// The bus's address.
#[derive(Clone, Debug, Args)]
pub struct BusArgs {
    /// The bus
    #[arg(long, env = "AMENDS_BUS", default_value = "kafka")]
    bus: BusKind,
    /// Kafka's bootstrap servers
    #[arg(long, env = "AMENDS_KAFKA", default_value = "127.0.0.1:19092", value_name = "HOST:PORT,…")]
    kafka: String,
    /// Separates installations on one Kafka
    #[arg(long, env = "AMENDS_TOPIC_PREFIX", default_value = "amends", value_name = "PREFIX")]
    topic_prefix: String,
    /// A property for librdkafka, such as `security.protocol=SASL_SSL`; may be repeated
    #[arg(long, env = "AMENDS_KAFKA_PROPERTIES", value_delimiter = ';', value_name = "NAME=VALUE")]
    kafka_property: Vec<String>,
}

impl BusArgs {
    /// What separates installations.
    pub fn prefix(&self) -> &str {
        &self.topic_prefix
    }

    /// Connects.
    ///
    /// # Errors
    /// When the bus is not one between processes, or cannot be reached.
    pub async fn connect(&self, client_id: String) -> Result<(Arc<dyn Bus>, Topics), Failure> {
        if self.bus == BusKind::InProcess {
            return Err(Failure::usage(
                "the in-process bus ends at this process: nobody else would hear it. `amends dev` runs everything \
                 in one process; separate processes need --bus kafka",
            ));
        }
        let mut extra = Vec::new();
        for property in &self.kafka_property {
            let Some((name, value)) = property.split_once('=') else {
                return Err(Failure::usage(format!("--kafka-property `{property}` is not NAME=VALUE")));
            };
            extra.push((name.trim().to_owned(), value.to_owned()));
        }
        let config =
            KafkaConfig { bootstrap: self.kafka.clone(), client_id, extra, ..KafkaConfig::default() };
        let bus = Kafka::connect(config).await.context("the bus (AMENDS_KAFKA says where it is)")?;
        Ok((bus, Topics::new(self.topic_prefix.clone())))
    }
}

/// Where to listen.
#[derive(Clone, Debug, Args)]
pub struct ListenArgs {
    /// Listens on other interfaces than loopback, without sign-in
    #[arg(long, env = "AMENDS_LISTEN_ANYWHERE", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    listen_anywhere: bool,
}

impl ListenArgs {
    /// Opens a port.
    ///
    /// # Errors
    /// When it is not loopback and was not asked for, or is taken.
    pub async fn open(&self, address: SocketAddr) -> anyhow::Result<TcpListener> {
        crate::api::check_listen(address, self.listen_anywhere)?;
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    }
}

/// This process, for people and logs: host and process id.
pub fn node() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|it| it.trim().to_owned())
        .filter(|it| !it.is_empty())
        .unwrap_or_else(|| "localhost".to_owned());
    format!("{host}/{}", std::process::id())
}

/// A token that SIGINT and SIGTERM cancel. A second signal ends the process at once: who asks twice means it.
///
/// # Errors
/// When the operating system refuses the handlers.
pub fn until_asked_to_stop() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = token.clone();
    tokio::spawn(async move {
        for time in 0.. {
            let which = tokio::select! {
                it = interrupt.recv() => it.map(|()| "SIGINT"),
                it = terminate.recv() => it.map(|()| "SIGTERM"),
            };
            let Some(which) = which else { return };
            if time > 0 {
                std::process::exit(130);
            }
            tracing::info!(signal = which, "stopping; what is in flight is finished");
            asked.cancel();
        }
    });
    Ok(token)
}
