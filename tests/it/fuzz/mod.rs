//! Whatever is read, there is an answer and no panic.
//!
//! Each case is made from a seed, which is told when it fails: `FUZZ_SEED=N` begins with that case.
//! `FUZZ_MINUTES=N` goes on with ever new cases for that long. The last case of each campaign is in
//! the temporary folder as `groundwork-fuzz-NAME`, for what a panic cannot tell, such as a stack
//! that was used up.

pub mod formats;
mod texts;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Random numbers from a seed (the generator of splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("small")).expect("small")
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// One of the corpus, changed in a few places; sometimes with a part of another one in it.
fn mutated(random: &mut Random, corpus: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let length = random.below(40).min(bytes.len() - at);
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(random.below(256)).expect("a byte")),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let part = bytes[at..at + length].repeat(1 + random.below(20));
                drop(bytes.splice(at..at, part));
            }
            5 => {
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(200)).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            // As deep as nobody writes it.
            6 => {
                let open = random.pick(&["[", "{", "(", "{\"a\":", "{a: ", "- ", "\"${", "{{ ("]);
                drop(bytes.splice(at..at, open.repeat(1 << random.below(12)).into_bytes()));
            }
            // A part of itself in another place.
            7 => {
                let part = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
            _ => drop(bytes.splice(at..at, random.pick(tokens).bytes())),
        }
    }
    bytes
}

/// Runs `check` over `cases` cases, or as long as `FUZZ_MINUTES` says.
fn campaign(name: &str, cases: u64, corpus: &[Vec<u8>], tokens: &[&str], check: impl Fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("FUZZ_SEED").unwrap_or(1);
    let time = number("FUZZ_MINUTES").map(Duration::from_mins);
    let (begun, last) = (Instant::now(), std::env::temp_dir().join(format!("groundwork-fuzz-{name}")));
    let mut seed = first;
    while time.map_or(seed < first + cases, |time| begun.elapsed() < time) {
        let case = mutated(&mut Random(seed), corpus, tokens);
        std::fs::write(&last, &case).expect("written");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&case))) {
            println!("FUZZ_SEED={seed} fails {name}:\n{}", case.escape_ascii());
            resume_unwind(panic);
        }
        seed += 1;
    }
    println!("{name}: {} cases", seed - first);
}

fn repository(files: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    files.iter().map(|file| std::fs::read(root.join(file)).expect("a file of the repository")).collect()
}
