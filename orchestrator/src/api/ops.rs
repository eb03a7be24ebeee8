//! For machines that watch machines: probes and metrics.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::Api;
use super::problem::Problem;
use super::view::HealthView;

/// How long a probe waits for the database.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the recorder tidies up, so that histograms do not grow between scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const SECONDS_BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 86_400.0];
const SIZE_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The process's metrics recorder; installed by the first call. `None` when the process has another one.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    let install = || {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let size = Matcher::Suffix("_size".to_owned());
        PrometheusBuilder::new()
            .set_buckets_for_metric(seconds, &SECONDS_BUCKETS)
            .and_then(|it| it.set_buckets_for_metric(size, &SIZE_BUCKETS))
            .and_then(PrometheusBuilder::install_recorder)
            .inspect_err(|error| tracing::warn!(%error, "there will be no metrics"))
            .ok()
    };
    RECORDER.get_or_init(install).as_ref()
}

/// Keeps the recorder tidy, until shut down.
pub async fn upkeep(closing: tokio_util::sync::CancellationToken) {
    let Some(recorder) = recorder() else { return };
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => recorder.run_upkeep(),
        }
    }
}

/// Whether the process works
///
/// Fails only when a restart would help.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operation",
    responses(
        (status = 200, description = "It works", body = HealthView),
        (status = 503, description = "It hangs", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn healthz(State(api): State<Api>) -> Result<Json<HealthView>, Problem> {
    api.engine().health.live().map_err(not_ready)?;
    Ok(view(&api))
}

/// Whether the process can take starts
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operation",
    responses(
        (status = 200, description = "It can", body = HealthView),
        (status = 503, description = "It cannot, and why", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(api): State<Api>) -> Result<Json<HealthView>, Problem> {
    if api.closing().is_cancelled() {
        return Err(not_ready("it is shutting down".to_owned()));
    }
    api.engine().health.ready().map_err(not_ready)?;
    match tokio::time::timeout(PING_TIMEOUT, api.engine().store.ping()).await {
        Ok(Ok(())) => Ok(view(&api)),
        _ => Err(not_ready("the database does not answer".to_owned())),
    }
}

fn view(api: &Api) -> Json<HealthView> {
    let engine = api.engine();
    Json(HealthView { status: "ok".to_owned(), node: engine.node.clone(), shards: engine.health.shards() })
}

fn not_ready(reason: String) -> Problem {
    let mut problem = Problem::unavailable();
    problem.detail = Some(reason);
    problem
}

/// Metrics in Prometheus' text format
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub async fn metrics() -> Response {
    let text = recorder().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
