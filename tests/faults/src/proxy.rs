//! A TCP proxy that cuts connections at the worst moments: a statement that never arrives, one that arrives by
//! half, and one that is carried out while its answer is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy before a server.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, on loopback.
    pub port: u16,
    dice: Arc<Dice>,
}

#[derive(Debug, Default)]
struct Dice {
    per_million: AtomicU32,
    cuts: AtomicU64,
}

/// What becomes of one piece of what a client sends.
enum Fate {
    Carried,
    Swallowed,
    Halved,
    Unanswered,
}

impl Dice {
    fn throw(&self) -> Fate {
        let mut random = rand::rng();
        if random.random_range(0..1_000_000) >= self.per_million.load(Ordering::Relaxed) {
            return Fate::Carried;
        }
        self.cuts.fetch_add(1, Ordering::Relaxed);
        match random.random_range(0..4) {
            0 => Fate::Swallowed,
            1 => Fate::Halved,
            // The one in which the client cannot know.
            _ => Fate::Unanswered,
        }
    }
}

impl Proxy {
    /// A proxy before `server` (`host:port`) that carries everything until told otherwise.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn before(server: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let dice = Arc::<Dice>::default();
        let its = Arc::clone(&dice);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, dice) = (server.clone(), Arc::clone(&its));
                tokio::spawn(async move {
                    // Whatever fails: both sides see a connection that has ended.
                    let _ = carry(client, &server, &dice).await;
                });
            }
        });
        Ok(Self { port, dice })
    }

    /// Cuts at so many of a million pieces that clients send.
    pub fn cut(&self, per_million: u32) {
        self.dice.per_million.store(per_million, Ordering::Relaxed);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.dice.cuts.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, server: &str, dice: &Dice) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from_client.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        match dice.throw() {
            Fate::Carried => to_server.write_all(&buffer[..count]).await?,
            Fate::Swallowed => break,
            Fate::Halved => {
                to_server.write_all(&buffer[..count / 2]).await?;
                break;
            }
            Fate::Unanswered => {
                // Nothing is carried back from now on; the server goes on with what it has.
                answers.abort();
                let _ = answers.await;
                to_server.write_all(&buffer[..count]).await?;
                let patience = Duration::from_millis(rand::rng().random_range(0..20));
                tokio::time::sleep(patience).await;
                return Ok(());
            }
        }
    }
    answers.abort();
    Ok(())
}
