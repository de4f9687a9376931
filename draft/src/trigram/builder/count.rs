//! How often what followed what: in memory, as many as there is room for.

use foretoken_model::Token;
use rayon::slice::ParallelSliceMut;

use crate::trigram::suffix::Suffix;

/// A suffix, a token that followed it, and how often. In order by suffix, then by token.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Count(u128);

impl Count {
    /// Bytes of its own.
    pub(super) const SIZE: usize = 16;

    fn once(suffix: Suffix, token: Token) -> Self {
        Self(u128::from(suffix.to_bits()) << 64 | u128::from(token) << 32 | 1)
    }

    pub(super) fn suffix(self) -> Suffix {
        Suffix::from_bits((self.0 >> 64) as u64)
    }

    pub(super) fn token(self) -> Token {
        (self.0 >> 32) as Token
    }

    pub(super) fn count(self) -> u32 {
        self.0 as u32
    }

    /// Takes the other in, if both count the same. Counts end at 2^32 - 1, in whatever order they are added.
    pub(super) fn absorb(&mut self, other: Self) -> bool {
        let is_same = self.0 >> 32 == other.0 >> 32;
        if is_same {
            let sum = self.count().saturating_add(other.count());
            self.0 = self.0 >> 32 << 32 | u128::from(sum);
        }
        is_same
    }

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        self.0.to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }
}

/// Counts in no order, the same ones several times, until they are folded.
#[derive(Debug)]
pub(super) struct Counts {
    counts: Vec<Count>,
    most: usize,
}

impl Counts {
    /// Room for `memory` bytes of counts: taken in one piece, since a vector that grows holds twice what it needs.
    pub(super) fn with_memory(memory: usize) -> Self {
        let most = memory / Count::SIZE;
        Self {
            counts: Vec::with_capacity(most),
            most,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// True if one more document of `num_tokens` fits. Folding makes room; where it leaves less than half it is done
    /// too often, and the counts belong elsewhere.
    pub(super) fn has_room(&mut self, num_tokens: usize) -> bool {
        let fits = |counts: &[Count], most| counts.len().saturating_add(3 * num_tokens) <= most;
        if fits(&self.counts, self.most) {
            return true;
        }
        self.fold();
        fits(&self.counts, self.most / 2)
    }

    /// Counts each token of a document after the two tokens, the one and the none before it.
    pub(super) fn learn(&mut self, document: &[Token]) {
        for (end, &token) in document.iter().enumerate() {
            let suffixes = Suffix::all(&document[..end]);
            self.counts
                .extend(suffixes.map(|suffix| Count::once(suffix, token)));
        }
    }

    /// In order and each once, if folded.
    pub(super) fn as_slice(&self) -> &[Count] {
        &self.counts
    }

    pub(super) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Puts the same ones together, in order.
    pub(super) fn fold(&mut self) {
        self.counts.par_sort_unstable();
        self.counts.dedup_by(|later, first| first.absorb(*later));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_the_same_are_added_up_to_a_limit() {
        let once = Count::once(Suffix::pair(1, 2), 3);
        let mut many = once;
        assert!(many.absorb(once) && many.count() == 2);
        assert_eq!((many.suffix(), many.token()), (Suffix::pair(1, 2), 3));
        assert!(!many.absorb(Count::once(Suffix::pair(1, 2), 4)));
        let mut most = Count(once.0 | u128::from(u32::MAX));
        assert!(most.absorb(most) && most.count() == u32::MAX);
        assert_eq!(Count::from_bytes(most.to_bytes()), most);
    }

    #[test]
    fn folding_makes_room_where_the_same_comes_again() {
        let mut counts = Counts::with_memory(24 * Count::SIZE);
        for _ in 0..20 {
            assert!(counts.has_room(2));
            counts.learn(&[1, 1]);
        }
        counts.fold();
        let folded = counts.as_slice().iter().map(|count| count.count());
        let folded: Vec<u32> = folded.collect();
        assert_eq!(folded, [20, 40]);
        counts.learn(&[2, 3, 4, 5, 6]);
        assert!(!counts.has_room(5));
    }
}
