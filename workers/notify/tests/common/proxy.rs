//! A TCP proxy in front of the real Redis that can be cut and restored: an outage without stopping a
//! server that other tests use.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub url: String,
    up: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub async fn before_redis(up: bool) -> Self {
        let redis = test_support::redis_url();
        let address = redis.trim_start_matches("redis://").split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here: SocketAddr = listener.local_addr().unwrap();
        let up = Arc::new(watch::Sender::new(up));
        let told = up.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, address.clone(), told.subscribe()));
            }
        });
        Self { url: format!("redis://{here}/"), up }
    }

    /// Cuts every connection, and every new one at once.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    pub fn restore(&self) {
        self.up.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, address: String, mut up: watch::Receiver<bool>) {
    if !*up.borrow_and_update() {
        return;
    }
    let mut server = TcpStream::connect(address).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = up.wait_for(|up| !*up) => {}
    }
}
