//! Chance that repeats: one seed gives one sequence, on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014): fifteen lines, and good enough to choose faults with.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub(crate) fn of(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// One of some; they must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = self.below(from.len() as u64);
        &from[usize::try_from(index).unwrap()]
    }

    /// A sequence of its own for something with a name, which what is drawn elsewhere does not move.
    pub(crate) fn of_its_own(&self, name: &str) -> Random {
        Random(name.bytes().fold(self.0, |seed, byte| mixed(seed ^ u64::from(byte))))
    }
}

/// A number that shows nothing of the one that it is made of, and no other is made of.
pub(crate) fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_reference() {
        // The first outputs of Vigna's splitmix64.c for seed 1234567.
        let mut random = Random::of(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn chances_are_about_what_they_say() {
        let mut random = Random::of(7);
        let hits = (0..10_000).filter(|_| random.chance(250)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!([1, 2, 3].contains(random.pick(&[1, 2, 3])));
        let (mut one, mut other) = (random.of_its_own("one"), random.of_its_own("other"));
        assert_ne!(one.next(), other.next());
    }
}
