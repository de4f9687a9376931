//! The kernels of one `.cu` file, loaded when the first of them is launched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaModule};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, Result, bail};

use crate::launch::Launch;

/// What `kernels/build.rs` made of `kernels/cuda/NAME.cu`.
macro_rules! module {
    ($name:literal) => {
        $crate::cuda::Module::new(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/",
            $name,
            ".fatbin"
        )))
    };
}
pub(crate) use module;

/// A file's kernels: code for several kinds of card, of which the driver takes this one's.
pub(crate) struct Module {
    code: &'static [u8],
    loaded: Mutex<Option<Loaded>>,
}

struct Loaded {
    /// The one device that a process computes on.
    ordinal: usize,
    module: Arc<CudaModule>,
    functions: HashMap<&'static str, CudaFunction>,
}

/// Shared memory that every kernel may have without asking.
const SHARED_BYTES: u32 = 48 << 10;

impl Module {
    pub(crate) const fn new(code: &'static [u8]) -> Self {
        Self {
            code,
            loaded: Mutex::new(None),
        }
    }

    /// A kernel of this file, ready to be launched so.
    pub(super) fn function(&self, device: &CudaDevice, launch: Launch) -> Result<CudaFunction> {
        let stream = device.cuda_stream();
        let context = stream.context();
        // What was put in is whole at any time, so a panic elsewhere spoils nothing.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match &mut *loaded {
            Some(loaded) => loaded,
            none => none.insert(Loaded {
                ordinal: context.ordinal(),
                module: context
                    .load_module(Ptx::from_binary(self.code.to_vec()))
                    .w()?,
                functions: HashMap::new(),
            }),
        };
        if loaded.ordinal != context.ordinal() {
            bail!(
                "kernels are loaded on CUDA device {}, and these tensors lie on {}",
                loaded.ordinal,
                context.ordinal()
            );
        }
        if let Some(function) = loaded.functions.get(launch.kernel) {
            return Ok(function.clone());
        }
        let function = loaded.module.load_function(launch.kernel).w()?;
        if launch.shared_bytes > SHARED_BYTES {
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function
                .set_attribute(most, launch.shared_bytes as i32)
                .w()?;
        }
        loaded.functions.insert(launch.kernel, function.clone());
        Ok(function)
    }
}
