//! Secrets that headers refer to by name: held here, sent to their hosts only, never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

/// What a variable that holds a secret begins with: `AMENDS_HTTP_SECRET_CARRIER_KEY` is `carrier_key`.
pub const VARIABLE: &str = "AMENDS_HTTP_SECRET_";

/// The secrets of this worker, by name.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

#[derive(Clone)]
struct Secret {
    source: Source,
    hosts: Vec<String>,
}

#[derive(Clone)]
enum Source {
    Value(String),
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// A secret that is set up halfway.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It has no host.
    #[error("the secret `{name}` may be sent nowhere: set {} to the hosts that it is for", variable(.name, "_HOST"))]
    NoHost {
        /// Its name.
        name: String,
    },
    /// It has no value.
    #[error(
        "the secret `{name}` has no value: set {}, or {} to a file that holds it",
        variable(.name, ""),
        variable(.name, "_FILE")
    )]
    NoValue {
        /// Its name.
        name: String,
    },
}

fn variable(name: &str, suffix: &str) -> String {
    format!("{VARIABLE}{}{suffix}", name.to_uppercase())
}

/// Why a secret cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Withheld {
    /// Nobody set it.
    #[error("the secret `{0}` is not set at the worker `http`")]
    Unknown(String),
    /// It is for other hosts.
    #[error("the secret `{0}` is not for this host")]
    OtherHost(String),
    /// Its file cannot be read.
    #[error("the file of the secret `{0}` cannot be read")]
    Unreadable(String, #[source] std::io::Error),
}

impl Secrets {
    /// Takes the secrets out of variables: `…_NAME` or `…_NAME_FILE`, and `…_NAME_HOST`.
    ///
    /// # Errors
    /// When one is set up halfway.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SecretError> {
        let mut sources = BTreeMap::new();
        let mut hosts = BTreeMap::new();
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(VARIABLE) else { continue };
            let name = rest.to_lowercase();
            if let Some(name) = name.strip_suffix("_host") {
                let list = value.split(',').map(|it| it.trim().to_lowercase()).filter(|it| !it.is_empty());
                hosts.insert(name.to_owned(), list.collect::<Vec<_>>());
            } else if let Some(name) = name.strip_suffix("_file") {
                sources.insert(name.to_owned(), Source::File(value.into()));
            } else {
                sources.insert(name, Source::Value(value));
            }
        }
        let mut secrets = BTreeMap::new();
        for (name, source) in sources {
            match hosts.remove(&name).filter(|hosts| !hosts.is_empty()) {
                Some(hosts) => secrets.insert(name, Secret { source, hosts }),
                None => return Err(SecretError::NoHost { name }),
            };
        }
        match hosts.into_keys().next() {
            Some(name) => Err(SecretError::NoValue { name }),
            None => Ok(Self(secrets)),
        }
    }

    /// The value of a secret for a request to `url`. A file is read each time, so that it can be changed.
    ///
    /// # Errors
    /// When there is none, or it is not for that host.
    pub async fn value(&self, name: &str, url: &Url) -> Result<String, Withheld> {
        let secret = self.0.get(name).ok_or_else(|| Withheld::Unknown(name.to_owned()))?;
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
        // Whoever names no port means the host as everybody knows it, and that no line in between reads along.
        let known = url.scheme() == "https";
        let fits = |it: &String| (known && it == host) || Some(it) == with_port.as_ref();
        if !secret.hosts.iter().any(fits) {
            return Err(Withheld::OtherHost(name.to_owned()));
        }
        match &secret.source {
            Source::Value(value) => Ok(value.clone()),
            Source::File(path) => tokio::fs::read_to_string(path)
                .await
                .map(|value| value.trim().to_owned())
                .map_err(|error| Withheld::Unreadable(name.to_owned(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Result<Secrets, SecretError> {
        Secrets::from_variables(
            pairs.iter().map(|(name, value)| (format!("{VARIABLE}{name}"), (*value).to_owned())),
        )
    }

    #[tokio::test]
    async fn a_secret_goes_to_its_hosts_only_and_does_not_show() {
        let secrets = set(&[("KEY", "s3cret"), ("KEY_HOST", "api.example.com, other.example:8443")]).unwrap();
        assert!(!format!("{secrets:?}").contains("s3cret"));
        let value = async |url: &str| secrets.value("key", &Url::parse(url).unwrap()).await.is_ok();
        assert!(value("https://api.example.com/x").await);
        assert!(value("https://other.example:8443/").await);
        assert!(!value("https://other.example/").await);
        assert!(!value("http://api.example.com/").await, "in the clear");
        assert!(!value("https://evil.example/api.example.com").await);
        assert!(secrets.value("none", &Url::parse("https://api.example.com").unwrap()).await.is_err());
    }

    #[test]
    fn what_is_set_up_halfway_is_refused() {
        let told = |pairs: &[(&str, &str)]| set(pairs).unwrap_err().to_string();
        assert!(told(&[("A_KEY", "x")]).contains("AMENDS_HTTP_SECRET_A_KEY_HOST"));
        assert!(told(&[("A_KEY_HOST", "x")]).contains("AMENDS_HTTP_SECRET_A_KEY_FILE"));
    }
}
