//! Which endpoint needs which role: the one table.
//!
//! What is not in it is for administrators only. A test holds it against the OpenAPI document.

use axum::http::Method;

use super::role::Roles;

/// What an endpoint needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// One of these roles.
    Any(Roles),
}

use Need::{Any, Public};

/// Method, path as the router spells it, and what it needs.
pub const RIGHTS: &[(&str, &str, Need)] = &[
    ("GET", "/healthz", Public),
    ("GET", "/readyz", Public),
    ("GET", "/openapi.json", Public),
    // The dashboard's files; what it shows it asks for with the caller's token.
    ("GET", "/", Public),
    ("GET", "/ui", Public),
    ("GET", "/ui/", Public),
    ("GET", "/ui/{*path}", Public),
    ("GET", "/auth/config", Public),
    ("GET", "/auth/me", Any(Roles::ALL)),
    ("GET", "/metrics", Any(Roles::READ)),
    ("GET", "/sagas", Any(Roles::ALL)),
    ("GET", "/sagas/{id}", Any(Roles::ALL)),
    ("POST", "/sagas/{id}", Any(Roles::ACT)),
    ("GET", "/sagas/{id}/history", Any(Roles::ALL)),
    ("GET", "/sagas/{id}/ignored", Any(Roles::ALL)),
    ("POST", "/sagas/{id}/signals/{name}", Any(Roles::SIGNAL)),
    ("POST", "/sagas/{id}/actions", Any(Roles::ACT)),
    ("POST", "/sagas/{id}/notes", Any(Roles::ACT)),
    ("PUT", "/sagas/{id}/owner", Any(Roles::ACT)),
    ("GET", "/ops/counts", Any(Roles::READ)),
    ("GET", "/ops/labels", Any(Roles::READ)),
    ("GET", "/ops/overview", Any(Roles::READ)),
    ("GET", "/ops/workers", Any(Roles::READ)),
    ("GET", "/ops/parked", Any(Roles::READ)),
    ("GET", "/ops/failures", Any(Roles::READ)),
    ("GET", "/ops/failures/{id}", Any(Roles::READ)),
    ("GET", "/ops/anomalies", Any(Roles::READ)),
    ("POST", "/ops/anomalies/resolve", Any(Roles::ACT)),
    ("GET", "/ops/dead-letters", Any(Roles::READ)),
    ("GET", "/ops/dead-letters/{id}", Any(Roles::READ)),
    ("POST", "/ops/dead-letters/{id}/resend", Any(Roles::ACT)),
    ("POST", "/ops/dead-letters/{id}/discard", Any(Roles::ACT)),
    ("GET", "/ops/filters", Any(Roles::READ)),
    ("PUT", "/ops/filters/{name}", Any(Roles::READ)),
    ("DELETE", "/ops/filters/{name}", Any(Roles::READ)),
    ("GET", "/ops/audit", Any(Roles::READ)),
    ("GET", "/ops/audit/export", Any(Roles::READ)),
    ("GET", "/sagas/{id}/actions", Any(Roles::READ)),
    ("GET", "/ops/holds", Any(Roles::READ)),
    ("POST", "/ops/holds", Any(Roles::ACT)),
    ("DELETE", "/ops/holds/{id}", Any(Roles::ACT)),
    ("GET", "/sagas/{id}/replay", Any(Roles::READ)),
    ("POST", "/sagas/{id}/replay", Any(Roles::ACT)),
    ("GET", "/ops/jobs", Any(Roles::READ)),
    ("POST", "/ops/jobs", Any(Roles::ACT)),
    ("POST", "/ops/jobs/preview", Any(Roles::READ)),
    ("GET", "/ops/jobs/{id}", Any(Roles::READ)),
    ("GET", "/ops/jobs/{id}/items", Any(Roles::READ)),
    ("POST", "/ops/jobs/{id}/pause", Any(Roles::ACT)),
    ("POST", "/ops/jobs/{id}/resume", Any(Roles::ACT)),
    ("POST", "/ops/jobs/{id}/cancel", Any(Roles::ACT)),
    ("POST", "/ops/jobs/{id}/approve", Any(Roles::ACT)),
    ("POST", "/ops/what-if", Any(Roles::READ)),
    ("GET", "/ops/reconciliation", Any(Roles::READ)),
    ("POST", "/ops/reconciliation", Any(Roles::ACT)),
    ("POST", "/ops/reconciliation/settle", Any(Roles::ACT)),
    ("GET", "/ops/retention", Any(Roles::READ)),
    ("PUT", "/ops/retention/{definition}", Any(Roles::ADMIN)),
    ("POST", "/sagas/{id}/erase", Any(Roles::ADMIN)),
    ("GET", "/ops/approvals", Any(Roles::READ)),
    ("POST", "/ops/approvals/{id}", Any(Roles::ACT)),
    ("GET", "/ops/live", Any(Roles::ALL)),
    ("POST", "/authoring/check", Any(Roles::READ)),
    ("POST", "/authoring/prove", Any(Roles::READ)),
    ("POST", "/authoring/scenarios", Any(Roles::READ)),
    ("POST", "/authoring/simulate", Any(Roles::READ)),
    ("GET", "/definitions", Any(Roles::READ)),
    ("POST", "/definitions", Any(Roles::PUBLISH)),
    ("GET", "/definitions/{name}", Any(Roles::READ)),
    ("POST", "/definitions/{name}/promote", Any(Roles::PUBLISH)),
    ("POST", "/definitions/{name}/withdraw", Any(Roles::PUBLISH)),
    ("GET", "/ops/keys", Any(Roles::ADMIN)),
    ("POST", "/ops/keys", Any(Roles::ADMIN)),
    ("DELETE", "/ops/keys/{id}", Any(Roles::ADMIN)),
];

/// What a request to a route needs.
pub fn need(method: &Method, path: &str) -> Need {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let found = RIGHTS.iter().find(|(its, at, _)| *its == method.as_str() && *at == path);
    found.map_or(Any(Roles::ADMIN), |(_, _, need)| *need)
}

/// The methods that a path has.
pub fn methods(path: &str) -> Vec<&'static str> {
    let fits = |pattern: &str| {
        pattern.matches('/').count() == path.matches('/').count()
            && pattern
                .split('/')
                .zip(path.split('/'))
                .all(|(its, given)| its.starts_with('{') || its == given)
    };
    RIGHTS.iter().filter(|(_, at, _)| fits(at)).map(|(method, ..)| *method).collect()
}
