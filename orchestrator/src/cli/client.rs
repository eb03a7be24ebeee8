//! The command line's HTTP client: an address, and answers as types.

use std::io::Write as _;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use saga_protocol::SagaId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::{Code, Failure};
use crate::api::problem::Problem;
use crate::api::view::{HistoryEvent, HistoryPage, LetterLine, SagaView};

/// Longer than the longest wait that a server grants.
const TIMEOUT: Duration = Duration::from_secs(90);
const COPY_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
const PAGE: u16 = 500;

/// A server to ask.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    token: Option<String>,
}

/// What is sent.
#[derive(Debug)]
pub enum Sent<'a> {
    /// Nothing.
    Nothing,
    /// JSON, as it is.
    Json(&'a [u8]),
    /// YAML.
    Yaml(&'a str),
}

impl Client {
    /// A client of the server at `url`.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn new(url: &str) -> Result<Self, Failure> {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Failure::usage(format!("`{url}` is not an address of http or https")));
        }
        install_crypto();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Failure::new(Code::Failed, format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), http, token: None })
    }

    /// The same, signed in.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token: token.filter(|it| !it.is_empty()), ..self }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned, B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
        self.send(Method::POST, path, &[], Sent::Json(&body)).await
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When the server cannot be reached or answers a problem.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path, &[], Sent::Nothing).await
    }

    /// Asks for something by a query.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn query<T: DeserializeOwned, Q: Serialize + Sync>(
        &self,
        path: &str,
        query: &Q,
    ) -> Result<T, Failure> {
        let request = self.request(Method::GET, path).query(query);
        self.read(request.send().await).await
    }

    /// Copies an answer to standard output as it comes.
    ///
    /// # Errors
    /// As [`Client::get`], and when it cannot be written.
    pub async fn copy<Q: Serialize + Sync>(&self, path: &str, query: &Q) -> Result<(), Failure> {
        // However long it is: nobody waits for its end before they read it.
        let request = self.request(Method::GET, path).query(query).timeout(COPY_TIMEOUT);
        let mut answer = match request.send().await {
            Ok(answer) if answer.status().is_success() => answer,
            other => return self.read::<serde_json::Value>(other).await.map(drop),
        };
        let mut out = std::io::stdout();
        loop {
            let cut = |error: &dyn std::fmt::Display| {
                Failure::new(Code::Failed, format!("it was cut off: {error}"))
            };
            match answer.chunk().await.map_err(|error| cut(&error))? {
                Some(bytes) => out.write_all(&bytes).map_err(|error| cut(&error))?,
                None => return out.flush().map_err(|error| cut(&error)),
            }
        }
    }

    /// Sends something.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        sent: Sent<'_>,
    ) -> Result<T, Failure> {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request = match sent {
            Sent::Nothing => request,
            Sent::Json(bytes) => request.header("content-type", "application/json").body(bytes.to_vec()),
            Sent::Yaml(text) => request.header("content-type", "application/yaml").body(text.to_owned()),
        };
        self.read(request.send().await).await
    }

    /// A saga, whole.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn saga(&self, saga: SagaId) -> Result<SagaView, Failure> {
        self.get(&format!("/sagas/{saga}")).await
    }

    /// A saga's history after a revision, all pages of it, and the dead letters that came meanwhile.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn history(
        &self,
        saga: SagaId,
        mut after: u32,
    ) -> Result<(Vec<HistoryEvent>, Vec<LetterLine>), Failure> {
        let (mut events, mut letters) = (Vec::new(), Vec::new());
        loop {
            let page: HistoryPage =
                self.get(&format!("/sagas/{saga}/history?after={after}&limit={PAGE}")).await?;
            events.extend(page.events);
            letters.extend(page.dead_letters);
            match page.next {
                Some(next) if next > after => after = next,
                _ => return Ok((events, letters)),
            }
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Response, reqwest::Error>,
    ) -> Result<T, Failure> {
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = format!("the answer of {} is not what this version understands: {error}", self.base);
            Failure::new(Code::Failed, what)
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        let base = &self.base;
        Failure::new(
            Code::Unreachable,
            format!(
                "cannot reach {base}: {cause}. Does `amends serve` or `amends dev` run? `--url` or AMENDS_URL says where."
            ),
        )
    }
}

/// Pairs as a query.
pub fn query_of(pairs: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost").expect("it is an address");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// A body that is not a problem comes from something between, such as a proxy.
fn refused(status: StatusCode, bytes: &[u8]) -> Failure {
    if let Ok(problem) = serde_json::from_slice::<Problem>(bytes) {
        return Failure::problem(problem);
    }
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    let code = if status == StatusCode::NOT_FOUND { Code::NotFound } else { Code::Failed };
    Failure::new(code, format!("the server answered {status}: {text}"))
}

/// Chooses the process's TLS implementation; the first call wins.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
