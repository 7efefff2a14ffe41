// SPDX-License-Identifier: Apache-2.0
//! What Codis takes for a password in the path of a call: a digest of names that both sides know.

use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::endpoint::Password;

/// The secret part of a path. It does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Xauth(String);

impl Xauth {
    /// What the dashboard of a product expects.
    pub(super) fn of_dashboard(product: &str) -> Self {
        Self::of(&[product])
    }

    /// What a proxy expects.
    pub(super) fn of_proxy(product: &str, product_auth: &Password, token: &str) -> Self {
        Self::of(&[product, product_auth.reveal(), token])
    }

    /// The text itself, for the one place that sends it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    fn of(segments: &[&str]) -> Self {
        let mut text = "Codis-XAuth".to_owned();
        for segment in segments {
            write!(text, "-[{segment}]").expect("a String takes every text");
        }
        let digest = Sha256::digest(text);
        let mut hex = String::with_capacity(2 * BYTES);
        for byte in digest.iter().take(BYTES) {
            write!(hex, "{byte:02x}").expect("a String takes every text");
        }
        Self(hex)
    }
}

impl fmt::Debug for Xauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Xauth(..)")
    }
}

/// Codis uses the first half of the digest.
const BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_real_ones_take() {
        assert_eq!(Xauth::of_dashboard("demo").reveal(), "c32db19baf104a834a2d07a99c55a19a");
        let none = Password::new("");
        let first = Xauth::of_proxy("demo", &none, "1ba8ec103a31e9b95d8a6e0cf572ffd9");
        assert_eq!(first.reveal(), "5fff0c2ec5fd90852e72f436c7c6f5e2");
        let second = Xauth::of_proxy("demo", &none, "549ea685d92f3ee320275d54f159f31b");
        assert_eq!(second.reveal(), "4637bbd06305d26458c2140b6325fd62");
    }

    #[test]
    fn does_not_show() {
        assert_eq!(format!("{:?}", Xauth::of_dashboard("demo")), "Xauth(..)");
    }
}
