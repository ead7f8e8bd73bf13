//! The program's image in memory: where its code lies, and what tells it from another program.
#![expect(unsafe_code, reason = "dl_iterate_phdr hands out raw program headers")]

use std::ffi::c_void;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// What this crate says to itself in another process; changes with the messages of [`crate::wire`].
const PROTOCOL: u32 = 1;

/// The main program, not one of its shared libraries.
pub(crate) struct Image {
    /// What the loader added to the addresses in the file.
    bias: usize,
    /// The parts that can be executed, relative to `bias`.
    code: Vec<Range<usize>>,
    /// Equal in two processes if they run the same build.
    program: Vec<u8>,
}

impl Image {
    /// The image of this process.
    pub(crate) fn get() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(Self::read)
    }

    /// The place of a function relative to the image; `None` if it lies elsewhere, in a shared library.
    pub(crate) fn offset(&self, address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.bias);
        self.is_code(offset).then_some(offset)
    }

    /// The address of a place in the image.
    pub(crate) fn address(&self, offset: usize) -> usize {
        self.bias.wrapping_add(offset)
    }

    /// Says whether there is code at a place in the image.
    pub(crate) fn is_code(&self, offset: usize) -> bool {
        self.code.iter().any(|range| range.contains(&offset))
    }

    /// What two processes of the same build have in common, and others do not.
    pub(crate) fn program(&self) -> &[u8] {
        &self.program
    }

    fn read() -> Self {
        let mut image = Self { bias: 0, code: Vec::new(), program: PROTOCOL.to_ne_bytes().into() };
        let mut found = Found { bias: 0, code: Vec::new(), build: Vec::new(), span: 0 };
        // SAFETY: `first` takes the pointer for what it is, and the call ends before `found` does.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
        (image.bias, image.code) = (found.bias, found.code);
        if found.build.is_empty() {
            // Linked without a build id: the file, its size in memory, and where something lies in it.
            let file = std::fs::metadata("/proc/self/exe").ok();
            let file = file.map_or([0; 2], |file| [file.dev(), file.ino()]);
            let place = (Self::get as *const () as usize).wrapping_sub(image.bias) as u64;
            for word in [file[0], file[1], found.span as u64, place] {
                image.program.extend(word.to_ne_bytes());
            }
        } else {
            image.program.extend(found.build);
        }
        image
    }
}

struct Found {
    bias: usize,
    code: Vec<Range<usize>>,
    build: Vec<u8>,
    span: usize,
}

/// Reads the headers of the first object, which is the main program, and stops.
unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, out: *mut c_void) -> i32 {
    // SAFETY: `read` passes a `Found` that nothing else uses meanwhile.
    let found = unsafe { &mut *out.cast::<Found>() };
    // SAFETY: the loader passes a valid description.
    let info = unsafe { &*info };
    found.bias = info.dlpi_addr as usize;
    // SAFETY: the loader's program headers, as many as it says, which stay where they are.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers {
        let (start, len) = (header.p_vaddr as usize, header.p_memsz as usize);
        match header.p_type {
            libc::PT_LOAD => {
                found.span = found.span.max(start.saturating_add(len));
                if header.p_flags & libc::PF_X != 0 {
                    found.code.push(start..start.saturating_add(len));
                }
            }
            libc::PT_NOTE if found.build.is_empty() => {
                let address = found.bias.wrapping_add(start) as *const u8;
                // SAFETY: a segment of this program, which the loader has mapped for reading.
                let notes = unsafe { std::slice::from_raw_parts(address, len) };
                let align = if header.p_align == 8 { 8 } else { 4 };
                found.build = build_id(notes, align).unwrap_or_default().to_vec();
            }
            _ => {}
        }
    }
    1
}

/// Finds the note of the GNU build id.
fn build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let word = |at: usize| {
            let bytes = notes.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (name_len, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let data = 12 + name_len.next_multiple_of(align.min(4));
        let data = data.next_multiple_of(align);
        let end = data.checked_add(len)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name_len)? == b"GNU\0" {
            return notes.get(data..end);
        }
        notes = notes.get(end.next_multiple_of(align)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself_and_not_the_c_library() {
        let image = Image::get();
        let here = Image::get as *const () as usize;
        let offset = image.offset(here).unwrap();
        assert_eq!(image.address(offset), here);
        assert_eq!(image.offset(libc::getpid as *const () as usize), None);
        assert_eq!(image.offset(image as *const Image as usize), None);
        assert!(!image.is_code(usize::MAX));
        assert!(image.program().len() > 4);
    }

    #[test]
    fn reads_build_ids_past_other_notes() {
        let mut notes = Vec::new();
        for (kind, data) in [(1_u32, &b"abcdef"[..]), (3, b"\x01\x02\x03")] {
            notes.extend(4_u32.to_ne_bytes());
            notes.extend((data.len() as u32).to_ne_bytes());
            notes.extend(kind.to_ne_bytes());
            notes.extend(b"GNU\0");
            notes.extend(data);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(build_id(&notes, 4), Some(&b"\x01\x02\x03"[..]));
        assert_eq!(build_id(&notes[..20], 4), None);
        assert_eq!(build_id(&[255; 64], 4), None);
    }
}
