//! Where everything listens, on loopback: the usual ports, or free ones when somebody else has those.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::net::TcpListener;

/// The port of the Toss sandbox, unless it is taken.
pub const SANDBOX_PORT: u16 = 8090;

/// A port that is held open until somebody serves on it.
#[derive(Debug)]
pub struct Place {
    /// What is to listen there.
    pub name: &'static str,
    /// The open port.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
}

impl Place {
    /// Opens the usual port, or a free one; that is said on standard error.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn open(name: &'static str, usual: SocketAddr) -> anyhow::Result<Self> {
        if let Ok(listener) = TcpListener::bind(usual).await {
            return Ok(Self { name, address: listener.local_addr()?, listener });
        }
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.context("no free port on loopback")?;
        let address = listener.local_addr()?;
        eprintln!("{name}: port {} is taken, using {}", usual.port(), address.port());
        Ok(Self { name, address, listener })
    }

    /// Opens the usual port of loopback, or a free one.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn on_loopback(name: &'static str, port: u16) -> anyhow::Result<Self> {
        Self::open(name, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The URLs of all that runs.
#[derive(Clone, Debug)]
pub struct Urls {
    /// The engine's API.
    pub api: String,
    /// The order worker's read API.
    pub order: String,
    /// The stock worker's API.
    pub stock: String,
    /// The payment worker's API, which takes webhooks.
    pub payment: String,
    /// The notify worker's API, with the events.
    pub notify: String,
    /// The worker of `http` steps.
    pub http: String,
    /// The Toss sandbox.
    pub sandbox: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_replaced_by_a_free_one() {
        let first = Place::on_loopback("one", 0).await.unwrap();
        let second = Place::on_loopback("two", first.address.port()).await.unwrap();
        assert_ne!(first.address, second.address);
        assert_eq!(second.url(), format!("http://127.0.0.1:{}", second.address.port()));
    }
}
