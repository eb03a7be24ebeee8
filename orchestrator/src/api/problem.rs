//! Problems: the one place where an error becomes an HTTP answer (RFC 9457, `application/problem+json`).
//!
//! Every problem says what to do. It must not leak what a client has no business with: what failed within
//! is logged here, once, and answered in general words.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::role::Roles;
use crate::start::StartError;
use crate::store::StoreError;
use crate::store::definitions::PublishError;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An answer that is not what was asked for, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, as a relative reference: `/problems/invalid-input`.
    #[serde(rename = "type", default = "blank")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is the matter with this request, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Every fault of what was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FaultAt>,
    /// The revision that the saga has now, where an action was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// When to try again, in s; the same as the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// How to sign in; the header `WWW-Authenticate`.
    #[serde(skip)]
    pub sign_in: bool,
    /// The methods that the resource knows; the header `Allow`.
    #[serde(skip)]
    pub allow: Option<String>,
}

/// One fault of what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultAt {
    /// Where in the JSON body, as a JSON pointer (RFC 6901); the empty string is the whole body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong there.
    pub detail: String,
    /// The keyword of the JSON Schema that it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
    /// The code of a mistake in a definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl FaultAt {
    /// A fault at a JSON pointer.
    pub fn at(pointer: &str, detail: &str) -> Self {
        Self { pointer: Some(pointer.to_owned()), detail: detail.to_owned(), ..Self::default() }
    }
}

impl Problem {
    /// A problem of a kind, with a title.
    pub fn new(status: StatusCode, kind: &str, title: &str) -> Self {
        Self {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            errors: Vec::new(),
            revision: None,
            retry_after_s: None,
            sign_in: false,
            allow: None,
        }
    }

    /// Says what is the matter here, and what to do.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Lists the faults.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FaultAt>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// A request that cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood").detail(detail)
    }

    /// Nobody has signed in, or not well.
    pub fn unauthorized(detail: &str) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Sign in first").detail(detail);
        Self { sign_in: true, ..problem }
    }

    /// The caller's roles do not suffice.
    pub fn forbidden(needed: Roles) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Your roles do not suffice")
            .detail(format!("This is for {}. Ask an administrator.", needed.words().join(", ")))
    }

    /// It does not fit to how things stand.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It does not fit to how things stand").detail(detail)
    }

    /// Nothing of this name.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing").detail(detail)
    }

    /// No such saga.
    pub fn no_saga() -> Self {
        Self::not_found("There is no saga with this id. `GET /sagas` lists them.")
    }

    /// A signal or action under the key of another one.
    pub fn mail_key_reused() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was used with another body").detail(
            "This saga has had something else under this key, and keeps that alone. Repeat that exactly to see what \
             came of it, or take a new key.",
        )
    }

    /// A body that does not fit the definition's schema.
    pub fn invalid_input(errors: Vec<FaultAt>) -> Self {
        let detail = match errors.len() {
            1 => "The body has one fault; `errors` says where.".to_owned(),
            n => format!("The body has {n} faults; `errors` lists them all."),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-input", "The body is not a valid input")
            .detail(detail)
            .errors(errors)
    }

    /// The database does not answer.
    pub fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service cannot answer now")
            .detail("Nothing is lost: repeat the request, with the same Idempotency-Key if it starts a saga.")
            .retry_after(2)
    }

    /// A body that takes too long.
    pub fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow-body", "The body did not arrive in time")
            .detail("Nothing was written. Send the whole body at once.")
    }

    /// Too much at once.
    pub fn busy(retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "There is more to do than can be done now")
            .detail("The saga was not started. Try again later.")
            .retry_after(retry_after_s)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.sign_in {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|it| HeaderValue::from_str(it).ok()) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_out_of_range() {
            return Self::bad_request(
                "A text of the request has a NUL character, or a number or instant is out of range.",
            );
        }
        tracing::error!(error = %chain(&error), "the database failed a request");
        Self::unavailable()
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::KeyReused { saga } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The key was used with another body",
            )
            .detail(format!(
                "Saga {saga} was started under this key with another body. Repeat that body exactly to get \
                         that saga, or take a new key for a new one."
            )),
            StartError::KeyOfAnother => {
                Self::new(StatusCode::CONFLICT, "key-taken", "The key is taken").detail("Take another key.")
            }
            StartError::BadInput(reason) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-input", "The body is not a valid input")
                    .detail(reason)
            }
            StartError::Busy { retry_after_s } => Self::busy(retry_after_s),
            StartError::Held(hold) => {
                let left_s = hold.until.map_or(30, |at| (at - chrono::Utc::now()).num_seconds());
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "held", "Starts are held")
                    .detail("An operator has paused this for now. The saga was not started; try again later.")
                    .retry_after(u32::try_from(left_s.clamp(1, 3_600)).unwrap_or(30))
            }
            StartError::Unavailable(reason) => {
                tracing::error!(reason, "a saga could not be started");
                Self::unavailable()
            }
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Mistakes(mistakes) => {
                let errors: Vec<FaultAt> = mistakes
                    .iter()
                    .map(|it| FaultAt {
                        detail: it.message.clone(),
                        code: Some(it.code.to_owned()),
                        line: Some(u64::from(it.line)).filter(|line| *line > 0),
                        column: Some(u64::from(it.column)).filter(|column| *column > 0),
                        remedy: Some(it.remedy.clone()).filter(|it| !it.is_empty()),
                        ..FaultAt::default()
                    })
                    .collect();
                Self::invalid_definition(errors)
            }
            PublishError::Unsupported(detail) => {
                Self::invalid_definition(vec![FaultAt { detail, ..FaultAt::default() }])
            }
            PublishError::Overtaken { name, current } => {
                let current = current.as_deref().unwrap_or("none");
                Self::conflict(format!(
                    "Of `{name}` another version is current than `over` says: {current}. Nothing was published. Look at \
                     what changes by it; if yours shall replace it, say so."
                ))
            }
            PublishError::Store(error) => error.into(),
        }
    }
}

impl Problem {
    /// A definition with mistakes.
    pub fn invalid_definition(errors: Vec<FaultAt>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-definition", "The definition has mistakes")
            .detail("Nothing was published. `errors` lists every mistake with its place and remedy.")
            .errors(errors)
    }
}

/// A reason as a sentence's beginning.
pub(super) fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What RFC 9457 says of a problem without a type.
fn blank() -> String {
    "about:blank".to_owned()
}

/// An error with everything below it, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        let below_text = below.to_string();
        if !text.contains(&below_text) {
            text.push_str(": ");
            text.push_str(&below_text);
        }
        source = below.source();
    }
    text
}
