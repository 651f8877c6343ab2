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
use ggraft_kernels::Source;
use ggraft_kernels::cuda::{Data, Job, KERNELS, Launch, Place, SHARED_BYTES};

use self::parents::{Parents, host, is_full};
use super::Work;
use crate::gguf::Parent;
use crate::model::{ModelError, ParentsOn};

/// The kernels, compiled for every kind of device by the build.
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/merge.fatbin"));

/// The devices that have been asked so far, by ggml's number; none for one that cannot.
pub(super) struct Cuda {
    devices: HashMap<usize, Option<Device>>,
    parents: ParentsOn,
}

/// What a kernel takes.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Argument(Job);

// SAFETY: plain data, laid out as the kernels declare it.
unsafe impl DeviceRepr for Argument {}

impl Cuda {
    /// No device yet.
    pub fn new(parents: ParentsOn) -> Self {
        Self { devices: HashMap::new(), parents }
    }

    /// Starts merging what kernels can; returns the rest. [`Cuda::wait`] ends it.
    ///
    /// # Errors
    /// [`ModelError::Device`] with CUDA's reason; tensors may hold anything then.
    pub fn send<'a>(&mut self, work: Vec<Work<'a>>, parents: &'a [Parent]) -> Result<Vec<Work<'a>>, ModelError> {
        let mut rest = Vec::new();
        let mut by_device: HashMap<usize, Vec<Work>> = HashMap::new();
        for work in work {
            match ordinal(work.weight.buffer_name()) {
                Some(ordinal) => by_device.entry(ordinal).or_default().push(work),
                None => rest.push(work),
            }
        }
        for (ordinal, work) in by_device {
            let open = || {
                let warn = |error: &DriverError| {
                    eprintln!("warning: CUDA device {ordinal} cannot merge, so that the CPU merges for it: {error}");
                };
                Device::open(ordinal, self.parents).inspect_err(warn).ok()
            };
            match self.devices.entry(ordinal).or_insert_with(open) {
                Some(device) => rest.extend(device.send(work, parents).map_err(failed)?),
                None => rest.extend(work),
            }
        }
        Ok(rest)
    }

    /// Gives back what devices have of the parents; whether there was anything.
    pub fn release_parents(&mut self) -> bool {
        let of_each = self.devices.values_mut().flatten().map(|device| device.parents.release_all());
        // All of them, not the first that had any.
        of_each.filter(|released| *released).count() > 0
    }

    /// Waits until everything is merged.
    ///
    /// # Errors
    /// As [`Cuda::send`].
    pub fn wait(&self) -> Result<(), ModelError> {
        self.devices.values().flatten().try_for_each(|device| device.stream.synchronize()).map_err(failed)
    }
}

/// What CUDA says, as an error of this stage.
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
    fn open(ordinal: usize, on: ParentsOn) -> Result<Self, DriverError> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: all memory of ours is used on two streams, which the events that are recorded here keep in order.
        unsafe { context.disable_event_tracking() };
        let module = context.load_module(Ptx::from_binary(IMAGE.to_vec()))?;
        let kernel = |name: &&'static CStr| {
            let kernel = module.load_function(&name.to_string_lossy())?;
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            kernel.set_attribute(most, SHARED_BYTES as i32)?;
            Ok((*name, kernel))
        };
        let kernels = KERNELS.iter().map(kernel).collect::<Result<_, DriverError>>()?;
        Ok(Self { stream: context.new_stream()?, kernels, parents: Parents::new(&context, on)? })
    }

    /// Starts the kernels of what has one; returns the rest.
    fn send<'a>(&mut self, work: Vec<Work<'a>>, parents: &'a [Parent]) -> Result<Vec<Work<'a>>, DriverError> {
        let (mut mine, mut rest) = (Vec::new(), Vec::new());
        for work in work {
            let sources = work.tensor.source_data(parents);
            // What it reads, by where that is on the host: parents that are adapters on one base have the same blocks.
            let mut data = HashMap::new();
            let collect = &mut |wanted: Data<'a>| {
                data.insert(host(wanted), wanted);
                0
            };
            match launches(&work, &sources, collect) {
                Some(_) => mine.push((work, sources, data)),
                None => rest.push(work),
            }
        }
        self.parents.settle(mine.iter().flat_map(|(_, _, data)| data.values()))?;
        for (work, sources, data) in mine {
            let addresses = match self.parents.bring(&data, &self.stream) {
                Err(error) if is_full(error) => {
                    rest.push(work);
                    continue;
                }
                addresses => addresses?,
            };
            let launches = launches(&work, &sources, &mut |wanted| addresses[&host(wanted)]);
            for launch in launches.expect("aligned as the kernels want it") {
                let config = LaunchConfig {
                    grid_dim: (launch.grid, 1, 1),
                    block_dim: (launch.threads, 1, 1),
                    shared_mem_bytes: launch.shared_bytes,
                };
                let argument = Argument(launch.job);
                // SAFETY: the kernel takes this one argument. Its addresses are those of data that stay until the stream has come so far,
                // and of llama.cpp's tensor, which nothing computes with meanwhile; all are as long as the job says.
                unsafe { self.stream.launch_builder(&self.kernels[launch.kernel]).arg(&argument).launch(config)? };
            }
            self.parents.release(&self.stream)?;
        }
        Ok(rest)
    }
}

/// The kernels for it, if there are some, with what they read where `at` says.
fn launches<'a>(work: &Work<'a>, sources: &[Source<'a>], at: &mut dyn FnMut(Data<'a>) -> u64) -> Option<Vec<Launch>> {
    let tensor = work.tensor;
    let destination = Place { ty: tensor.info.ty, address: work.weight.address() as u64 };
    Launch::of(&tensor.program, sources, destination, tensor.elements(), at)
}
