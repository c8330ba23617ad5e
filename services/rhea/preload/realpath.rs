//! A `realpath` that takes one system call, for programs whose system calls are watched.
//!
//! The C library looks at every directory on the way to a file by itself, and for each such look
//! the watching process is asked; a C compiler makes half of its calls that way. This asks it
//! once for all of it. It is loaded into what is traced, before other libraries, and does
//! what the C library does: the watching process notes the same looks.
//!
//! A look at what a descriptor leads to needs no question, and is made here in a way that shows that
//! no path is named: by the call that takes none, or by a null path.
//!
//! Built by `build.rs`; it is no part of a crate.
#![no_std]

use core::ffi::{c_char, c_int, c_long, c_void};

/// The longest path, its NUL included.
const LONGEST: usize = 4096;

/// What asks: a length that the kernel refuses at once where nobody watches. It is the watching
/// process's as well.
const QUESTION: c_long = -0x7678;

const HERE: c_long = -100;
const INVALID: c_int = 22;
const PATH_ONLY: c_int = 0o10_000_000 | 0o2_000_000;

const FAULT: c_int = 14;
const EMPTY_PATH: c_int = 0x1000;

#[cfg(target_arch = "x86_64")]
const READLINKAT: c_long = 267;
#[cfg(not(target_arch = "x86_64"))]
const READLINKAT: c_long = 78;
#[cfg(target_arch = "x86_64")]
const FSTAT: c_long = 5;
#[cfg(not(target_arch = "x86_64"))]
const FSTAT: c_long = 80;
#[cfg(target_arch = "x86_64")]
const STATX: c_long = 332;
#[cfg(not(target_arch = "x86_64"))]
const STATX: c_long = 291;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn malloc(size: usize) -> *mut c_void;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn abort() -> !;
    fn __errno_location() -> *mut c_int;
}

// The core library's parts refer to what unwinds, which nothing here does. It must not be seen from
// outside: a Rust program that this is loaded into has one of its own.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:"
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: it takes nothing.
    unsafe { abort() }
}

/// # Safety
/// As the C library's: a NUL-terminated path, and null or room for 4096 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    if path.is_null() {
        return fail(INVALID);
    }
    let mut text = [0_u8; LONGEST];
    // SAFETY: the path is the caller's, and the text has room for what is answered.
    let length = unsafe { syscall(READLINKAT, HERE, path, text.as_mut_ptr(), QUESTION) };
    let length = match usize::try_from(length) {
        Ok(length) => length,
        // SAFETY: the C library's own variable.
        Err(_) if unsafe { *__errno_location() } == INVALID => {
            match through_descriptor(path, &mut text) {
                Some(length) => length,
                None => return core::ptr::null_mut(),
            }
        }
        Err(_) => return core::ptr::null_mut(),
    };
    hand_over(&text[..length.min(LONGEST - 1)], resolved)
}

/// # Safety
/// As [`realpath`], with the size of the room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __realpath_chk(
    path: *const c_char,
    resolved: *mut c_char,
    size: usize,
) -> *mut c_char {
    if size < LONGEST {
        // SAFETY: it takes nothing. The C library ends such programs too.
        unsafe { abort() }
    }
    // SAFETY: the caller's promises are the same.
    unsafe { realpath(path, resolved) }
}

/// # Safety
/// As [`realpath`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn canonicalize_file_name(path: *const c_char) -> *mut c_char {
    // SAFETY: the caller's promises are the same.
    unsafe { realpath(path, core::ptr::null_mut()) }
}

/// # Safety
/// As the C library's: room for a `struct stat`, which is the kernel's own on 64-bit processors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstat(descriptor: c_int, found: *mut c_void) -> c_int {
    // SAFETY: the room is the caller's.
    unsafe { syscall(FSTAT, c_long::from(descriptor), found) as c_int }
}

/// # Safety
/// As [`fstat`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstat64(descriptor: c_int, found: *mut c_void) -> c_int {
    // SAFETY: the caller's promises are the same.
    unsafe { fstat(descriptor, found) }
}

/// # Safety
/// As the C library's: a NUL-terminated path or null, and room for a `struct statx`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(
    descriptor: c_int,
    path: *const c_char,
    flags: c_int,
    mask: u32,
    found: *mut c_void,
) -> c_int {
    let call = |path: *const c_char| {
        // SAFETY: path and room are the caller's.
        unsafe {
            syscall(
                STATX,
                c_long::from(descriptor),
                path,
                c_long::from(flags),
                mask as c_long,
                found,
            ) as c_int
        }
    };
    // SAFETY: the path is the caller's.
    let of_descriptor = flags & EMPTY_PATH != 0 && !path.is_null() && unsafe { *path } == 0;
    if of_descriptor {
        let result = call(core::ptr::null());
        // Kernels before 6.11 take no null path.
        // SAFETY: the C library's own variable.
        if result == 0 || unsafe { *__errno_location() } != FAULT {
            return result;
        }
    }
    call(path)
}

/// Where what is there lies, as the kernel says; the length of its path.
fn through_descriptor(path: *const c_char, text: &mut [u8; LONGEST]) -> Option<usize> {
    // SAFETY: the path is the caller's.
    let descriptor = unsafe { open(path, PATH_ONLY) };
    if descriptor < 0 {
        return None;
    }
    let link = link_of(descriptor);
    // SAFETY: both texts are this function's, and the length is that of the second.
    let length = unsafe {
        let length = syscall(READLINKAT, HERE, link.as_ptr(), text.as_mut_ptr(), LONGEST - 1);
        close(descriptor);
        length
    };
    usize::try_from(length).ok()
}

/// `/proc/self/fd/` with a number, NUL-terminated.
fn link_of(descriptor: c_int) -> [u8; 32] {
    let mut link = [0_u8; 32];
    let start = b"/proc/self/fd/";
    link[..start.len()].copy_from_slice(start);
    let mut digits = [0_u8; 10];
    let mut count = 0;
    let mut rest = descriptor.unsigned_abs();
    loop {
        digits[count] = b'0' + (rest % 10) as u8;
        count += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for index in 0..count {
        link[start.len() + index] = digits[count - 1 - index];
    }
    link
}

fn hand_over(text: &[u8], resolved: *mut c_char) -> *mut c_char {
    let room = if resolved.is_null() {
        // SAFETY: it takes a size; null is looked at below.
        unsafe { malloc(text.len() + 1) }.cast::<u8>()
    } else {
        resolved.cast::<u8>()
    };
    if room.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: there is room for the text and its NUL, and it is nobody else's.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), room, text.len());
        *room.add(text.len()) = 0;
    }
    room.cast()
}

fn fail(error: c_int) -> *mut c_char {
    // SAFETY: the C library's own variable.
    unsafe { *__errno_location() = error };
    core::ptr::null_mut()
}
