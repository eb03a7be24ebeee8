//! Requests to Toss Payments over HTTPS.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Operation, Refusal, TossError, classify};
use super::types::{CancelRequest, ConfirmRequest, Payment};

/// Where the vendor is.
pub const BASE_URL: &str = "https://api.tosspayments.com";
/// How long the vendor asks to wait for a confirm.
pub const TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// How long an inquiry may take: it changes nothing, so it can be asked again.
const INQUIRY_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections are given up before common load balancers close them under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A secret key. It does not show itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(String);

impl SecretKey {
    /// Takes the key as the vendor hands it out, without the colon.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// How the client is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The vendor's address, [`BASE_URL`] unless it is a sandbox.
    pub base_url: String,
    /// The shop's secret key.
    pub secret_key: SecretKey,
    /// How long a confirm or cancel may take, in ms.
    pub timeout_ms: u64,
}

impl Config {
    /// A set-up with the default timeout.
    pub fn new(base_url: impl Into<String>, secret_key: SecretKey) -> Self {
        Self { base_url: base_url.into(), secret_key, timeout_ms: TIMEOUT_MS_DEFAULT }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address is not one.
    #[error("`{0}` is not an address of http or https")]
    BaseUrl(String),
    /// TLS cannot be set up.
    #[error("the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// The client. Cloning it shares its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    secret_key: SecretKey,
    timeout: Duration,
}

impl Client {
    /// Makes a client; it connects when it is used.
    ///
    /// # Errors
    /// When the address is not one, or TLS cannot be set up.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        // An error says that the process has a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse(&config.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ConfigError::BaseUrl(config.base_url.clone()))?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            // A redirect would turn a confirm into something else.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            // A company's egress proxy is right for the vendor, and wrong for a sandbox beside us.
            http = http.no_proxy();
        }
        let http = http.build().map_err(ConfigError::Http)?;
        let timeout = Duration::from_millis(config.timeout_ms);
        Ok(Self { http, base, secret_key: config.secret_key, timeout })
    }

    /// How long a confirm or cancel may take, in ms.
    pub fn timeout_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }

    /// Confirms a payment. `may_send` is asked immediately before the request leaves.
    ///
    /// # Errors
    /// See [`TossError`].
    pub async fn confirm(
        &self,
        request: &ConfirmRequest,
        idempotency_key: &str,
        may_send: impl Fn() -> bool,
    ) -> Result<Payment, TossError> {
        let http = self.request(Method::POST, &["v1", "payments", "confirm"]).json(request);
        let http = http.timeout(self.timeout).headers(idempotency(idempotency_key));
        send(Operation::Confirm, http, may_send).await
    }

    /// Cancels a payment, in full or in part. `may_send` is asked immediately before the request leaves.
    ///
    /// # Errors
    /// See [`TossError`].
    pub async fn cancel(
        &self,
        payment_key: &str,
        request: &CancelRequest,
        idempotency_key: &str,
        may_send: impl Fn() -> bool,
    ) -> Result<Payment, TossError> {
        let http = self.request(Method::POST, &["v1", "payments", payment_key, "cancel"]).json(request);
        let http = http.timeout(self.timeout).headers(idempotency(idempotency_key));
        send(Operation::Cancel, http, may_send).await
    }

    /// Asks for a payment; `None` when the vendor knows none with this key.
    ///
    /// # Errors
    /// See [`TossError`].
    pub async fn payment(&self, payment_key: &str) -> Result<Option<Payment>, TossError> {
        self.inquire(&["v1", "payments", payment_key]).await
    }

    /// Asks for an order's payment; `None` when the vendor knows none.
    ///
    /// # Errors
    /// See [`TossError`].
    pub async fn payment_of_order(&self, order_id: &str) -> Result<Option<Payment>, TossError> {
        self.inquire(&["v1", "payments", "orders", order_id]).await
    }

    /// Lists transactions between two instants, written `yyyy-MM-ddThh:mm:ss` in Seoul's time, at most
    /// `limit` of them, from behind `starting_after` on.
    ///
    /// # Errors
    /// See [`TossError`].
    pub async fn transactions(
        &self,
        start: &str,
        end: &str,
        starting_after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Transaction>, TossError> {
        let mut query = vec![("startDate", start.to_owned()), ("endDate", end.to_owned())];
        query.push(("limit", limit.to_string()));
        query.extend(starting_after.map(|after| ("startingAfter", after.to_owned())));
        let http = self.request(Method::GET, &["v1", "transactions"]).query(&query);
        send(Operation::Inquire, http.timeout(INQUIRY_TIMEOUT), || true).await
    }

    async fn inquire(&self, path: &[&str]) -> Result<Option<Payment>, TossError> {
        let http = self.request(Method::GET, path).timeout(INQUIRY_TIMEOUT);
        match send(Operation::Inquire, http, || true).await {
            Ok(payment) => Ok(Some(payment)),
            Err(TossError::Refused(refusal)) if refusal.code == "NOT_FOUND_PAYMENT" => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        // reqwest marks the header as sensitive: it is left out of debug output.
        self.http.request(method, url).basic_auth(&self.secret_key.0, Some(""))
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

/// A transaction of the vendor's list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// The transaction's key.
    pub transaction_key: String,
    /// The payment's key.
    pub payment_key: String,
    /// The shop's order.
    pub order_id: String,
    /// The payment's status with it.
    #[serde(default)]
    pub status: super::types::Status,
    /// The amount of this transaction.
    #[serde(default)]
    pub amount: i64,
    /// When, RFC 3339.
    pub transaction_at: String,
}

fn idempotency(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Effect keys are printable ASCII; a key that is not one must not silently go without.
    let value = HeaderValue::from_str(key).expect("an idempotency key is printable ASCII");
    headers.insert("Idempotency-Key", value);
    headers
}

async fn send<T: DeserializeOwned>(
    operation: Operation,
    request: RequestBuilder,
    may_send: impl Fn() -> bool,
) -> Result<T, TossError> {
    let started = Instant::now();
    let result = if may_send() { exchange(operation, request).await } else { Err(TossError::TooLate) };
    let outcome = match &result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.class().map_or_else(|| error.code().to_owned(), |it| it.as_str().to_owned()),
    };
    metrics::counter!("amends_toss_answers_total", "operation" => operation.as_str(), "outcome" => outcome.clone())
        .increment(1);
    metrics::histogram!("amends_toss_seconds", "operation" => operation.as_str())
        .record(started.elapsed().as_secs_f64());
    if let Err(error) = &result {
        tracing::debug!(
            operation = operation.as_str(),
            outcome,
            error = error as &dyn std::error::Error,
            "Toss"
        );
    }
    result
}

async fn exchange<T: DeserializeOwned>(
    operation: Operation,
    request: RequestBuilder,
) -> Result<T, TossError> {
    let answer = request.send().await.map_err(|error| {
        // Without a connection nothing was sent. A timeout may have struck at any point.
        if error.is_connect() || error.is_builder() {
            TossError::NotSent(error.without_url())
        } else {
            TossError::NoAnswer(error.without_url())
        }
    })?;
    let status = answer.status();
    let body = read(answer).await?;
    let unreadable = |error: serde_json::Error| TossError::Unreadable {
        status: status.as_u16(),
        reason: error.to_string(),
    };
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(unreadable);
    }
    let said: Said = serde_json::from_slice(&body).map_err(unreadable)?;
    let class = classify(operation, status.as_u16(), &said.code);
    let (code, message) = (said.code, said.message);
    Err(TossError::Refused(Refusal { operation, status: status.as_u16(), code, message, class }))
}

async fn read(mut answer: Response) -> Result<Vec<u8>, TossError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| TossError::NoAnswer(error.without_url()))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            let reason = format!("more than {ANSWER_BYTES_MAX} bytes");
            return Err(TossError::Unreadable { status: answer.status().as_u16(), reason });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[derive(Deserialize)]
struct Said {
    code: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn loopback_addresses_are_known() {
        for (url, expected) in [
            ("http://127.0.0.1:8090", true),
            ("http://localhost:8090", true),
            ("http://[::1]:8090", true),
            (BASE_URL, false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "api.tosspayments.com", "ftp://api.tosspayments.com", "file:///tmp"] {
            assert!(Client::new(Config::new(bad, SecretKey::new("k"))).is_err(), "{bad}");
        }
    }
}
