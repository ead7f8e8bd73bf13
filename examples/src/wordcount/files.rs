//! The files under a folder.

use std::io;
use std::path::{Path, PathBuf};

/// Calls `file` for each file under a folder in the order of their names, and `failed` for what cannot be listed.
///
/// Links to folders are not followed, hidden folders (`.git`) and Cargo's `target` folders are passed over.
pub fn walk(
    folder: &Path,
    file: &mut impl FnMut(PathBuf),
    failed: &mut impl FnMut(&Path, &io::Error),
) {
    let mut entries =
        match std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(error) => return failed(folder, &error),
        };
    entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let name = entry.file_name();
                if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                    walk(&path, file, failed);
                }
            }
            Ok(kind) if kind.is_file() || (kind.is_symlink() && !path.is_dir()) => file(path),
            Ok(_) => {}
            Err(error) => failed(&path, &error),
        }
    }
}
