// SPDX-License-Identifier: Apache-2.0
//! The digests that stand for a product and its servers.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// What a caller of the dashboard puts into the path.
pub(super) fn dashboard(product_name: &str) -> String {
    digest("Codis-XAuth", &[product_name])
}

/// What a caller of a proxy puts into the path.
pub(super) fn proxy(product_name: &str, product_auth: &str, token: &str) -> String {
    digest("Codis-XAuth", &[product_name, product_auth, token])
}

/// The name of a server, the same after a restart at the same addresses. Codis takes another digest of other things; all
/// that anyone may rely on is its length and that it stays.
pub(super) fn token(product_name: &str, addrs: &[&str]) -> String {
    let segments: Vec<_> = [product_name].into_iter().chain(addrs.iter().copied()).collect();
    digest("Codis-Token", &segments)
}

fn digest(what: &str, segments: &[&str]) -> String {
    let mut text = what.to_owned();
    for segment in segments {
        text.push_str("-[");
        text.push_str(segment);
        text.push(']');
    }
    Sha256::digest(text.as_bytes())[..DIGEST_BYTES].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    })
}

const DIGEST_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_a_real_one_asks_for() {
        assert_eq!(dashboard("demo"), "c32db19baf104a834a2d07a99c55a19a");
        assert_eq!(proxy("demo", "", "1ba8ec103a31e9b95d8a6e0cf572ffd9"), "5fff0c2ec5fd90852e72f436c7c6f5e2");
    }
}
