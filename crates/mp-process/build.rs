fn main() {
    // The `links` key in Cargo.toml needs a build script; there is nothing to build.
    println!("cargo::rerun-if-changed=build.rs");
}
