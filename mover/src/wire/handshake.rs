// SPDX-License-Identifier: Apache-2.0
//! How the two ends greet each other. Until it is over neither reads more than a few KiB from the other.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::error::{Error, Result};
use super::frame::{Kind, MESSAGE_MAX, VERSION, read_message};
use super::message::{self, Challenge, Hello, Refusal, Welcome};
use super::token::{PROOF_SIZE, Role, Token, is_proof, proof};

/// What a sender tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Its job: a number for it in the upper half, one for the attempt at it in the lower half.
    pub(crate) job: u64,
    /// The database that it writes to.
    pub(crate) database: u32,
    /// Whether a HyperLogLog may become a plain string.
    pub(crate) raw_hyperloglogs: bool,
    /// Whether it would compress, or take what is compressed.
    pub(crate) compresses: bool,
    /// That it wants the log of a target of so many slots.
    pub(crate) log_of_slots: Option<u16>,
}

/// The sender's side: proves that it knows the token, and makes sure that the receiver does.
///
/// # Errors
/// [`Error::Refused`] with the receiver's reason, [`Error::Stranger`] for a receiver that does not know the token.
pub(crate) async fn introduce(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    token: Option<&Token>,
    terms: &Terms,
) -> Result<Welcome> {
    let nonce = new_nonce();
    let told = async {
        let challenge: Challenge = message::parse(&expect(reader, Kind::Challenge).await?)?;
        let hello = message::text(&Hello {
            nonce: nonce.clone(),
            versions: (VERSION, VERSION),
            compressions: terms.compresses.then(|| ZSTD.to_owned()).into_iter().collect(),
            job: terms.job,
            database: terms.database,
            raw_hyperloglogs: terms.raw_hyperloglogs,
            log_of_slots: terms.log_of_slots,
        });
        let proof = proof(token, Role::Sender, challenge.nonce.as_bytes(), &hello);
        message::write_text(writer, Kind::Hello, (0, 0), &proof, &hello).await?;
        Ok(())
    };
    within(told).await?;
    // The receiver looks at its target first.
    let patience = GREETING + GREETING;
    let welcome = timeout(patience, expect(reader, Kind::Welcome)).await.map_err(|_| Error::Silent(patience))??;
    let (its_proof, text) = welcome.split_at_checked(PROOF_SIZE).ok_or(NO_PROOF)?;
    match is_proof(its_proof, token, Role::Receiver, nonce.as_bytes(), text) {
        true => message::parse(text),
        false => Err(Error::Stranger),
    }
}

/// The receiver's side, up to the point where it knows what the sender wants. A sender that it does not take is told so.
///
/// # Errors
/// [`Error::Refused`] with the reason that the sender was told.
pub(crate) async fn challenge(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    token: Option<&Token>,
) -> Result<Hello> {
    let nonce = new_nonce();
    let heard = async {
        let challenge = Challenge { nonce: nonce.clone(), versions: (VERSION, VERSION), has_token: token.is_some() };
        message::write(writer, Kind::Challenge, (0, 0), b"", &challenge).await?;
        expect(reader, Kind::Hello).await
    };
    let refusal = match within(heard).await {
        Ok(payload) => match judge(&payload, token, &nonce) {
            Ok(hello) => return Ok(hello),
            Err(refusal) => refusal,
        },
        // Its version stands in every frame.
        Err(Error::Version { .. }) => Refusal::Version { versions: (VERSION, VERSION) },
        Err(error) => return Err(error),
    };
    refuse(writer, &refusal).await?;
    Err(Error::Refused(refusal))
}

/// Tells a sender that it is not taken.
///
/// # Errors
/// Whatever the connection ends with.
pub(crate) async fn refuse(writer: &mut (impl AsyncWrite + Unpin), refusal: &Refusal) -> Result<()> {
    within(message::write(writer, Kind::Refusal, (0, 0), b"", refusal)).await
}

/// Tells a sender that it is taken, on which conditions.
///
/// # Errors
/// Whatever the connection ends with.
pub(crate) async fn accept(
    writer: &mut (impl AsyncWrite + Unpin),
    token: Option<&Token>,
    hello: &Hello,
    welcome: &Welcome,
) -> Result<()> {
    let text = message::text(welcome);
    let proof = proof(token, Role::Receiver, hello.nonce.as_bytes(), &text);
    within(message::write_text(writer, Kind::Welcome, (0, 0), &proof, &text)).await
}

/// The compression that both ends can; none when there is no such.
pub(crate) fn agreed_compression(hello: &Hello) -> Option<String> {
    hello.compressions.iter().find(|name| *name == ZSTD).cloned()
}

fn judge(payload: &[u8], token: Option<&Token>, nonce: &str) -> Result<Hello, Refusal> {
    let is_wanted = token.is_some();
    // Nothing of what a stranger says is parsed.
    let (its_proof, text) = payload.split_at_checked(PROOF_SIZE).ok_or(Refusal::Token { is_wanted })?;
    if !is_proof(its_proof, token, Role::Sender, nonce.as_bytes(), text) {
        return Err(Refusal::Token { is_wanted });
    }
    let hello: Hello = message::parse(text).map_err(|error| Refusal::Malformed { what: error.to_string() })?;
    match hello.versions.0 <= VERSION && VERSION <= hello.versions.1 {
        true => Ok(hello),
        false => Err(Refusal::Version { versions: (VERSION, VERSION) }),
    }
}

async fn expect(reader: &mut (impl AsyncRead + Unpin), kind: Kind) -> Result<Vec<u8>> {
    let (header, payload) = read_message(reader, MESSAGE_MAX).await?;
    match header.kind {
        found if found == kind => Ok(payload),
        Kind::Refusal => Err(Error::Refused(message::parse(&payload)?)),
        _ => Err(Error::Unexpected { what: "it is none of a greeting" }),
    }
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(GREETING, work).await.map_err(|_| Error::Silent(GREETING))?
}

fn new_nonce() -> String {
    BASE64.encode(rand::random::<[u8; 32]>())
}

const NO_PROOF: Error = Error::Malformed { what: "a greeting without a proof" };

/// The name of the one compression that there is.
const ZSTD: &str = "zstd";

/// How long each step of a greeting may take.
const GREETING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

    const TERMS: Terms = Terms { job: 7, database: 3, raw_hyperloglogs: true, compresses: true, log_of_slots: Some(9) };

    fn welcome() -> Welcome {
        Welcome {
            version: VERSION,
            compression: None,
            dialect: "Redis".to_owned(),
            target: "h:1".to_owned(),
            run_id: None,
            batch_max: 9,
            log_end: Some((3, 4)),
        }
    }

    /// Both ends with their tokens, and what each of them made of the other.
    async fn greet(sender: Option<&str>, receiver: Option<&str>) -> (Result<Welcome>, Result<Hello>) {
        let [sender, receiver] = [sender, receiver].map(|token| token.map(|token| Token::new(token).unwrap()));
        let (one, other) = duplex(1 << 16);
        let ((mut reader, mut writer), (mut own_reader, mut own_writer)) = (split(one), split(other));
        let answer = async {
            let hello = challenge(&mut own_reader, &mut own_writer, receiver.as_ref()).await?;
            accept(&mut own_writer, receiver.as_ref(), &hello, &welcome()).await?;
            Ok(hello)
        };
        tokio::join!(introduce(&mut reader, &mut writer, sender.as_ref(), &TERMS), answer)
    }

    #[tokio::test]
    async fn who_knows_the_token_is_welcome() {
        for token in [None, Some("the token of both")] {
            let (told, heard) = greet(token, token).await;
            assert_eq!(told.unwrap(), welcome());
            let hello = heard.unwrap();
            assert_eq!((hello.job, hello.database, hello.raw_hyperloglogs), (7, 3, true));
            assert_eq!(hello.log_of_slots, Some(9));
            assert_eq!(agreed_compression(&hello).as_deref(), Some("zstd"));
        }
    }

    #[tokio::test]
    async fn who_does_not_is_refused() {
        let (one, other) = (Some("the token of one!"), Some("the token of two!"));
        for (sender, receiver) in [(one, other), (None, one), (one, None)] {
            let (told, heard) = greet(sender, receiver).await;
            let is_refused = |error| matches!(error, Error::Refused(Refusal::Token { is_wanted }) if is_wanted == receiver.is_some());
            assert!(is_refused(told.unwrap_err()) && is_refused(heard.unwrap_err()));
        }
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_know_the_token_is_a_stranger() {
        let (mut one, mut other) = duplex(1 << 16);
        let token = Token::new("the token of one!").unwrap();
        let stranger = async {
            let challenge = Challenge { nonce: "any".to_owned(), versions: (1, 1), has_token: true };
            message::write(&mut other, Kind::Challenge, (0, 0), b"", &challenge).await.unwrap();
            let hello = message::parse(&expect(&mut other, Kind::Hello).await.unwrap()[PROOF_SIZE..]).unwrap();
            accept(&mut other, None, &hello, &welcome()).await.unwrap();
        };
        let (mut reader, mut writer) = split(&mut one);
        let (told, ()) = tokio::join!(introduce(&mut reader, &mut writer, Some(&token), &TERMS), stranger);
        assert!(matches!(told, Err(Error::Stranger)), "{told:?}");
    }

    #[tokio::test]
    async fn an_old_version_is_told_which_one_is_spoken() {
        let (mut one, other) = duplex(1 << 16);
        let (mut reader, mut writer) = split(other);
        let old = async {
            let mut frame = [0; 44];
            frame[..4].copy_from_slice(b"SLMV");
            one.write_all(&frame).await.unwrap();
            expect(&mut one, Kind::Challenge).await.unwrap();
            expect(&mut one, Kind::Welcome).await.unwrap_err()
        };
        let (heard, told) = tokio::join!(challenge(&mut reader, &mut writer, None), old);
        assert!(matches!(heard, Err(Error::Refused(Refusal::Version { .. }))), "{heard:?}");
        assert!(matches!(told, Error::Refused(Refusal::Version { versions: (VERSION, VERSION) })), "{told:?}");
    }

    #[tokio::test]
    async fn garbage_is_no_greeting() {
        let request = "GET / HTTP/1.1\r\nHost: somewhere\r\nAccept: everything\r\n";
        for garbage in [request, "SLMV", ""] {
            let (mut one, other) = duplex(1 << 16);
            one.write_all(garbage.as_bytes()).await.unwrap();
            one.shutdown().await.unwrap();
            let (mut reader, mut writer) = split(other);
            let heard = challenge(&mut reader, &mut writer, None).await;
            assert!(matches!(heard, Err(Error::Magic { .. } | Error::Truncated)), "{heard:?}");
            drop((reader, writer));
            let mut seen = Vec::new();
            one.read_to_end(&mut seen).await.unwrap();
            assert!(seen.len() < 1024);
        }
    }
}
