//! Each place where bytes of others come in takes its seeds, and what a fixed sequence of numbers makes of them.
//!
//! `MP_FUZZ_RUNS` says how many inputs are made of the seeds of each target, 400 if it is not said. The same functions run under
//! libFuzzer; see CONTRIBUTING.md.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::Duration;

use mp_tests::fuzz::{TARGETS, Target, mutate};
use mp_tests::guard;
use mp_tests::random::Random;

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name)
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        fs::read_dir(folder(target)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn run(target: &Target, input: &[u8]) {
    if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let file =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.input", target.name));
        fs::write(&file, input).unwrap();
        println!("the input is in {}: {input:?}", file.display());
        panic::resume_unwind(cause);
    }
}

fn takes_anything(name: &str) {
    let runs = std::env::var("MP_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs: u64 = runs.unwrap_or(400);
    let _guard = guard::limit(Duration::from_secs(120 + runs / 10));
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    for seed in &seeds {
        run(target, seed);
    }
    let mut random = Random::new(1);
    for _ in 0..runs {
        let mut pick = || &seeds[random.below(seeds.len() as u64) as usize];
        let (seed, other) = (pick(), pick());
        run(target, &mutate(seed, other, &mut random));
    }
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                takes_anything(stringify!($name));
            }
        )*

        #[test]
        fn each_target_has_a_test_and_a_program() {
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
            for name in all {
                let program = format!("../fuzz/fuzz_targets/{name}.rs");
                assert!(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(program).exists(), "{name}");
            }
        }
    };
}

targets![packet, stream, handshake, pipe_ring, ring, shelf];

/// Writes what the seed functions give, beside what a fuzzer has found since.
#[test]
#[ignore = "writes into the source"]
fn write_seeds() {
    for target in TARGETS {
        fs::create_dir_all(folder(target)).unwrap();
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder(target).join(format!("seed-{number:02}")), seed).unwrap();
        }
    }
}
