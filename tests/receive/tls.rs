// SPDX-License-Identifier: Apache-2.0
//! Certificates, good and bad.

use std::fs;
use std::path::{Path, PathBuf};

use mover::sink::ReceiverOptions;
use mover::wire::{ClientTls, ServerTls};
use mover::{Error, Side};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::moved;
use crate::harness::{Receiving, RedisServer, Source, assert_same, contents};

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_the_right_certificate_is_trusted() {
    let scene = Scene::start().await;
    let receiving = scene.receiving(false).await;
    let options = ReceiverOptions { tls: scene.client("authority", None), ..receiving.options() };
    let report = moved(&scene.source, scene.target.addr(), options, |_| ()).await.unwrap();
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
    assert_eq!(report.wire_bytes, Some(receiving.status().wire_bytes()));
    assert_eq!(receiving.status().refused(), 0);
    receiving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_is_not() {
    let scene = Scene::start().await;
    let receiving = scene.receiving(false).await;
    let expect = |tls, part: &'static str| {
        let options = ReceiverOptions { tls, ..receiving.options() };
        let (scene, receiving) = (&scene, &receiving);
        async move {
            match moved(&scene.source, scene.target.addr(), options, |_| ()).await {
                Err(Error::Connect { side: Side::Receiver, address, fault }) => {
                    assert_eq!(address, receiving.addr().to_string());
                    assert!(fault.contains(part), "{fault}");
                }
                other => panic!("{other:?}"),
            }
        }
    };
    expect(scene.client("other-authority", None), "UnknownIssuer").await;
    expect(None, "").await;
    assert_eq!(receiving.status().senders(), 0);
    scene.source.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_want_a_certificate_of_its_senders() {
    let scene = Scene::start().await;
    let receiving = scene.receiving(true).await;
    for own in [None, Some("stranger")] {
        let options = ReceiverOptions { tls: scene.client("authority", own), ..receiving.options() };
        match moved(&scene.source, scene.target.addr(), options, |_| ()).await {
            Err(Error::Connect { side: Side::Receiver, .. }) => {}
            other => panic!("{own:?}: {other:?}"),
        }
    }
    assert_eq!(receiving.status().senders(), 0);
    let options = ReceiverOptions { tls: scene.client("authority", Some("sender")), ..receiving.options() };
    moved(&scene.source, scene.target.addr(), options, |_| ()).await.unwrap();
    assert_same(scene.source.contents(), &contents(&mut scene.target.client()));
}

#[test]
fn files_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, missing) = (dir.path().join("empty.pem"), dir.path().join("missing.pem"));
    fs::write(&empty, "").unwrap();
    for path in [&empty, &missing] {
        let error = ClientTls::read(path, None).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        let error = ServerTls::read(path, path, None).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

/// A source, a target, and certificates of two authorities.
struct Scene {
    source: Source,
    target: RedisServer,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (authority, names) in [("authority", &["receiver", "sender"][..]), ("other-authority", &["stranger"])] {
            certify(dir.path(), authority, names);
        }
        let source = Source::start(&dir.path().join("source")).await;
        Self { source, target: RedisServer::start(), dir }
    }

    async fn receiving(&self, wants_certificates: bool) -> Receiving {
        let authority = self.file("authority", "pem");
        let (certificate, key) = (self.file("receiver", "pem"), self.file("receiver", "key"));
        let tls = ServerTls::read(&certificate, &key, wants_certificates.then_some(&*authority)).unwrap();
        Receiving::start(self.target.addr(), |options| options.tls = Some(tls)).await
    }

    /// A sender that trusts this authority, and shows this certificate.
    fn client(&self, authority: &str, own: Option<&str>) -> Option<ClientTls> {
        let files = own.map(|name| (self.file(name, "pem"), self.file(name, "key")));
        let own = files.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        Some(ClientTls::read(&self.file(authority, "pem"), own).unwrap())
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.dir.path().join(name).with_extension(extension)
    }
}

/// Writes the certificate of an authority, and those that it gives to the loopback address under these names.
fn certify(dir: &Path, authority: &str, names: &[&str]) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, authority);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join(authority).with_extension("pem"), issuer.pem()).unwrap();
    for name in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(dir.join(name).with_extension("pem"), certificate.pem()).unwrap();
        fs::write(dir.join(name).with_extension("key"), key.serialize_pem()).unwrap();
    }
}
