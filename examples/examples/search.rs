//! A search that stops as soon as something is found: the rest is cancelled, what is running too.
//!
//! Run it with `cargo run --release --example search`; in the directory that is named it leaves what the workers did when, as a
//! picture and as a trace for Perfetto.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

use multiproc::pool::Pool;

/// How many numbers one task looks at.
const STEP: u64 = 20_000;

/// Steps until a number of the Collatz problem comes to one.
fn steps(mut n: u64) -> u32 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

/// The first number in a range that takes at least so many steps.
fn look(start: u64) -> Option<u64> {
    (start.max(1)..start + STEP).find(|&n| steps(n) >= 500)
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().timeline(1000).build()?;
    // The input has no end; it is read only as far as the workers get.
    let mut found = pool.imap(look, (0..).step_by(STEP as usize));
    let first = found.find_map(|result| result.transpose()).transpose()?;
    found.cancel();
    println!("first number with 500 steps or more: {first:?}");
    assert_eq!(first, Some(626_331));
    print!("{}", pool.stats());
    if let Some(directory) = std::env::args().nth(1).map(PathBuf::from) {
        let timeline = pool.timeline();
        timeline.write_svg(File::create(directory.join("timeline.svg"))?)?;
        timeline.write_trace(File::create(directory.join("timeline.json"))?)?;
    }
    Ok(())
}
