//! The Mandelbrot set, drawn by many workers into one array in shared memory.
//!
//! Run it with `cargo run --release --example mandelbrot`; it prints a small picture, and writes a large one to the file that is
//! named, as PGM, of the width and height that follow.

use std::error::Error;
use std::io::Write;

use multiproc::Array;
use multiproc::pool::Pool;

const SHADES: [char; 8] = [' ', '.', ':', '-', '=', '+', '*', '#'];

type Picture = (Array<u8>, usize, usize);

/// Draws one row. Nothing travels but its number: the picture is the same memory in every worker.
fn draw(picture: &Picture, row: usize) -> Result<(), String> {
    let (pixels, width, height) = picture;
    let y = 2.4 * row as f64 / *height as f64 - 1.2;
    let line: Vec<u8> =
        (0..*width).map(|x| shade(3.2 * x as f64 / *width as f64 - 2.2, y)).collect();
    pixels.write_at(row * width, &line).map_err(|error| error.to_string())
}

fn shade(x: f64, y: f64) -> u8 {
    let (mut a, mut b) = (0.0, 0.0);
    for step in 0..255 {
        (a, b) = (a * a - b * b + x, 2.0 * a * b + y);
        if a * a + b * b > 4.0 {
            return step;
        }
    }
    255
}

fn paint(pool: &Pool, width: usize, height: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let picture: Picture = (Array::new(width * height)?, width, height);
    // Rows in the middle take longer than those at the edge: chunks by the time that they take.
    for row in pool.guided().map_with(&picture, draw, 0..height)? {
        row?;
    }
    Ok(picture.0.to_vec()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().build()?;
    let small = paint(&pool, 72, 28)?;
    for row in small.chunks(72) {
        let line: String =
            row.iter().map(|&shade| SHADES[shade.checked_ilog2().unwrap_or(0) as usize]).collect();
        println!("{line}");
    }
    let mut arguments = std::env::args().skip(1);
    if let Some(path) = arguments.next() {
        let mut size = |default| arguments.next().map_or(Ok(default), |number| number.parse());
        let (width, height) = (size(1600)?, size(1200)?);
        let mut file = std::fs::File::create(&path)?;
        writeln!(file, "P5 {width} {height} 255")?;
        file.write_all(&paint(&pool, width, height)?)?;
    }
    print!("{}", pool.stats());
    Ok(())
}
