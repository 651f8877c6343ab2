//! Tensors that several hops share, each computed once and kept for the next path: plans in, addresses out.

use std::collections::BTreeMap;
use std::io;

use memmap2::MmapMut;

use super::fill::Job;
use crate::plan::{Content, Home, Plan, PlannedTensor};

/// Anonymous memory, of which only those pages exist that a path has needed so far.
#[derive(Default)]
pub struct Pool {
    map: Option<MmapMut>,
    /// What has been computed and its size in bytes, by offset.
    contents: BTreeMap<u64, (Content, u64)>,
}

impl Pool {
    /// Whether `plan` has its shared tensors where this pool has them, if it has any.
    pub fn fits(&self, plan: &Plan) -> bool {
        plan.pool_bytes == 0 || self.map.as_ref().is_some_and(|map| map.len() as u64 == plan.pool_bytes)
    }

    /// Makes sure that there is room for `plan`; what is there already stays if it fits.
    pub(super) fn fit(&mut self, plan: &Plan) -> io::Result<()> {
        if !self.fits(plan) {
            let size = usize::try_from(plan.pool_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
            *self = Self { map: Some(MmapMut::map_anon(size)?), contents: BTreeMap::new() };
        }
        Ok(())
    }

    /// The tensors of `plan` that are not there yet, by offset.
    pub(super) fn missing<'a>(&self, plan: &'a Plan) -> Vec<Job<'a>> {
        let shared = plan.tensors.iter().filter_map(|tensor| match tensor.home {
            Home::Pool(at) if !self.holds(at, tensor) => Some((at, tensor)),
            _ => None,
        });
        shared.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// The memory that the offsets count in.
    pub(super) fn memory(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// Notes that `jobs` have been done; what reached into their bytes before is gone.
    pub(super) fn remember(&mut self, jobs: &[Job]) {
        for (at, tensor) in jobs {
            let bytes = tensor.info.bytes;
            self.contents.retain(|start, (_, old)| *start + *old <= *at || *start >= at + bytes);
            self.contents.insert(*at, (Content::of(tensor), bytes));
        }
    }

    fn holds(&self, at: u64, tensor: &PlannedTensor) -> bool {
        self.contents.get(&at).is_some_and(|(content, _)| content.is_of(tensor))
    }

    /// Where the tensor at `offset` starts in memory.
    ///
    /// # Panics
    /// If the pool was never fitted to a plan with such a place.
    pub fn address(&self, offset: u64) -> *const u8 {
        self.map.as_ref().expect("a pool that was filled")[offset as usize..].as_ptr()
    }
}
