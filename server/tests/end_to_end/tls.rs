//! A collector of spans that is reached by TLS.

use std::io::Write;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::NamedTempFile;
use tonic::transport::Identity;

use crate::collector::Collector;
use crate::support::Server;

/// A certificate authority of its own.
struct Authority {
    /// Its certificate.
    file: NamedTempFile,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority for tests");
        let pem = params.self_signed(&key).unwrap().pem();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        Self {
            file,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for this machine.
    fn identity(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }
}

/// Answers a request in an environment that trusts `trusted`, and gives the number of spans that the collector then has.
async fn num_spans(collector: &Collector, trusted: &Authority) -> usize {
    let trusted = trusted.file.path().to_str().unwrap();
    let mut server = Server::start_in(
        &["--otlp-traces-endpoint", &collector.url],
        &[("SSL_CERT_FILE", trusted)],
    );
    let body = json!({"prompt": "Once", "max_tokens": 1});
    let (status, answer) = server.post("/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    server.interrupt();
    assert!(server.child.wait().unwrap().success());
    collector.received().1.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_by_tls_to_whom_the_system_trusts_alone() {
    let authority = Authority::new();
    let collector = Collector::start_tls(authority.identity()).await;
    assert_eq!(num_spans(&collector, &Authority::new()).await, 0);
    assert_eq!(num_spans(&collector, &authority).await, 1);
}
