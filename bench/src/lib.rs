//! Orders by the thousand, as a client of the real API, and the books afterwards.
//!
//! Knows the shop's databases and the sandbox's ledger; of the engine's insides only [`grown`] knows which tables there are.

pub mod books;
pub mod cost;
pub mod grown;
pub mod load;
pub mod measure;
pub mod run;

/// Installs the process's TLS provider; harmless when repeated.
pub fn install_tls() {
    // Fails only when another provider was installed before, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
