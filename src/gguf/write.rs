//! The way back: metadata and tensor descriptions go in, the bytes of a GGUF version 3 header come out, ready for data.
//!
//! The layout is the one llama.cpp insists on (ggml/src/gguf.cpp): tensors in order, each padded to the alignment.

use std::collections::HashSet;

use ggus::{DEFAULT_ALIGNMENT, GENERAL_ALIGNMENT, GGufFileHeader, GGufWriter};

use super::error::Fault;
use super::header::TensorInfo;
use super::metadata::{Metadata, check_key};
use super::value::{Value, write_string};

/// The version that is written.
const VERSION: u32 = 3;

/// A header with its place for every tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The header, padded: the data section starts at byte `bytes.len()` of the file.
    pub bytes: Vec<u8>,
    /// The tensors, with their offsets into the data section.
    pub tensors: Vec<TensorInfo>,
    /// The size of the data section in bytes, the padding after the last tensor included.
    pub data_len: u64,
}

/// Encodes a header for `tensors` (their names, shapes and types; offsets are given out here), aligned to `alignment`
/// bytes. `general.alignment` is set to match, or dropped where it is the default of 32.
///
/// # Errors
/// An alignment that is no power of two, a key that is too long, or a tensor that ggml could not hold or that is there
/// twice: see [`Fault`].
pub fn encode_header(metadata: &Metadata, tensors: &[TensorInfo], alignment: u32) -> Result<Encoded, Fault> {
    if !alignment.is_power_of_two() {
        return Err(Fault::AlignmentNotPowerOfTwo { alignment });
    }
    let (tensors, data_len) = place(tensors, u64::from(alignment))?;
    let own = (alignment as usize != DEFAULT_ALIGNMENT).then_some(Value::U32(alignment));
    let kept = metadata.iter().filter(|(key, _)| *key != GENERAL_ALIGNMENT);
    let pairs: Vec<_> = kept.chain(own.as_ref().map(|value| (GENERAL_ALIGNMENT, value))).collect();

    let mut bytes = Vec::new();
    let mut writer = GGufWriter::new(&mut bytes);
    let counts = (tensors.len() as u64, pairs.len() as u64);
    writer.write_header(GGufFileHeader::new(VERSION.to_le(), counts.0.to_le(), counts.1.to_le()))?;
    for (key, value) in pairs {
        check_key(key)?;
        write_string(&mut writer, key.as_bytes())?;
        value.write(&mut writer)?;
    }
    for TensorInfo { name, shape, ty, offset, .. } in &tensors {
        write_string(&mut writer, name.as_bytes())?;
        writer.write(&(shape.len() as u32).to_le_bytes())?;
        shape.iter().try_for_each(|ne| writer.write(&ne.to_le_bytes()))?;
        writer.write(&(*ty as u32).to_le_bytes())?;
        writer.write(&offset.to_le_bytes())?;
    }
    writer.write_padding(alignment as usize)?;
    drop(writer); // It buffers; the last bytes arrive when it is dropped.
    Ok(Encoded { bytes, tensors, data_len })
}

/// Gives every tensor the next aligned offset; also gives the size of them all.
fn place(tensors: &[TensorInfo], alignment: u64) -> Result<(Vec<TensorInfo>, u64), Fault> {
    let mut placed = Vec::with_capacity(tensors.len());
    let mut seen = HashSet::new();
    let mut end = 0u64;
    for TensorInfo { name, shape, ty, .. } in tensors {
        if !seen.insert(name) {
            return Err(Fault::DuplicateTensor { name: name.clone() });
        }
        let tensor = TensorInfo { offset: end, ..TensorInfo::new(name.as_str(), shape.as_slice(), *ty)? };
        let next = end.checked_add(tensor.bytes).and_then(|end| end.checked_next_multiple_of(alignment));
        end = next.ok_or_else(|| Fault::ShapeOverflow { name: name.clone(), shape: shape.clone() })?;
        placed.push(tensor);
    }
    Ok((placed, end))
}
