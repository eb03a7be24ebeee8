//! Makes calls and inquiries.
//!
//! It must not log addresses, bodies or headers: they hold what customers wrote, and secrets.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use saga_protocol::{Direction, Fault};
use saga_worker::{Call, CallResult, External, Inquiry};
use serde_json::Value;

use crate::input::{Check, Input, Request};
use crate::network::{self, Allowed, Inside, Outside, Routes};
use crate::request::{self, Unfit};
use crate::secrets::Secrets;
use crate::verdict::{self, ANSWER_BYTES_MAX, Answer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest request, whatever a command says.
const TIMEOUT_MS_MAX: u64 = 20_000;

/// How calls are made.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where they may go inside.
    pub allowed: Allowed,
    /// Hosts that are reached elsewhere; what one leads to is allowed.
    pub routes: Routes,
    /// The secrets that they may carry.
    pub secrets: Secrets,
}

/// Why calls cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// TLS cannot be set up.
    #[error("the HTTP client")]
    Http(#[from] reqwest::Error),
}

/// The handler of `call` and `undo`.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Reaches addresses outside only.
    outside: reqwest::Client,
    /// Reaches what is allowed.
    inside: reqwest::Client,
    config: Config,
}

/// Why there is no answer.
enum NoAnswer {
    Unfit(Unfit),
    /// Certainly nothing was sent.
    NotSent(Fault),
    /// It may have been taken.
    Silent(Fault),
}

impl From<Unfit> for NoAnswer {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl Calls {
    /// Makes the handler; it connects when it is used.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        // An error says that the process has a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .tcp_nodelay(true)
                // A proxy would resolve names by itself, out of our sight.
                .no_proxy()
                // A redirect would lead where nobody has looked.
                .redirect(reqwest::redirect::Policy::none())
        };
        let outside = client().dns_resolver(Arc::new(Outside)).build()?;
        Ok(Self { outside, inside: client().build()?, config })
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        timeout_ms: u64,
    ) -> Result<RequestBuilder, NoAnswer> {
        let led = self.config.routes.lead(url);
        let allowed = led.is_some() || self.config.allowed.contains(url);
        if !allowed && network::names_inside(url) {
            let inside = Inside(url.host_str().unwrap_or_default().to_owned());
            return Err(NoAnswer::NotSent(Fault::new("address_not_allowed", inside.to_string())));
        }
        let client = if allowed { &self.inside } else { &self.outside };
        let timeout = Duration::from_millis(timeout_ms.clamp(1, TIMEOUT_MS_MAX));
        Ok(client.request(method, led.unwrap_or_else(|| url.clone())).headers(headers).timeout(timeout))
    }

    async fn send(
        &self,
        call: &Call,
        asked: &Request,
        output: Option<&Value>,
    ) -> Result<(String, Answer), NoAnswer> {
        let url = request::address(&asked.url, output)?;
        let mut headers = request::headers(&asked.headers, &self.config.secrets, &url).await?;
        let method = Method::from_bytes(asked.method.as_bytes());
        let method = method.map_err(|_| Unfit::Input(Fault::new("bad_input", "the method is none")))?;
        if method != Method::GET {
            let name = HeaderName::try_from(asked.idempotency_header.as_str());
            let name =
                name.map_err(|_| Unfit::Input(Fault::new("bad_input", "the idempotency header is none")))?;
            // Effect keys are printable ASCII; a call must not silently go without.
            let key = HeaderValue::from_str(&call.effect_key).expect("an effect key is printable ASCII");
            headers.insert(name, key);
        }
        trace(call, &mut headers);
        let mut request = self.request(method, &url, headers, asked.timeout_ms)?;
        if let Some(body) = request::body(asked.body.as_ref(), &asked.fill, output)? {
            request = request.json(&body);
        }
        if !call.may_send() {
            return Err(NoAnswer::NotSent(Fault::new("too_late", "the call could not begin in time")));
        }
        self.exchange("call", &url, request).await
    }

    async fn check(&self, call: &Call, asked: &Check) -> Inquiry {
        match self.ask(call, asked).await {
            Ok((host, answer)) => verdict::of_check(asked, &host, &answer),
            Err(
                NoAnswer::Unfit(Unfit::Input(fault) | Unfit::Setup(fault))
                | NoAnswer::NotSent(fault)
                | NoAnswer::Silent(fault),
            ) => Inquiry::Unknown(fault),
        }
    }

    async fn ask(&self, call: &Call, asked: &Check) -> Result<(String, Answer), NoAnswer> {
        let url = request::address(&asked.url, None)?;
        let mut headers = request::headers(&asked.headers, &self.config.secrets, &url).await?;
        trace(call, &mut headers);
        let request = self.request(Method::GET, &url, headers, asked.timeout_ms)?;
        self.exchange("check", &url, request).await
    }

    async fn exchange(
        &self,
        what: &'static str,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<(String, Answer), NoAnswer> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let started = Instant::now();
        let result = exchange(&host, request).await;
        let outcome = match &result {
            Ok(answer) => answer.status.to_string(),
            Err(NoAnswer::NotSent(fault) | NoAnswer::Silent(fault)) => fault.code.to_string(),
            Err(NoAnswer::Unfit(_)) => "unfit".to_owned(),
        };
        tracing::debug!(host, what, outcome, "a call's answer");
        metrics::counter!("amends_http_answers_total", "host" => host.clone(), "what" => what, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("amends_http_seconds", "host" => host.clone(), "what" => what)
            .record(started.elapsed().as_secs_f64());
        result.map(|answer| (host, answer))
    }

    /// What a call that undoes needs to know of the one that it undoes.
    async fn output(&self, call: &Call, input: &Input, undo: &Request) -> Result<Option<Value>, CallResult> {
        if !undo.needs_output() {
            return Ok(None);
        }
        if let Some(output) = call.command.parse_output::<Value>() {
            return Ok(Some(output));
        }
        let Some(check) = &input.check else {
            let message = "the output of the call is not known, and the step has no `check`";
            return Err(CallResult::NotSent(Fault::new("output_unknown", message)));
        };
        match self.check(call, check).await {
            Inquiry::Found(output) => {
                let output = output.and_then(|it| serde_json::from_str(it.get()).ok());
                Ok(Some(output.unwrap_or_default()))
            }
            // It is gone already, where that counts as undone.
            Inquiry::NotFound if undo.succeeded(404) => Err(CallResult::Done(None)),
            Inquiry::NotFound => {
                let message = "the call took effect, and its `check` shows nothing any more";
                Err(CallResult::NotSent(Fault::new("output_unknown", message)))
            }
            Inquiry::Impossible(fault) | Inquiry::Unknown(fault) => Err(CallResult::NotSent(fault)),
        }
    }
}

fn trace(call: &Call, headers: &mut HeaderMap) {
    let trace = call.command.traceparent.as_ref().and_then(|it| HeaderValue::from_str(it).ok());
    if let Some(trace) = trace {
        headers.insert("traceparent", trace);
    }
}

async fn exchange(host: &str, request: RequestBuilder) -> Result<Answer, NoAnswer> {
    let answer = request.send().await.map_err(|error| no_answer(host, &error))?;
    let status = answer.status().as_u16();
    Ok(Answer { status, body: read(answer).await.map_err(|error| no_answer(host, &error))? })
}

fn no_answer(host: &str, error: &reqwest::Error) -> NoAnswer {
    let mut source = error.source();
    while let Some(it) = source {
        if let Some(inside) = it.downcast_ref::<Inside>() {
            return NoAnswer::NotSent(Fault::new("address_not_allowed", inside.to_string()));
        }
        source = it.source();
    }
    // Without a connection nothing was sent. A timeout may have struck at any point.
    if error.is_connect() || error.is_builder() {
        NoAnswer::NotSent(Fault::new("no_connection", format!("{host} cannot be reached")))
    } else {
        NoAnswer::Silent(Fault::new("no_answer", format!("{host} did not answer to the end")))
    }
}

/// The body; nothing when it is too long.
async fn read(mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

#[async_trait]
impl External for Calls {
    async fn call(&self, call: &Call) -> CallResult {
        let input: Input = match call.command.parse_input() {
            Ok(input) => input,
            Err(_) => return CallResult::Declined(Fault::new("bad_input", "the input is no HTTP call")),
        };
        let (asked, output) = match (call.command.direction, &input.undo) {
            (Direction::Execute, _) => (&input.call, None),
            (Direction::Compensate, Some(undo)) => match self.output(call, &input, undo).await {
                Ok(output) => (undo, output),
                Err(result) => return result,
            },
            (Direction::Compensate, None) => {
                return CallResult::Declined(Fault::new("bad_input", "the step says nothing of undoing it"));
            }
        };
        match self.send(call, asked, output.as_ref()).await {
            Ok((host, answer)) => verdict::of_call(asked, call.command.direction, &host, &answer),
            Err(NoAnswer::Unfit(Unfit::Input(fault))) => CallResult::Declined(fault),
            Err(NoAnswer::Unfit(Unfit::Setup(fault))) => CallResult::OwnTrouble(fault),
            Err(NoAnswer::NotSent(fault)) => CallResult::NotSent(fault),
            Err(NoAnswer::Silent(fault)) => CallResult::Unknown(fault),
        }
    }

    async fn inquire(&self, call: &Call) -> Inquiry {
        let Ok(input) = call.command.parse_input::<Input>() else {
            // It was never sent, and never will be.
            return Inquiry::NotFound;
        };
        match (call.command.direction, &input.check) {
            (Direction::Execute, Some(check)) => self.check(call, check).await,
            // Somebody will want to undo it, and must not be told that it never was.
            (Direction::Execute, None) if input.undo.is_some() => {
                let message = "the step has no `check`: whether the call took effect cannot be found out";
                Inquiry::Unknown(Fault::new("no_check", message))
            }
            // The call is made again with the same key, which is what the key is for.
            (Direction::Execute, None) | (Direction::Compensate, _) => Inquiry::NotFound,
        }
    }
}
