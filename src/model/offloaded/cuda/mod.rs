//! CUDA devices make their share themselves: programs in, merged tensors written by fused kernels to where llama.cpp has them.
//!
//! Everything goes through the driver's interface, which is looked for at run time, in the context that ggml has opened too: addresses
//! of one are addresses of the other.

mod parents;

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;

use cudarc::driver::sys::CUfunction_attribute;
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use ggraft_kernels::cuda::{Job, KERNELS, Launch};

use self::parents::Parents;
use super::Work;
use crate::gguf::Parent;
use crate::model::ModelError;

/// The kernels, compiled for every kind of device by the build.
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/merge.fatbin"));

/// The devices that have been asked so far, by ggml's number; none for one that cannot.
#[derive(Default)]
pub(super) struct Cuda {
    devices: HashMap<usize, Option<Device>>,
}

/// What a kernel takes.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Argument(Job);

// SAFETY: plain data, laid out as the kernels declare it.
unsafe impl DeviceRepr for Argument {}

impl Cuda {
    /// Starts merging what kernels can; returns the rest. [`Cuda::wait`] ends it.
    ///
    /// # Errors
    /// [`ModelError::Device`] with CUDA's reason; tensors may hold anything then.
    pub fn send<'a>(&mut self, work: Vec<Work<'a>>, parents: &'a [Parent]) -> Result<Vec<Work<'a>>, ModelError> {
        let mut rest = Vec::new();
        let mut by_device: HashMap<usize, Vec<Work>> = HashMap::new();
        for work in work {
            match ordinal(&work.weight.buffer_name()) {
                Some(ordinal) => by_device.entry(ordinal).or_default().push(work),
                None => rest.push(work),
            }
        }
        for (ordinal, work) in by_device {
            match self.devices.entry(ordinal).or_insert_with(|| Device::open(ordinal).ok()) {
                Some(device) => rest.extend(device.send(work, parents).map_err(failed)?),
                None => rest.extend(work),
            }
        }
        Ok(rest)
    }

    /// Waits until everything is merged.
    ///
    /// # Errors
    /// As [`Cuda::send`].
    pub fn wait(&self) -> Result<(), ModelError> {
        self.devices.values().flatten().try_for_each(|device| device.stream.synchronize()).map_err(failed)
    }
}

fn failed(error: DriverError) -> ModelError {
    ModelError::Device { reason: error.to_string() }
}

/// ggml's number of the device behind a buffer, if that is of a single CUDA device.
fn ordinal(buffer: &CStr) -> Option<usize> {
    buffer.to_str().ok()?.strip_prefix("CUDA")?.parse().ok()
}

struct Device {
    stream: Arc<CudaStream>,
    kernels: HashMap<&'static CStr, CudaFunction>,
    parents: Parents,
}

impl Device {
    fn open(ordinal: usize) -> Result<Self, DriverError> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: all memory of ours is used on the streams of one device, ordered by the events that are recorded here.
        unsafe { context.disable_event_tracking() };
        let module = context.load_module(Ptx::from_binary(IMAGE.to_vec()))?;
        let kernel = |name: &&'static CStr| {
            let function = module.load_function(name.to_str().expect("names are ASCII"))?;
            function.set_attribute(
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                ggraft_kernels::cuda::MAX_SHARED_BYTES as i32,
            )?;
            Ok((*name, function))
        };
        let kernels = KERNELS.iter().map(kernel).collect::<Result<_, DriverError>>()?;
        let stream = context.new_stream()?;
        Ok(Self { parents: Parents::new(&context)?, stream, kernels })
    }

    /// Starts the kernels of what has one; returns the rest.
    fn send<'a>(&mut self, work: Vec<Work<'a>>, parents: &'a [Parent]) -> Result<Vec<Work<'a>>, DriverError> {
        let (mine, rest): (Vec<_>, Vec<_>) = work.into_iter().partition(|work| launch(work, parents, None).is_some());
        self.parents.make_room(mine.iter().flat_map(|work| bytes(work, parents)))?;
        for work in &mine {
            let addresses = self.parents.bring(&bytes(work, parents), &self.stream)?;
            let Launch { kernel, job, grid, threads, shared_bytes } =
                launch(work, parents, Some(&addresses)).expect("partitioned by this");
            let config =
                LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared_bytes };
            let argument = Argument(job);
            // SAFETY: the job's addresses are those of the parents' bytes, which stay until the stream is done, and of llama.cpp's tensor,
            // which nothing computes with meanwhile; all are as long as the job says.
            unsafe { self.stream.launch_builder(&self.kernels[kernel]).arg(&argument).launch(config)? };
            self.parents.used(&self.stream)?;
        }
        Ok(rest)
    }
}
