//! The HTTP API: triggers, sagas, operators' actions, definitions, probes.
//!
//! Owns what HTTP is made of, and how it is spelled. It decides nothing about a saga: starts go to
//! [`crate::start`], everything else through the mailbox, and reads come from [`crate::store::read`].
//!
//! | file | what |
//! |---|---|
//! | [`start`], [`triggers`] | from a request to a durable saga |
//! | [`sagas`], [`assemble`], [`personal`] | reading one saga |
//! | [`find`], [`labels`], [`queues`], [`overview`], [`live`] | finding sagas, and what needs people |
//! | [`care`], [`letters`], [`audit`] | what people add, settle and have done |
//! | [`jobs`], [`what_if`] | many sagas at once |
//! | [`reconciliation`], [`retention`] | the books; how long sagas stay |
//! | [`account`], [`keys`] | who asks; API keys |
//! | [`act`], [`can`], [`approvals`], [`replay`] | signals and operators' actions |
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
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::rights::{self, Need};
use crate::auth::role::Roles;
use crate::auth::{Auth, AuthConfig, Denied, dev::DevKey};
use crate::engine::Engine;
use crate::reconcile::Reconciler;
use ipnet::IpNet;
use limit::shared::Exchange;
use limit::{Limiter, Rate};
use problem::Problem;

pub mod account;
pub mod act;
pub mod approvals;
pub mod assemble;
pub mod assets;
pub mod audit;
pub mod authoring;
pub mod body;
pub mod can;
pub mod care;
pub mod definitions;
pub mod find;
pub mod headers;
pub mod holds;
pub mod jobs;
pub mod keys;
pub mod labels;
pub mod letters;
pub mod limit;
pub mod live;
pub mod masks;
pub mod openapi;
pub mod ops;
pub mod overview;
pub mod personal;
pub mod played;
pub mod problem;
pub mod proof;
pub mod queues;
pub mod reconciliation;
pub mod replay;
pub mod retention;
pub mod sagas;
pub mod start;
pub mod triggers;
pub mod view;
pub mod what_if;
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
    /// How fast one principal may ask, at all processes together.
    pub principal_rate: Rate,
    /// The Redis by which processes tell each other what they let through, and their common prefix there.
    pub redis: Option<(String, String)>,
    /// Whose word about the client's address counts: the balancers in front of this port.
    pub trusted_proxies: Vec<IpNet>,
    /// Starts in the making at one time; beyond, they are refused.
    pub starts_max: usize,
    /// Requests that wait for their saga's end at one time; beyond, they are answered at once.
    pub waits_max: usize,
    /// How callers sign in.
    pub auth: Arc<Auth>,
    /// Compares the books, where this process knows them.
    pub reconciler: Option<Reconciler>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            body_wait: Duration::from_secs(15),
            rate: Rate::per_s(20_000),
            principal_rate: Rate::per_s(10_000),
            redis: None,
            trusted_proxies: Vec::new(),
            starts_max: 4_096,
            waits_max: 20_000,
            auth: DevKey::fresh()
                .and_then(|key| Auth::new(AuthConfig::Dev(key)))
                .expect("the system has random numbers"),
            reconciler: None,
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
    addresses: Limiter<IpAddr>,
    principals: Limiter<String>,
    live: live::Live,
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
            addresses: Limiter::new(config.rate),
            principals: Limiter::new(config.principal_rate),
            live: live::Live::default(),
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

    pub(crate) fn live(&self) -> &live::Live {
        &self.0.live
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.config.auth
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
            .route("/sagas", get(find::list))
            // One segment, two meanings: a GET names a saga, a POST a definition.
            .route("/sagas/{id}", get(sagas::one).post(start::by_name))
            .route("/sagas/{id}/history", get(sagas::history))
            .route("/sagas/{id}/ignored", get(sagas::ignored))
            .route("/sagas/{id}/signals/{name}", post(act::signal))
            .route("/sagas/{id}/actions", get(can::actions).post(act::act))
            .route("/sagas/{id}/replay", get(replay::plan).post(replay::start))
            .route("/sagas/{id}/notes", post(care::add_note))
            .route("/sagas/{id}/owner", put(care::set_owner))
            .route("/ops/counts", get(find::counts))
            .route("/ops/labels", get(labels::list))
            .route("/ops/overview", get(overview::overview))
            .route("/ops/workers", get(overview::workers))
            .route("/ops/parked", get(queues::parked))
            .route("/ops/failures", get(queues::failures))
            .route("/ops/failures/{id}", get(queues::failure))
            .route("/ops/anomalies", get(letters::anomalies))
            .route("/ops/anomalies/resolve", post(letters::resolve))
            .route("/ops/dead-letters", get(letters::list))
            .route("/ops/dead-letters/{id}", get(letters::one))
            .route("/ops/dead-letters/{id}/resend", post(letters::resend))
            .route("/ops/dead-letters/{id}/discard", post(letters::discard))
            .route("/ops/filters", get(care::filters))
            .route("/ops/filters/{name}", put(care::save_filter).delete(care::drop_filter))
            .route("/ops/audit", get(audit::list))
            .route("/ops/audit/export", get(audit::export))
            .route("/ops/holds", get(holds::list).post(holds::set))
            .route("/ops/holds/{id}", delete(holds::release))
            .route("/ops/jobs", get(jobs::reading::list).post(jobs::making::make))
            .route("/ops/jobs/preview", post(jobs::making::preview))
            .route("/ops/jobs/{id}", get(jobs::reading::one))
            .route("/ops/jobs/{id}/items", get(jobs::reading::items))
            .route("/ops/jobs/{id}/pause", post(jobs::steering::pause))
            .route("/ops/jobs/{id}/resume", post(jobs::steering::resume))
            .route("/ops/jobs/{id}/cancel", post(jobs::steering::cancel))
            .route("/ops/jobs/{id}/approve", post(jobs::steering::approve))
            .route("/ops/what-if", post(what_if::what_if))
            .route("/ops/reconciliation", get(reconciliation::get).post(reconciliation::run))
            .route("/ops/reconciliation/settle", post(reconciliation::settle))
            .route("/ops/retention", get(retention::get))
            .route("/ops/retention/{definition}", put(retention::set))
            .route("/sagas/{id}/erase", post(retention::erase))
            .route("/ops/approvals", get(approvals::list))
            .route("/ops/approvals/{id}", post(approvals::decide))
            .route("/ops/live", get(live::live))
            .route("/auth/config", get(account::config))
            .route("/auth/me", get(account::me))
            .route("/ops/keys", get(keys::list).post(keys::make))
            .route("/ops/keys/{id}", delete(keys::revoke))
            .route("/definitions", get(definitions::list).post(definitions::publish))
            .route("/definitions/{name}", get(definitions::one))
            .route("/definitions/{name}/promote", post(definitions::promote))
            .route("/definitions/{name}/withdraw", post(definitions::withdraw))
            .route("/authoring/check", post(authoring::check))
            .route("/authoring/prove", post(authoring::prove))
            .route("/authoring/simulate", post(authoring::simulate))
            .route("/authoring/scenarios", post(authoring::scenarios))
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
        let exchange = self.config().redis.as_ref();
        let exchange = exchange.map(|(url, prefix)| Exchange::open(url, prefix)).transpose();
        let exchange = exchange.map_err(|error| std::io::Error::other(format!("Redis's URL: {error}")))?;
        let exchanging = exchange.map(|it| {
            let (api, closing) = (self.clone(), closing.clone());
            tokio::spawn(async move { it.follow(&api.0.principals, closing).await })
        });
        let upkeep = tokio::spawn(ops::upkeep(closing.clone()));
        let live = self.live().clone().follow(self.engine().clone(), closing.clone());
        let live = tokio::spawn(live);
        let reconciler = self.config().reconciler.clone();
        let reconciling =
            reconciler.map(|it| tokio::spawn(it.follow(self.engine().clone(), closing.clone())));
        let service = self.router().into_make_service_with_connect_info::<Peer>();
        let served =
            axum::serve(NoDelay(listener), service).with_graceful_shutdown(closing.cancelled_owned()).await;
        upkeep.abort();
        live.abort();
        for task in [reconciling, exchanging].into_iter().flatten() {
            task.abort();
        }
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

/// Before and after every handler: whom is asked, how often, by whom, and what browsers are told.
async fn gate(
    State(api): State<Api>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = headers::client(request.headers(), peer.ip(), &api.config().trusted_proxies);
    let mut response = match admit(&api, &mut request, peer.ip(), client).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn admit(api: &Api, request: &mut Request, peer: IpAddr, client: IpAddr) -> Result<(), Problem> {
    let headers = request.headers();
    // In dev mode the loopback interface is the wall. A page of a foreign site whose name was made to resolve
    // to 127.0.0.1 would climb over it; it cannot forge this header.
    let loopback = peer.is_loopback() && client == peer;
    if loopback && api.auth().is_dev() && !host_is_local(headers) {
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "The request is for another host")
            .detail("Over the loopback interface, ask for `localhost`, 127.0.0.1 or [::1]."));
    }
    let too_many = |who: &str, retry_after_s: u32| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            .detail(format!("{who} asks faster than it may. Nothing was written."))
            .retry_after(retry_after_s)
    };
    let address = limit::network(client);
    api.0.addresses.take(&address, Instant::now()).map_err(|wait_s| too_many("This address", wait_s))?;
    let needed = match request.extensions().get::<MatchedPath>() {
        Some(path) => rights::need(request.method(), path.as_str()),
        // A trigger, whose definition says who may use it; or nothing at all.
        None if matches!(*request.method(), Method::GET | Method::HEAD) => Need::Public,
        None => Need::Any(Roles::ALL),
    };
    let Need::Any(roles) = needed else { return Ok(()) };
    let local = loopback && same_origin(headers);
    let caller =
        api.auth().caller(&api.engine().store, headers, local).await.map_err(|denied| match denied {
            Denied::Anonymous => {
                Problem::unauthorized("Send `Authorization: Bearer …` with a token or an API key.")
            }
            Denied::Refused(reason) => Problem::unauthorized(&format!("{}.", problem::sentence(&reason))),
            Denied::Unavailable(error) => error.into(),
            Denied::Unanswered => Problem::unavailable().detail(
                "The issuer of tokens does not answer, so whether yours is good is not known. Try again.",
            ),
        })?;
    let principal = &caller.principal;
    api.0.principals.take(principal, Instant::now()).map_err(|wait_s| too_many(principal, wait_s))?;
    if !caller.roles.meets(roles) {
        return Err(Problem::forbidden(roles));
    }
    request.extensions_mut().insert(From { address: client });
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Where a request came from, for the audit.
#[derive(Clone, Copy, Debug)]
pub struct From {
    /// The client's, as [`headers::client`] finds it.
    pub address: IpAddr,
}

/// Whether no page of another site has sent the request.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|it| it.to_str().unwrap_or("?"));
    if matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) {
        return false;
    }
    let Some(origin) = text("origin") else { return true };
    let origin = origin.split_once("://").map_or(origin, |(_, host)| host);
    // A development server that serves the dashboard is another port of the same machine.
    text("host") == Some(origin) || local_name(origin)
}

fn host_is_local(headers: &HeaderMap) -> bool {
    // HTTP/1.0 clients may send none; browsers always do.
    let Some(host) = headers.get(header::HOST) else { return true };
    host.to_str().is_ok_and(local_name)
}

fn local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

async fn other_method(method: Method, request: Request) -> Problem {
    let path = request.uri().path();
    tracing::debug!(%method, path, "no such method");
    start::other_method(rights::methods(path).join(", "))
}

/// Checks an address to listen on: without sign-in only loopback, unless told otherwise.
///
/// # Errors
/// When it is not loopback and `anywhere` is false; the message says what to do.
pub fn check_listen(address: SocketAddr, anywhere: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        anywhere || address.ip().is_loopback(),
        "refusing to listen on {address}: this port has no sign-in, so whoever reaches it can do everything. Listen \
         on 127.0.0.1, or, behind something that guards the port, give --listen-anywhere \
         (AMENDS_LISTEN_ANYWHERE=1)"
    );
    Ok(())
}

/// Checks an address for the API to listen on: in dev mode only loopback.
///
/// # Errors
/// When it is not loopback; the message says what to do.
pub fn check_api_listen(address: SocketAddr, auth: &Auth) -> anyhow::Result<()> {
    anyhow::ensure!(
        !auth.is_dev() || address.ip().is_loopback(),
        "refusing to listen on {address}: sign-in is not configured, so this is dev mode, in which everybody who \
         reaches the port is an administrator. Give --auth-issuer, --auth-audience and --auth-jwks-url, or an \
         administrator's key in AMENDS_ADMIN_KEY (`amends key generate` makes one); or listen on 127.0.0.1"
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
