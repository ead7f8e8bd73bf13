//! Loads a shared library that starts processes, and has it do so: `loads PATH`.
#![expect(unsafe_code, reason = "loads a library by its path")]
#![allow(clippy::unwrap_used, reason = "a helper program fails loudly")]

use std::ffi::CString;

fn main() {
    let path = CString::new(std::env::args().nth(1).unwrap()).unwrap();
    // SAFETY: a library of this project, whose constructors do nothing here.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "{path:?} cannot be loaded");
    // SAFETY: the library is there, and stays.
    let function = unsafe { libc::dlsym(library, c"start_inside".as_ptr()) };
    assert!(!function.is_null(), "{path:?} has no such function");
    // SAFETY: the library has this function with this signature.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(function) };
    println!("{}", function());
    // This program has no process of its own library: the two do not know of each other.
    assert!(multiproc::active_children().is_empty());
}
