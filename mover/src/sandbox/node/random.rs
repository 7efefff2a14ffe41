// SPDX-License-Identifier: Apache-2.0
/// The generator behind the server's SPOP: `minstd_rand0` of C++, the "minimal standard" of Park and Miller.
pub(super) struct Minimal(u64);

impl Minimal {
    /// The generator of this seed.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(match seed % MODULUS {
            0 => 1,
            state => state,
        })
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0 * 16_807 % MODULUS;
        self.0
    }
}

const MODULUS: u64 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::Minimal;

    #[test]
    fn reaches_the_value_of_the_standard() {
        let mut engine = Minimal::seeded(1);
        let last = (0..10_000).map(|_| engine.next()).last();
        assert_eq!(last, Some(1_043_618_065));
    }
}
