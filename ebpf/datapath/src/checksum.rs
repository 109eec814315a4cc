//! The Internet checksum, updated rather than computed anew (RFC 1071, RFC 1624).

/// A change of a one's complement sum, gathered word by word.
///
/// Words are loaded in the machine's own byte order: the sum's byte order follows the data's (RFC 1071, 2(B)), which is
/// also how the kernel's helpers want it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Checksum(u64);

impl Checksum {
    /// No change.
    #[inline(always)]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A word more: for a sum that is computed from scratch.
    #[inline(always)]
    pub const fn add(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// The field that completes a sum computed from scratch.
    #[inline(always)]
    pub const fn complete(self) -> u16 {
        !fold(self.difference() as u64)
    }

    /// `old` gives way to `new`.
    #[inline(always)]
    pub const fn replace(self, old: u32, new: u32) -> Self {
        // A flow's few words cannot overflow 64 bits, so carries are folded once, at the end.
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// `old` gives way to `new`, each half a word: the other half is the same before and after.
    #[inline(always)]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// The change as 32 bits in one's complement: what `bpf_l4_csum_replace` takes as a difference.
    #[inline(always)]
    pub const fn difference(self) -> u32 {
        let folded = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((folded & 0xffff_ffff) + (folded >> 32)) as u32
    }

    /// The checksum field after the change (RFC 1624, equation 3).
    #[inline(always)]
    pub const fn apply(self, field: u16) -> u16 {
        !fold(self.difference() as u64 + (!field) as u64)
    }

    /// A sum that is kept as it is, not complemented: what a field holds while the device is still to complete it.
    #[inline(always)]
    pub const fn apply_to_sum(self, field: u16) -> u16 {
        fold(self.difference() as u64 + field as u64)
    }
}

/// The 16-bit one's complement sum of a 64-bit one that is far from overflow.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// RFC 1071's own definition, over bytes.
    fn from_scratch(words: &[u32]) -> u16 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_ne_bytes([pair[0], pair[1]]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// In one's complement 0 and 0xffff are the same number.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
        #[test]
        fn an_updated_checksum_is_the_one_computed_anew(
            before in proptest::collection::vec(any::<u32>(), 1..12),
            after in proptest::collection::vec(any::<u32>(), 12),
        ) {
            let after = &after[..before.len()];
            let change = before.iter().zip(after).fold(Checksum::new(), |sum, (old, new)| sum.replace(*old, *new));
            prop_assert!(same(change.apply(from_scratch(&before)), from_scratch(after)));
            prop_assert!(same(change.apply_to_sum(!from_scratch(&before)), !from_scratch(after)));
        }

        #[test]
        fn half_words_count_as_whole_ones_do(rest: u16, old: u16, new: u16) {
            let word = |half: u16| u32::from_ne_bytes([half.to_ne_bytes()[0], half.to_ne_bytes()[1], rest.to_ne_bytes()[0], rest.to_ne_bytes()[1]]);
            let halves = Checksum::new().replace16(old, new).apply(from_scratch(&[word(old)]));
            prop_assert!(same(halves, from_scratch(&[word(new)])));
        }
    }
}
