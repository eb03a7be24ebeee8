//! The HTTP API: triggers, sagas, operators' actions, definitions, probes.
//!
//! Owns what HTTP is made of, and how it is spelled. It decides nothing about a saga: starts go to
//! [`crate::start`], everything else through the mailbox, and reads come from [`crate::store::read`].
//!
//! | file | what |
//! |---|---|
//! | [`start`], [`triggers`] | from a request to a durable saga |
//! | [`sagas`], [`assemble`] | reading sagas |
//! | [`act`] | signals and operators' actions |
//! | [`definitions`] | which definitions there are; publishing |
//! | [`ops`], [`openapi`] | probes, metrics, the document |
//! | [`assets`] | the dashboard |
//! | [`authoring`] | what authors ask before they publish |
//! | [`problem`] | the one place where an error becomes an answer |
//! | [`view`], [`words`] | the answers as types, and their words |

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use limit::{Limiter, Rate};
use problem::Problem;

pub mod act;
pub mod assemble;
pub mod assets;
pub mod authoring;
pub mod body;
pub mod definitions;
pub mod headers;
pub mod limit;
pub mod openapi;
pub mod ops;
pub mod problem;
pub mod proof;
pub mod sagas;
pub mod start;
pub mod triggers;
pub mod view;
pub mod words;

/// The bounds of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// The largest body of a start or signal, in bytes.
    pub body_bytes_max: usize,
    /// How long a start's body may take to arrive.
    pub body_wait: Duration,
    /// How fast one address may ask.
    pub rate: Rate,
    /// Starts in the making at one time; beyond, they are refused.
    pub starts_max: usize,
    /// Requests that wait for their saga's end at one time; beyond, they are answered at once.
    pub waits_max: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            body_wait: Duration::from_secs(15),
            rate: Rate { per_s: 20_000.0, burst: 40_000.0 },
            starts_max: 4_096,
            waits_max: 20_000,
        }
    }
}

/// What every handler sees. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    config: ApiConfig,
    starts: Semaphore,
    waits: Semaphore,
    limiter: Limiter,
    closing: CancellationToken,
}

impl Api {
    /// The API of an engine. `closing` ends waiting requests and stops [`Api::serve`].
    pub fn new(engine: Engine, config: ApiConfig, closing: CancellationToken) -> Self {
        // Before anything is counted.
        let _ = ops::recorder();
        Self(Arc::new(Shared {
            starts: Semaphore::new(config.starts_max),
            waits: Semaphore::new(config.waits_max),
            limiter: Limiter::new(config.rate),
            engine,
            config,
            closing,
        }))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    pub(crate) fn starts(&self) -> &Semaphore {
        &self.0.starts
    }

    pub(crate) fn waits(&self) -> &Semaphore {
        &self.0.waits
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/sagas", get(sagas::list))
            // One segment, two meanings: a GET names a saga, a POST a definition.
            .route("/sagas/{id}", get(sagas::one).post(start::by_name))
            .route("/sagas/{id}/history", get(sagas::history))
            .route("/sagas/{id}/ignored", get(sagas::ignored))
            .route("/sagas/{id}/signals/{name}", post(act::signal))
            .route("/sagas/{id}/actions", post(act::act))
            .route("/definitions", get(definitions::list).post(definitions::publish))
            .route("/definitions/{name}", get(definitions::one))
            .route("/authoring/check", post(authoring::check))
            .route("/authoring/simulate", post(authoring::simulate))
            .route("/healthz", get(ops::healthz))
            .route("/readyz", get(ops::readyz))
            .route("/metrics", get(ops::metrics))
            .route("/openapi.json", get(openapi::document))
            .route("/", get(assets::root))
            .route("/ui", get(assets::root))
            .route("/ui/", get(assets::index))
            .route("/ui/{*path}", get(assets::file))
            .method_not_allowed_fallback(other_method)
            .fallback(start::by_trigger)
            .layer(middleware::from_fn_with_state(self.clone(), gate))
            .with_state(self.clone())
    }

    /// Serves until `closing`: then nothing more is accepted, and what is in flight is finished.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let closing = self.closing().clone();
        let upkeep = tokio::spawn(ops::upkeep(closing.clone()));
        let service = self.router().into_make_service_with_connect_info::<Peer>();
        let served =
            axum::serve(NoDelay(listener), service).with_graceful_shutdown(closing.cancelled_owned()).await;
        upkeep.abort();
        served
    }
}

/// Answers leave at once: they are small, and a saga's start waits for nothing else.
struct NoDelay(TcpListener);

impl axum::serve::Listener for NoDelay {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        (stream, peer)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, NoDelay>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, NoDelay>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Before and after every handler: whom is asked, how often, and what browsers are told.
async fn gate(
    State(api): State<Api>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(problem) = admit(&api, request.headers(), peer.ip()) {
        return problem.into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn admit(api: &Api, headers: &HeaderMap, client: IpAddr) -> Result<(), Problem> {
    // Without sign-in the loopback interface is the wall. A page of a foreign site whose name was made to
    // resolve to 127.0.0.1 would climb over it; it cannot forge this header.
    if client.is_loopback() && !host_is_local(headers) {
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "The request is for another host")
            .detail("Over the loopback interface, ask for `localhost`, 127.0.0.1 or [::1]."));
    }
    api.0.limiter.take(client, Instant::now()).map_err(|retry_after_s| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            .detail("This address asks faster than it may. Nothing was written.")
            .retry_after(retry_after_s)
    })
}

fn host_is_local(headers: &HeaderMap) -> bool {
    // HTTP/1.0 clients may send none; browsers always do.
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

async fn other_method(method: Method, request: Request) -> Problem {
    let path = request.uri().path();
    let allowed = match path {
        "/sagas" | "/healthz" | "/readyz" | "/metrics" | "/openapi.json" => "GET",
        "/definitions" => "GET, POST",
        "/authoring/check" | "/authoring/simulate" => "POST",
        _ if path.ends_with("/actions") || path.contains("/signals/") => "POST",
        _ if path.starts_with("/sagas/") && path.matches('/').count() == 2 => "GET, POST",
        _ => "GET",
    };
    tracing::debug!(%method, path, "no such method");
    start::other_method(allowed.to_owned())
}

/// Checks an address to listen on: until there is sign-in, only loopback, unless told otherwise.
///
/// # Errors
/// When it is not loopback and `anywhere` is false; the message says what to do.
pub fn check_listen(address: SocketAddr, anywhere: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        anywhere || address.ip().is_loopback(),
        "refusing to listen on {address}: there is no sign-in yet, so whoever reaches this port can start, change and \
         read sagas. Listen on 127.0.0.1, or, behind something that guards the port, give --listen-anywhere \
         (AMENDS_LISTEN_ANYWHERE=1)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_loopback_without_being_told() {
        check_listen("127.0.0.1:8080".parse().unwrap(), false).unwrap();
        check_listen("[::1]:8080".parse().unwrap(), false).unwrap();
        let refused = check_listen("0.0.0.0:8080".parse().unwrap(), false).unwrap_err().to_string();
        assert!(refused.contains("--listen-anywhere"), "{refused}");
        check_listen("0.0.0.0:8080".parse().unwrap(), true).unwrap();
    }

    #[test]
    fn foreign_names_are_not_local() {
        let with = |text: &'static str| HeaderMap::from_iter([(header::HOST, text.parse().unwrap())]);
        for local in ["localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"] {
            assert!(host_is_local(&with(local)), "{local}");
        }
        for foreign in ["evil.example:8080", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example"] {
            assert!(!host_is_local(&with(foreign)), "{foreign}");
        }
    }
}
