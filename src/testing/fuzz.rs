//! Bytes from outside as nobody would send them. Each case has a seed of its own, which a failure names.
//!
//! `STRONGROOM_FUZZ_CASES=1000000` tries more of them, `STRONGROOM_FUZZ_SEED` others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::random::{Random, mixed};

/// Runs `check` so many times, or as often as the environment says.
#[expect(clippy::disallowed_methods, reason = "tests are not configured by files")]
pub(crate) fn cases(name: &str, count: u64, check: impl Fn(&mut Random)) {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().expect("a number"));
    let count = number("STRONGROOM_FUZZ_CASES").unwrap_or(count);
    let first = number("STRONGROOM_FUZZ_SEED").unwrap_or(1);
    for seed in first..first + count {
        let mut random = Random::of(mixed(seed)).of_its_own(name);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&mut random)));
        if let Err(panic) = checked {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            panic!("{name}, alone with STRONGROOM_FUZZ_SEED={seed} STRONGROOM_FUZZ_CASES=1: {said}");
        }
    }
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

/// Fewer than `bound` bytes.
pub(crate) fn bytes(random: &mut Random, bound: usize) -> Vec<u8> {
    (0..below(random, bound)).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// Numbers at the bounds of what lengths can be.
const LENGTHS: [u32; 10] =
    [0, 1, 4, 0x7F, 0xFF, 0xFFFF, 1 << 28, i32::MAX.unsigned_abs(), i32::MIN.unsigned_abs(), u32::MAX];

/// Does to bytes what faults and attackers do: flips, cuts, repeats, and lengths that are none.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = below(random, bytes.len() + 1);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next().to_le_bytes()[0];
                }
            }
            3 => {
                let more = self::bytes(random, 20);
                bytes.splice(at..at, more);
            }
            4 => {
                let until = (at + below(random, 30)).min(bytes.len());
                bytes.drain(at..until);
            }
            5 => {
                let until = (at + below(random, 60)).min(bytes.len());
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let length = random.pick(&LENGTHS);
                let length = if random.chance(500) { length.to_le_bytes() } else { length.to_be_bytes() };
                let until = (at + length.len()).min(bytes.len());
                bytes.splice(at..until, length);
            }
        }
    }
}
