//! An issuer of tokens: a key set over HTTP that can rotate, and every kind of bad token.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

pub(crate) const AUDIENCE: &str = "amends-api";

/// Of this test, and worth nothing.
const RSA: &str = "\
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDTSUsMymMRClcrfGpK0F6BXacp2K5QuH8Vg7lzhTuNOE23/u1G\
V51H7j0XQ6qu6hBvp1d0w6gzmdnTJRs7cxG1f38Zemxl54V6s8Lz7YrWeHYY+sxItGLXmIPW2TeEecvyQ4aburiN9aJ7yfsX+lZG\
poVuEFuCPMO2gAmhfE4wHf50fnP2Gthqt8bh/IX2RgqJaVezXb0JMIsj0LxJVlUa0WbN50+JzYMtEWPKnht7gu6XmPNzak5asj4t\
n9bGuUYvfNVbVmAU0ZV32MpaC+rtWTM7M92bcLCtMuLC3HBCR30mH5wzbd55zMOugGhVA2BgcKATYfty38/qWUUGVgoZAgMBAAEC\
ggEABvCC0wY4r8AXsdlxwkhKulQBoAm6W/NbVTEQ377yAEbnopHwaB2LkGe+QOvbiMguRwSHhlHAzgURFvLCjLbQT5ZC7erL8aLj\
iu6pigp0w2uMcXCXUhH+pxceyWkz/hlj/e6C1s2QrzTwo8E0CosR11szybQm1UW6pd1Zs6CaDtF2B5N4vkEfHuohq6s6L7ZdhE1R\
9VHJD+KzKyIUi7dHW/4xVT5wab1gbIQThyzc6HVqrWYI7ryerZnG4aCrYc77EZWCUqTGkNSVSVytiE8laby0TWYhcGhId2iieYBp\
02GUO2cjRv6GEbFmoiHiI2YEtbx+6tvjLRQgAHQxOhsYCQKBgQD/9JQG/BRLQvKYrC1v4p9SRyyo+9h3KJT8i3pka5Q+BjzU/cxs\
tohtss3wDB+A0sIeQ8iN4VlCzaW0HKJ3NPmTJ4fCtaw/hlJQYeMAAfB7UCzd4a4zU5VeGcUB0t2mJMyAkp7JZzc+3k/kN20dM+cW\
sR9WWchm3wdG54hiCW/otQKBgQDTUri73F5HOCccRnizIgkq8sAwks0fJRS94+N+XWR7bR5fVYOG7e9+RNz8yGD69JfEKK0YHSaU\
8zdqj5YUhrRbIg2z5mk5o3iJTKw+bD6sOTKDXShSvhuPgWYpeC9kwCFq8l3WDXiQPUww7eLL9UP/gDI6hOCE0rmLQuWeY3BuVQKB\
gEU2pBjHbc10SxnR5W+N/rtHF+KSR9ThGni4Vt504N9s3GJUR0VWjsnrQhkZjiNN2sRIXCFRwMt5xMdRvvUxVBPg6qtSaUO8VOH7\
tmC4JYmTAq71ah/jCE8r9MQre1iENvDFtT6NNLlBcKUr/8uXz3Opbenx2WlIAjXAQncQSjzJAoGACp5EdAQNpKx4op4T4IRcS5Ep\
AQfPULpPQX9a5fWRX/ZKqWWllzkLaJ/TLsxuuw1hNtUIZYbJcoCKD0upsdxW4aFjaN+x99hz7QoyOWy89XBmTl128jllLx/EX18P\
mpNg2nvVJTVGEpFR6794PuFTClqJq5ETqvjfo9S3ru62LoUCgYB/Nne2KaegLfNlQnD0WQB4LPr8UhjHuXIp4N2+D9etrNQ5UIW6\
xoAKfmyC/Ol1/izGIMaWGdQHogwnVE/WsEKN99hhuBC2LhSPld/ZjFUumOwBZ6/oVis4ZrINOcXEWxWPYVLeujM5ZvbtNG/2aT+n\
wqiGkzG9gIwu/YGt07peNQ==";

pub(crate) enum Pair {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    pub(crate) fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub(crate) fn ec() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap())
    }

    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA).unwrap()).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self {
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) })
            }
            Self::Rsa(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e) })
            }
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with this header and these claims, whatever they say.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes())))
    }
}

pub(crate) fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    pub(crate) asked: Arc<std::sync::atomic::AtomicUsize>,
}

impl Issuer {
    /// Serves the public parts of these keys.
    pub(crate) async fn start(keys: &[(&str, &Pair)]) -> Self {
        let keys = Arc::new(Mutex::new(keys.iter().map(|(id, pair)| pair.jwk(id)).collect()));
        let asked = Arc::<std::sync::atomic::AtomicUsize>::default();
        let (served, counted): (Arc<Mutex<Vec<Value>>>, _) = (Arc::clone(&keys), Arc::clone(&asked));
        let answer = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let keys = served.lock().clone();
            async move { Json(json!({ "keys": keys })) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/.well-known/jwks.json", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, keys, asked }
    }

    /// From now on these.
    pub(crate) fn rotate(&self, keys: &[(&str, &Pair)]) {
        *self.keys.lock() = keys.iter().map(|(id, pair)| pair.jwk(id)).collect();
    }

    /// What a good token claims.
    pub(crate) fn claims(&self, principal: &str, roles: &[&str]) -> Value {
        let now_s = chrono::Utc::now().timestamp();
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": principal, "iat": now_s, "exp": now_s + 600,
            "realm_access": { "roles": roles },
        })
    }
}
