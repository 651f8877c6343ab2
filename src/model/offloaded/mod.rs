//! What accelerators hold of a running model: a plan in, its new bytes in the places that llama.cpp computes from.
//!
//! llama.cpp makes room on the device for every tensor of every hop, and that room stays. But hops that share a tensor read it from one
//! place, so that it is merged and sent once, and what is on the device already is not sent again.

#[cfg(feature = "cuda")]
mod cuda;
mod places;
mod staging;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use self::places::{Place, choose};
use self::staging::Staging;
use super::weights::{Weight, Weights};
use crate::gguf::Parent;
use crate::image::Fill;
use crate::model::{ModelError, ParentsOn};
use crate::plan::{Content, Home, Plan, PlannedTensor};

/// The tensors of one model that are on devices.
pub(super) struct Offloaded {
    /// Where llama.cpp put each of them.
    places: Vec<Place>,
    /// The tensors, in the order of their own places.
    readers: Vec<Reader>,
}

/// The ways to merge for devices, with all that is kept for the next recipe, and the next model.
pub(super) struct Devices {
    staging: Staging,
    #[cfg(feature = "cuda")]
    cuda: cuda::Cuda,
}

/// A tensor of llama.cpp's.
struct Reader {
    name: String,
    weight: Weight,
    /// Whether the host computes with it too: an embedding matrix that is the output matrix as well.
    on_host: bool,
    /// Which place it reads.
    place: usize,
}

/// A tensor to merge, and llama.cpp's that it becomes.
struct Work<'a> {
    weight: Weight,
    tensor: &'a PlannedTensor,
}

/// A fill that devices are at.
pub(super) struct Started<'a> {
    /// Bytes that it reads and writes.
    pub fill: Fill,
    /// Whether a tensor reads from another place than before, which graphs that were built do not know.
    pub moved: bool,
    /// What is left to the host.
    rest: Vec<Work<'a>>,
}

impl Devices {
    /// Nothing is kept yet. Devices that merge themselves will read the parents where `parents` says.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only CUDA devices merge themselves"))]
    pub fn new(parents: ParentsOn) -> Self {
        Self {
            staging: Staging::default(),
            #[cfg(feature = "cuda")]
            cuda: cuda::Cuda::new(parents),
        }
    }

    /// What `make` gives; if it fails, what it gives without the parents on the devices, which are there for speed alone.
    pub fn make_room<T>(&mut self, make: impl Fn() -> Result<T, ModelError>) -> Result<T, ModelError> {
        make().or_else(|error| if self.release_parents() { make() } else { Err(error) })
    }

    /// Gives back what devices have of the parents; whether there was anything.
    fn release_parents(&mut self) -> bool {
        #[cfg(feature = "cuda")]
        return self.cuda.release_parents();
        #[cfg(not(feature = "cuda"))]
        false
    }
}

impl Offloaded {
    /// Those of `weights`, if there are any.
    pub fn of(weights: &Weights) -> Option<Self> {
        let (mut places, mut readers) = (Vec::new(), Vec::new());
        for (place, (name, weight)) in weights.on_devices().enumerate() {
            places.push(Place { room: weight.room(), address: weight.loaded(), content: None });
            let on_host = weights.is_mapped(name);
            readers.push(Reader { name: name.to_owned(), weight: weight.clone(), on_host, place });
        }
        (!readers.is_empty()).then_some(Self { places, readers })
    }

    /// `plan` with what only devices compute with at home there.
    pub fn claim(&self, plan: &Plan) -> Plan {
        let on_host: HashMap<&str, bool> = self.readers.iter().map(|r| (&*r.name, r.on_host)).collect();
        let mut plan = plan.clone();
        for tensor in &mut plan.tensors {
            if on_host.get(&*tensor.info.name) == Some(&false) {
                tensor.home = Home::Device;
            }
        }
        plan
    }

    /// Lets every tensor read from its place, and devices begin to merge what `plan` needs there and is not there yet. Parents must be
    /// unchanged and the same in every call, the plan be one that this model was loaded for, and nothing compute until it is finished.
    ///
    /// # Errors
    /// [`ModelError::Device`] with the device's own reason; nothing counts as being there then.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only CUDA devices merge themselves"))]
    pub fn start<'a>(
        &mut self,
        plan: &'a Plan,
        parents: &'a [Parent],
        devices: &mut Devices,
    ) -> Result<Started<'a>, ModelError> {
        let by_name: HashMap<&str, &PlannedTensor> = plan.tensors.iter().map(|t| (&*t.info.name, t)).collect();
        let wanted: Vec<&PlannedTensor> = self.readers.iter().map(|reader| by_name[&*reader.name]).collect();
        let chosen = choose(&self.places, &wanted, |i| !self.readers[i].weight.is_viewed());
        let mut started = Started { fill: Fill::default(), moved: false, rest: Vec::new() };
        for ((reader, tensor), place) in self.readers.iter_mut().zip(wanted).zip(chosen) {
            let to = &mut self.places[place];
            started.moved |= reader.place != place;
            reader.place = place;
            // SAFETY: the place is as long as the tensor, in the same buffer, and lives as long as the model.
            unsafe { reader.weight.point(to.address) };
            // What stands alone is merged anew, as on the host.
            if tensor.home == Home::Own || !to.content.as_ref().is_some_and(|content| content.is_of(tensor)) {
                to.content = Some(Content::of(tensor));
                started.fill.bytes_read += tensor.source_bytes(parents);
                started.fill.bytes_written += tensor.info.bytes;
                started.rest.push(Work { weight: reader.weight.clone(), tensor });
            }
        }
        #[cfg(feature = "cuda")]
        {
            started.rest = devices.cuda.send(started.rest, parents).inspect_err(|_| forget(&mut self.places))?;
        }
        Ok(started)
    }

    /// Merges the rest on the host and waits for the devices.
    ///
    /// # Errors
    /// As [`Offloaded::start`].
    pub fn finish(&mut self, started: Started, parents: &[Parent], devices: &mut Devices) -> Result<(), ModelError> {
        devices.staging.send(&started.rest, parents);
        #[cfg(feature = "cuda")]
        devices.cuda.wait().inspect_err(|_| forget(&mut self.places))?;
        Ok(())
    }
}

/// Whatever is there, it counts as nothing.
#[cfg(feature = "cuda")]
fn forget(places: &mut [Place]) {
    places.iter_mut().for_each(|place| place.content = None);
}
