//! The parents in a device's memory: bytes on the host in, addresses on the device out.
//!
//! What fits stays there from one recipe to the next. The rest is sent anew for each tensor, while the one before is merged.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, CudaViewMut, DevicePtr, DriverError, PinnedHostSlice,
};
use ggraft_kernels::cuda::Data;
use rayon::prelude::*;

use crate::model::ParentsOn;

/// Bytes of a piece on its way to the device: long enough for a transfer to run at full speed.
const PIECE: usize = 32 << 20;
/// Bytes that one thread copies at a time.
const PART: usize = 1 << 20;
/// Tensors start at multiples of this.
const ALIGNMENT: usize = 256;
/// Of the device's memory, the part that is left to llama.cpp's contexts.
const RESERVE: usize = 16;

/// What has been sent to one device.
pub(super) struct Parents {
    context: Arc<CudaContext>,
    on: ParentsOn,
    transfers: Transfers,
    /// What stays, by its address on the host.
    resident: HashMap<usize, CudaSlice<u8>>,
    rooms: [Room; 2],
    /// The next of `rooms`.
    room: usize,
}

/// Memory for what one tensor is merged from, if that does not stay.
#[derive(Default)]
struct Room {
    memory: Option<CudaSlice<u8>>,
    /// After this nothing reads it any more.
    read: Option<CudaEvent>,
}

impl Parents {
    pub fn new(context: &Arc<CudaContext>, on: ParentsOn) -> Result<Self, DriverError> {
        let (resident, rooms) = (HashMap::new(), Default::default());
        Ok(Self { context: Arc::clone(context), on, transfers: Transfers::new(context)?, resident, rooms, room: 0 })
    }

    /// Keeps what is the parents' on the device: as much of it as there is room for, if there seems to be for all, or all if that is asked
    /// for.
    pub fn settle<'a>(&mut self, data: impl Iterator<Item = &'a Data<'a>>) -> Result<(), DriverError> {
        let mut new: HashMap<usize, &[u8]> = data.filter_map(|data| Some((key(*data)?, data.bytes()))).collect();
        new.retain(|key, _| !self.resident.contains_key(key));
        let wanted: usize = new.values().map(|bytes| padded(bytes)).sum();
        let (free, total) = self.context.mem_get_info()?;
        let settles = match self.on {
            ParentsOn::Auto => wanted < free.saturating_sub(total / RESERVE),
            ParentsOn::Device => true,
            ParentsOn::Host => false,
        };
        if settles {
            for (key, bytes) in new {
                let mut memory = match self.transfers.alloc(bytes.len()) {
                    Err(error) if self.on == ParentsOn::Auto && is_full(error) => break,
                    memory => memory?,
                };
                self.transfers.send(bytes, memory.as_view_mut())?;
                self.resident.insert(key, memory);
            }
            self.transfers.stream.synchronize()?;
        }
        Ok(())
    }

    /// Where `data` are on the device, by what [`host`] says of them, for what is queued on `stream` from here until
    /// [`Parents::release`].
    ///
    /// # Errors
    /// One that [`is_full`] if there is no room for what is not there yet; nothing was queued then.
    pub fn bring(
        &mut self,
        data: &HashMap<usize, Data>,
        stream: &CudaStream,
    ) -> Result<HashMap<usize, u64>, DriverError> {
        let resident = |data: &Data| key(*data).and_then(|key| self.resident.get(&key));
        let missing = data.values().filter(|data| resident(data).is_none());
        let bytes: usize = missing.map(|data| padded(data.bytes())).sum();
        let room = &mut self.rooms[self.room];
        if bytes > 0 {
            if let Some(read) = room.read.take() {
                self.transfers.stream.wait(&read)?;
            }
            if room.memory.as_ref().is_none_or(|memory| memory.len() < bytes) {
                // The smaller one goes first.
                room.memory = None;
                room.memory = Some(self.transfers.alloc(bytes)?);
            }
        }
        let mut addresses = HashMap::with_capacity(data.len());
        let mut end = 0;
        for (number, data) in data {
            let address = match (resident(data), &mut room.memory) {
                (Some(memory), _) => memory.device_ptr(stream).0,
                (None, Some(memory)) => {
                    let (start, bytes) = (end, data.bytes());
                    end += padded(bytes);
                    self.transfers.send(bytes, memory.slice_mut(start..start + bytes.len()))?;
                    memory.device_ptr(stream).0 + start as u64
                }
                (None, None) => unreachable!("made for what is missing"),
            };
            addresses.insert(*number, address);
        }
        if bytes > 0 {
            stream.wait(&self.transfers.stream.record_event(None)?)?;
        }
        Ok(addresses)
    }

    /// Gives everything back that stayed; whether there was anything. Nothing may be queued that reads it.
    pub fn release_all(&mut self) -> bool {
        let any = !self.resident.is_empty();
        self.resident.clear();
        // Memory goes back to the system when its stream has come so far.
        any && self.transfers.stream.synchronize().is_ok()
    }

    /// Notes that what is queued on `stream` so far is all that reads what was brought last.
    pub fn release(&mut self, stream: &CudaStream) -> Result<(), DriverError> {
        self.rooms[self.room].read = Some(stream.record_event(None)?);
        self.room = (self.room + 1) % self.rooms.len();
        Ok(())
    }
}

/// Where the data are on the host, which tells them from all others that are needed meanwhile.
pub(super) fn host(data: Data) -> usize {
    data.bytes().as_ptr() as usize
}

/// What tells what may stay from all else that may. What is a recipe's own may not: when that is gone, something else can take its place.
fn key(data: Data) -> Option<usize> {
    matches!(data, Data::Parent(_)).then(|| host(data))
}

/// Whether the device has no memory left, which is no reason to stop.
pub(super) fn is_full(error: DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

fn padded(bytes: &[u8]) -> usize {
    bytes.len().next_multiple_of(ALIGNMENT)
}

/// The way to a device, through memory that it reads from directly: one piece is filled while the other is on its way.
struct Transfers {
    stream: Arc<CudaStream>,
    pieces: [Piece; 2],
    /// The next of `pieces`.
    next: usize,
}

struct Piece {
    memory: PinnedHostSlice<u8>,
    /// After this it may be filled again.
    sent: Option<CudaEvent>,
}

impl Transfers {
    fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        // SAFETY: filled before it is read.
        let piece = || Ok::<_, DriverError>(Piece { memory: unsafe { context.alloc_pinned(PIECE) }?, sent: None });
        Ok(Self { stream: context.new_stream()?, pieces: [piece()?, piece()?], next: 0 })
    }

    /// Memory on the device, given back in the order of this stream.
    fn alloc(&self, bytes: usize) -> Result<CudaSlice<u8>, DriverError> {
        // SAFETY: filled before it is read.
        unsafe { self.stream.alloc(bytes) }
    }

    /// Queues the way of `bytes` to `to`, which is as long.
    fn send(&mut self, bytes: &[u8], mut to: CudaViewMut<u8>) -> Result<(), DriverError> {
        for (number, bytes) in bytes.chunks(PIECE).enumerate() {
            let next = (self.next + 1) % self.pieces.len();
            let piece = &mut self.pieces[mem::replace(&mut self.next, next)];
            if let Some(sent) = piece.sent.take() {
                sent.synchronize()?;
            }
            let memory = &mut piece.memory.as_mut_slice()?[..bytes.len()];
            memory.par_chunks_mut(PART).zip(bytes.par_chunks(PART)).for_each(|(to, from)| to.copy_from_slice(from));
            let start = number * PIECE;
            self.stream.memcpy_htod(memory, &mut to.slice_mut(start..start + bytes.len()))?;
            piece.sent = Some(self.stream.record_event(None)?);
        }
        Ok(())
    }
}
