//! The examples of the pool, as a user runs them.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use image::RgbImage;

/// Runs an example, which Cargo builds beside this test, and gives what it says.
fn run(name: &str, arguments: &[&Path]) -> String {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test.ancestors().nth(2).unwrap().join("examples").join(name));
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    said
}

#[test]
fn every_good_image_has_a_thumbnail_and_every_bad_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let good = ["a", "c", "e", "g", "i", "k"];
    for (name, height) in good.iter().zip(50..) {
        RgbImage::new(100, height).save(path.join(name).with_extension("png")).unwrap();
    }
    for (name, bytes) in [("b", "ABORT"), ("d", "HANG"), ("f", "no image"), ("h", "ABORT")] {
        fs::write(path.join(name).with_extension("png"), bytes).unwrap();
    }
    let said = run("thumbnails", &[path]);
    for name in good {
        let small = image::open(path.join(name).with_extension("thumb.png")).unwrap();
        assert_eq!(small.width(), 64);
    }
    let reports: Vec<_> = said.lines().collect();
    let [b, d, f, h, sum] = reports[..] else { panic!("{said}") };
    assert!(b.starts_with("b.png: ") && b.contains("killed by signal 6"), "{b}");
    assert!(d.starts_with("d.png: ") && d.contains("longer than its limit"), "{d}");
    assert!(f.starts_with("f.png: ") && f.contains("format"), "{f}");
    assert!(h.starts_with("h.png: ") && h.contains("killed by signal 6"), "{h}");
    assert_eq!(sum, "6 thumbnails, 4 bad files");
    // On its own images, it says itself whether all is well.
    assert!(run("thumbnails", &[]).ends_with("12 thumbnails, 3 bad files\n"));
}

#[test]
fn the_picture_of_many_workers_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.pgm");
    let said = run("mandelbrot", &[&path, Path::new("320"), Path::new("240")]);
    assert!(said.contains("0 restarts"), "{said}");
    let picture = fs::read(path).unwrap();
    let pixels = picture.strip_prefix(b"P5 320 240 255\n").unwrap();
    assert_eq!(pixels.len(), 320 * 240);
    // Every row was drawn: it begins outside of the set, where some steps are enough, and mirrors another.
    let row = |y: usize| &pixels[320 * y..320 * (y + 1)];
    for y in 1..240 {
        assert!(row(y)[0] < 10 && row(y).iter().any(|&shade| shade > 0), "row {y}");
        let differ = row(y).iter().zip(row(240 - y)).filter(|(here, there)| here != there).count();
        assert!(differ < 10, "row {y} differs from its mirror in {differ} places");
    }
    assert_eq!((row(120)[220], row(0)[0]), (255, 0));
}

#[test]
fn the_search_ends_though_its_input_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let said = run("search", &[folder.path()]);
    assert!(said.starts_with("first number with 500 steps or more: Some(626331)\n"), "{said}");
    let file = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(file("timeline.svg").ends_with("</svg>\n"));
    assert!(file("timeline.json").starts_with("{\"traceEvents\":["));
}
