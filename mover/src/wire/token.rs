// SPDX-License-Identifier: Apache-2.0
//! The secret that both ends know.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A token that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl Token {
    /// Hides `text`, which has 16 bytes or more.
    ///
    /// # Errors
    /// A sentence for a token that could be guessed: who listens to a greeting may try as many as he likes.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, String> {
        let text = text.into();
        match text.len() >= LENGTH_MIN {
            true => Ok(Self(text)),
            false => Err(format!("a token has {LENGTH_MIN} bytes or more, this one has {}", text.len())),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Who proves that he knows the token: the proof of one end is none of the other.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Sender,
    Receiver,
}

/// The proof that `role` knows the token: it has seen the other end's nonce, and it has written `message`. Two ends
/// without a token have an empty one.
pub(super) fn proof(token: Option<&Token>, role: Role, nonce: &[u8], message: &[u8]) -> [u8; PROOF_SIZE] {
    mac(token, role, nonce, message).finalize().into_bytes().into()
}

/// Whether that is the proof, in a time that tells nothing.
pub(super) fn is_proof(proof: &[u8], token: Option<&Token>, role: Role, nonce: &[u8], message: &[u8]) -> bool {
    mac(token, role, nonce, message).verify_slice(proof).is_ok()
}

fn mac(token: Option<&Token>, role: Role, nonce: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let key = token.map_or(&b""[..], |token| &token.0);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(match role {
        Role::Sender => b"slotmover sender",
        Role::Receiver => b"slotmover receive",
    });
    mac.update(&(nonce.len() as u64).to_le_bytes());
    mac.update(nonce);
    mac.update(message);
    mac
}

pub(super) const PROOF_SIZE: usize = 32;

const LENGTH_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_one_of_all_that_it_is_made_of() {
        let token = Token::new("a token of our own").unwrap();
        let made = proof(Some(&token), Role::Sender, b"nonce", b"message");
        assert!(is_proof(&made, Some(&token), Role::Sender, b"nonce", b"message"));
        let other = Token::new("a token of theirs!").unwrap();
        assert!(!is_proof(&made, Some(&other), Role::Sender, b"nonce", b"message"));
        assert!(!is_proof(&made, None, Role::Sender, b"nonce", b"message"));
        assert!(!is_proof(&made, Some(&token), Role::Receiver, b"nonce", b"message"));
        assert!(!is_proof(&made, Some(&token), Role::Sender, b"nonc", b"emessage"));
        assert!(!is_proof(&made, Some(&token), Role::Sender, b"nonce", b"massage"));
        assert!(!is_proof(&made[1..], Some(&token), Role::Sender, b"nonce", b"message"));
    }

    #[test]
    fn a_token_is_long_and_does_not_show() {
        assert!(Token::new("fifteen bytes!!").is_err());
        assert_eq!(format!("{:?}", Token::new("sixteen bytes !!").unwrap()), "Token(..)");
    }
}
