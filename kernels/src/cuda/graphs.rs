//! Records what a step launches, and replays it.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::{CudaDevice, Device, Error, Result, TensorId, bail};

use super::{scratch, shared};
use crate::graphs::{Common, Key, bucket};
use crate::kv::check_slots;
use crate::on_device::Kept;
use crate::paged_attention::args::Kernel;
use crate::paged_attention::plan::Dealt;
use crate::paged_attention::{Planned, Shape};
use crate::paging::Paging;
use crate::rotary::check_positions;

/// A model's recorded steps, and where they find what differs from step to step.
pub(crate) struct Graphs {
    device: CudaDevice,
    /// `Paging::columns` of this step.
    columns: Kept,
    /// `Plan::words` of this step.
    words: Kept,
    /// Of which tensors the recorded steps know the addresses.
    tensors: Option<[TensorId; 3]>,
    /// And which of columns, words, and scratch memory.
    addresses: [u64; 3],
    /// How the model attends, which its first step tells.
    attention: Option<(Kernel, Shape)>,
    recorded: HashMap<Key, Recorded>,
    has_failed: bool,
}

struct Recorded(CudaGraph);

// SAFETY: the driver wants calls on a graph one after another, from whatever thread; they are made through `&mut Graphs`.
unsafe impl Send for Recorded {}

impl fmt::Debug for Graphs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.recorded.keys()).finish()
    }
}

impl Graphs {
    pub(crate) fn new(device: &CudaDevice) -> Self {
        Self {
            device: device.clone(),
            columns: Kept::default(),
            words: Kept::default(),
            tensors: None,
            addresses: [0; 3],
            attention: None,
            recorded: HashMap::new(),
            has_failed: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.recorded.len()
    }

    /// See `crate::Graphs::run`.
    pub(crate) fn run(
        &mut self,
        paging: &Paging,
        common: Common<'_>,
        step: impl Fn(&Paging) -> Result<()>,
    ) -> Result<()> {
        self.begin(common);
        let Some(num_rows) = bucket(paging.num_rows()).filter(|_| !self.has_failed) else {
            return step(paging);
        };
        let Some((kernel, shape)) = self.attention else {
            step(paging)?;
            self.attention = paging.attention.known();
            return Ok(());
        };
        check(paging, common)?;
        let padded = paging.padded(num_rows);
        let mut dealt = Dealt::new(&padded, kernel, shape);
        dealt.plan.round_up();
        self.run_padded(padded, dealt, step)
    }

    /// Forgets what was recorded of other tensors.
    fn begin(&mut self, common: Common<'_>) {
        let Common {
            cache,
            angles,
            rows,
        } = common;
        let tensors = Some([cache, angles, rows].map(|tensor| tensor.id()));
        if self.tensors != tensors {
            self.tensors = tensors;
            self.attention = None;
            self.recorded.clear();
        }
    }

    fn run_padded(
        &mut self,
        mut paging: Paging,
        mut dealt: Dealt,
        step: impl Fn(&Paging) -> Result<()>,
    ) -> Result<()> {
        let key = Key::new(&paging, &dealt.plan);
        let num_partials = dealt.kernel.partials_len(&dealt.plan, dealt.shape);
        let device = Device::Cuda(self.device.clone());
        paging.on_device = self.columns.write(&device, &paging.columns())?;
        dealt.words = self
            .words
            .write(&device, &dealt.plan.words(&paging.block_tables))?;
        let there = |copy| shared(&self.device, copy, Vec::new);
        let (columns, words) = (there(&paging.on_device)?, there(&dealt.words)?);
        // Held until the launches are made.
        let partials = scratch(&self.device, num_partials)?;
        self.expect([columns, words, partials.address]);
        if let Some(Recorded(graph)) = self.recorded.get(&key) {
            match graph.launch() {
                Ok(()) => return Ok(()),
                Err(error) => self.give_up(&Error::wrap(error)),
            }
        }
        drop(partials);
        paging.attention = Planned::from(dealt);
        step(&paging)?;
        if self.has_failed {
            return Ok(());
        }
        // Everything is loaded now, and all memory large enough.
        let partials = scratch(&self.device, 0)?.address;
        self.expect([columns, words, partials]);
        match record(&self.device, || step(&paging)) {
            Ok(graph) => {
                self.recorded.insert(key, Recorded(graph));
            }
            Err(error) => self.give_up(&error),
        }
        Ok(())
    }

    /// Forgets what was recorded of other memory: it has moved because it had to grow.
    fn expect(&mut self, addresses: [u64; 3]) {
        if self.addresses != addresses {
            self.addresses = addresses;
            self.recorded.clear();
        }
    }

    fn give_up(&mut self, error: &Error) {
        tracing::warn!(%error, "a step cannot be replayed; from now on kernels are launched one by one");
        self.has_failed = true;
        self.recorded.clear();
    }
}

/// What ops check of a batch when they launch.
fn check(paging: &Paging, common: Common<'_>) -> Result<()> {
    let (num_slots, num_positions) = (common.cache.dim(0)?, common.angles.dim(0)?);
    check_positions(&paging.positions, num_positions)?;
    check_slots(&paging.slots, num_slots)?;
    paging.check(num_slots)
}

thread_local! {
    static IS_CAPTURING: Cell<bool> = const { Cell::new(false) };
}

/// Fails while a step is being recorded: a copy would be replayed from memory of the host that is gone, and what is
/// allocated would be the graph's.
pub(super) fn outside_of_captures(what: &str) -> Result<()> {
    match IS_CAPTURING.get() {
        true => bail!("{what} while a step was recorded"),
        false => Ok(()),
    }
}

/// Has the stream take down what is launched, in place of running it.
fn record(device: &CudaDevice, step: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
    let stream = device.cuda_stream();
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).w()?;
    IS_CAPTURING.set(true);
    let launched = step();
    IS_CAPTURING.set(false);
    // However the step went, the stream has to run again.
    let graph = stream.end_capture(CUgraphInstantiate_flags(0)).w();
    launched?;
    match graph? {
        Some(graph) => Ok(graph),
        None => bail!("nothing was recorded of a step"),
    }
}
