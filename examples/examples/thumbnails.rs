//! Thumbnails of a directory of images, some of which are bad: one is no image, one makes the decoder abort, one takes for ever.
//! Every good one is done, and each bad one is named.
//!
//! Run it with `cargo run --release --example thumbnails`; it makes its images itself, or takes the directory that is named.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use multiproc::pool::{Pool, TaskError};

/// Makes one thumbnail. This stands for a decoder in C, which may crash or hang on what it is given.
fn shrink(path: PathBuf) -> Result<(u32, u32), String> {
    let bytes = fs::read(&path).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"ABORT") {
        std::process::abort();
    }
    while bytes.starts_with(b"HANG") {
        std::hint::spin_loop();
    }
    let image = image::load_from_memory(&bytes).map_err(|error| error.to_string())?;
    let small = image.thumbnail(64, 64);
    small.save(path.with_extension("thumb.png")).map_err(|error| error.to_string())?;
    Ok((small.width(), small.height()))
}

fn make_images(directory: &Path) -> Result<(), Box<dyn Error>> {
    for number in 0..12_u32 {
        let image = image::RgbImage::from_fn(320, 200 + number, |x, y| {
            image::Rgb([x as u8, y as u8, (number * 20) as u8])
        });
        image.save(directory.join(format!("photo-{number:02}.png")))?;
    }
    fs::write(directory.join("corrupt.png"), b"\x89PNG\r\n\x1a\nand no more")?;
    fs::write(directory.join("bomb.png"), b"ABORT")?;
    fs::write(directory.join("maze.png"), b"HANG")?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let made = tempfile::tempdir()?;
    let directory = std::env::args().nth(1).map_or(made.path().to_owned(), PathBuf::from);
    if directory == made.path() {
        make_images(&directory)?;
    }
    let mut paths: Vec<_> = fs::read_dir(&directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();

    let pool = Pool::builder().build()?;
    let results = pool.timeout(Duration::from_secs(1)).imap(shrink, paths.clone());
    let (mut good, mut bad) = (0, Vec::new());
    for (path, result) in paths.iter().zip(results) {
        let why = match result {
            Ok(Ok(_)) => {
                good += 1;
                continue;
            }
            Ok(Err(error)) => error,
            Err(error @ (TaskError::Died { .. } | TaskError::TimeLimit)) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}: {why}");
        bad.push(name);
    }
    println!("{good} thumbnails, {} bad files", bad.len());
    if directory == made.path() {
        assert_eq!(
            (good, bad),
            (12, vec!["bomb.png".into(), "corrupt.png".into(), "maze.png".into()])
        );
    }
    Ok(())
}
