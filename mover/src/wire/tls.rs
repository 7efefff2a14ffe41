// SPDX-License-Identifier: Apache-2.0
//! TLS 1.3 for both ends. A sender trusts one authority that it is given, never those of the system.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto, version};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::{Error, Result};

/// What a receiver shows, and whom it trusts.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    wants_client_certificate: bool,
}

impl ServerTls {
    /// Reads its certificate, the key of it, and the certificate of the authority that its senders must have theirs from,
    /// all of them PEM files.
    ///
    /// # Errors
    /// [`Error::File`] names the file that cannot be used.
    pub fn read(certificate: &Path, key: &Path, client_authority: Option<&Path>) -> Result<Self> {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_protocol_versions(VERSIONS).expect("the provider has TLS 1.3");
        let config = match client_authority {
            Some(authority) => {
                let roots = Arc::new(roots(authority)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                config.with_client_cert_verifier(verifier.map_err(|fault| unusable(authority, fault))?)
            }
            None => config.with_no_client_auth(),
        };
        let config = config.with_single_cert(certificates(certificate)?, private_key(key)?);
        let config = config.map_err(|fault| unusable(certificate, fault))?;
        let wants_client_certificate = client_authority.is_some();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), wants_client_certificate })
    }

    /// Whether a sender must have a certificate.
    pub(crate) fn wants_client_certificate(&self) -> bool {
        self.wants_client_certificate
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

/// Whom a sender trusts, and what it shows.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl ClientTls {
    /// Reads the certificate of the authority that the receiver must have its own from, and the sender's own certificate
    /// with its key where the receiver wants one, all of them PEM files.
    ///
    /// # Errors
    /// [`Error::File`] names the file that cannot be used.
    pub fn read(authority: &Path, own: Option<(&Path, &Path)>) -> Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let config = config.with_protocol_versions(VERSIONS).expect("the provider has TLS 1.3");
        let config = config.with_root_certificates(roots(authority)?);
        let config = match own {
            Some((certificate, key)) => config
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|fault| unusable(certificate, fault))?,
            None => config.with_no_client_auth(),
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls")
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|fault| unusable(path, fault))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found.map_err(|fault| unusable(path, fault))? {
        none if none.is_empty() => Err(unusable(path, "there is no certificate in it")),
        certificates => Ok(certificates),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|fault| unusable(path, fault))
}

fn unusable(path: &Path, fault: impl ToString) -> Error {
    Error::file("use", path, io::Error::other(fault.to_string()))
}

/// Both ends are ours.
const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13];
