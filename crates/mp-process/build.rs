//! Does nothing: the `links` key in Cargo.toml wants a build script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
