//! The device's kernels, compiled for the host: a check of everything about them but the device itself.
//!
//! `emulator/device.cuh` says what is emulated. Where there is no C++ compiler the tests pass with a printed line.

#![expect(
    unsafe_code,
    reason = "kernels are loaded from a library that the tests compile"
)]

mod attention;
mod linear;
mod rows;
mod sampling;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::launch::Launch;

/// There is one emulated device.
static DEVICE: Mutex<()> = Mutex::new(());

/// The kernels of one file.
struct Emulator {
    library: *mut c_void,
    _device: MutexGuard<'static, ()>,
}

type Kernel = extern "C" fn(*const c_void);

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

impl Emulator {
    /// Compiles `cuda/NAME.cu`. None, with a printed line, where there is no compiler.
    fn new(name: &str) -> Option<Self> {
        let device = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
        let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let library = format!("foretoken-{name}-{}.so", std::process::id());
        let library = std::env::temp_dir().join(library);
        let compiled = Command::new("c++")
            .args(["-x", "c++", "-std=c++17", "-O2", "-ffp-contract=off"])
            .args([
                "-Wno-unknown-pragmas",
                "-fno-gnu-unique",
                "-shared",
                "-fPIC",
                "-I",
            ])
            .arg(crate_folder.join("src/tests/emulator"))
            .arg("-I")
            .arg(crate_folder.join("cuda"))
            .arg("-o")
            .arg(&library)
            .arg(crate_folder.join("cuda").join(format!("{name}.cu")))
            .status();
        let Ok(status) = compiled else {
            println!("{name}: no C++ compiler, not emulated");
            return None;
        };
        assert!(status.success(), "{name}.cu does not compile");
        let path = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: a library that this test made; loading it runs nothing.
        let handle = unsafe { dlopen(path.as_ptr(), 2) };
        std::fs::remove_file(&library).unwrap();
        assert!(!handle.is_null());
        Some(Self {
            library: handle,
            _device: device,
        })
    }

    fn symbol(&self, name: &CStr) -> *mut c_void {
        // SAFETY: the library stays loaded.
        let symbol = unsafe { dlsym(self.library, name.as_ptr()) };
        assert!(!symbol.is_null(), "no {name:?}");
        symbol
    }

    /// Runs a kernel's blocks one after another, their threads in the order of their numbers or against it.
    fn run<A>(&self, launch: Launch, args: &A, backwards: bool) {
        let kernel = self.symbol(&CString::new(launch.kernel).unwrap());
        // SAFETY: the signatures of the emulator's header.
        let (emulate, kernel) = unsafe {
            type Emulate = extern "C" fn(Kernel, *const c_void, *const u32, bool) -> bool;
            (
                std::mem::transmute::<*mut c_void, Emulate>(self.symbol(c"emulate")),
                std::mem::transmute::<*mut c_void, Kernel>(kernel),
            )
        };
        let Launch {
            grid,
            threads,
            shared_bytes,
            ..
        } = launch;
        let numbers = [grid[0], grid[1], grid[2], threads, shared_bytes];
        let args: *const A = args;
        assert!(
            emulate(kernel, args.cast(), numbers.as_ptr(), backwards),
            "{launch:?}: threads wait for each other for ever"
        );
    }
}
