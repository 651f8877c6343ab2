//! A file's header: untrusted bytes go in, a proven [`Header`] comes out.
//!
//! The checks are those of llama.cpp's `gguf_init_from_reader` (ggml/src/gguf.cpp) and three of our own: counts must
//! fit the bytes that follow, tensors must lie inside the file, and no two may share bytes. Gaps between tensors are
//! accepted, which llama.cpp refuses: a gap is harmless to a reader that goes by offsets.

use std::collections::HashSet;

use ggraft_kernels::GgmlType;
use ggus::{DEFAULT_ALIGNMENT, GENERAL_ALIGNMENT};

use super::error::Fault;
use super::metadata::Metadata;
use super::reader::Reader;
use super::value::Value;

/// The longest tensor name in bytes: ggml keeps a NUL after it in `GGML_MAX_NAME` = 64.
pub const MAX_TENSOR_NAME: u64 = 63;
/// The most dimensions (ggml.h `GGML_MAX_DIMS`).
pub const MAX_DIMS: u64 = 4;
/// The most tensors; the largest real models have some thousands.
pub(super) const MAX_TENSORS: u64 = 1 << 20;
/// The smallest tensor entry: name length, a name of one byte, dimension count, one dimension, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// One tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, 1 to [`MAX_TENSOR_NAME`] bytes.
    pub name: String,
    /// Elements per dimension in ggml's order, `ne[0]` (the row) first; 1 to 4 dimensions, none of them 0.
    pub shape: Vec<u64>,
    /// The type of the elements.
    pub ty: GgmlType,
    /// Where the data starts, in bytes from the start of the data section of the tensor's own file.
    pub offset: u64,
    /// The size of the data in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Describes a tensor at offset 0, with its size in bytes worked out.
    ///
    /// # Errors
    /// A name, shape or type that ggml could not hold: see [`Fault`].
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<u64>>, ty: GgmlType) -> Result<Self, Fault> {
        let (name, shape) = (name.into(), shape.into());
        if name.is_empty() || name.len() as u64 > MAX_TENSOR_NAME {
            return Err(Fault::TensorNameLength { len: name.len() as u64, limit: MAX_TENSOR_NAME });
        }
        if shape.is_empty() || shape.len() as u64 > MAX_DIMS {
            return Err(Fault::DimensionCount { name, count: shape.len() as u64, limit: MAX_DIMS });
        }
        if shape.contains(&0) {
            return Err(Fault::ZeroDimension { name, shape });
        }
        if shape[0] % ty.block_size() as u64 != 0 {
            return Err(Fault::PartialBlock { name, ne0: shape[0], ty });
        }
        match size_in_bytes(&shape, ty) {
            Some(bytes) => Ok(Self { name, shape, ty, offset: 0, bytes }),
            None => Err(Fault::ShapeOverflow { name, shape }),
        }
    }

    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// The number of rows of `ne[0]` elements.
    pub fn rows(&self) -> u64 {
        self.shape.iter().skip(1).product()
    }

    /// The size of one row in bytes.
    pub fn row_bytes(&self) -> u64 {
        self.bytes / self.rows()
    }
}

/// Bytes of a tensor whose rows are whole blocks; `None` where elements or bytes exceed `i64`, ggml's own counter.
fn size_in_bytes(shape: &[u64], ty: GgmlType) -> Option<u64> {
    let limit = |n: &u64| i64::try_from(*n).is_ok();
    let elements = shape.iter().try_fold(1u64, |product, &ne| product.checked_mul(ne)).filter(limit)?;
    (elements / ty.block_size() as u64).checked_mul(ty.type_size() as u64).filter(limit)
}

/// The block that a tensor belongs to: 7 for `blk.7.attn_q.weight`, `None` outside the blocks.
pub fn block_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// A header that has been proven: every tensor lies inside the file, on whole blocks, apart from every other one.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The GGUF version, 2 or 3; they differ in name only.
    pub version: u32,
    /// The alignment of tensor data in bytes, a power of two.
    pub alignment: u64,
    /// The key-value pairs.
    pub metadata: Metadata,
    /// The tensors in file order.
    pub tensors: Vec<TensorInfo>,
    /// Where the data section starts, in bytes from the start of the file.
    pub data_offset: u64,
}

impl Header {
    /// Proves the header at the start of `bytes`, which belongs to a file of `file_len` bytes (as much of it as
    /// `bytes` holds, at least the header).
    ///
    /// # Errors
    /// The first [`Fault`] found, in file order.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Self, Fault> {
        refuse_other_formats(bytes)?;
        let reader = &mut Reader::new(bytes);
        let magic = reader.array("magic")?;
        if magic != *b"GGUF" {
            return Err(Fault::WrongMagic { magic });
        }
        let version = supported(reader.u32("version")?)?;
        let tensor_count = reader.u64("tensor count")?;
        let key_count = reader.u64("key-value count")?;
        let metadata = Metadata::read(reader, key_count)?;
        let alignment = u64::from(alignment_of(&metadata)?);
        let tensors = read_tensors(reader, tensor_count)?;
        // A header without tensors (a vocabulary, or the first piece of a set) need not be padded.
        let unit = if tensors.is_empty() { 1 } else { alignment };
        let data_offset = reader.position().next_multiple_of(unit);
        let header = Self { version, alignment, metadata, tensors, data_offset };
        header.prove_layout(file_len)?;
        Ok(header)
    }

    /// Proves that every tensor is aligned and inside the file, and that no two share bytes.
    fn prove_layout(&self, file_len: u64) -> Result<(), Fault> {
        for TensorInfo { name, offset, bytes, .. } in &self.tensors {
            if offset % self.alignment != 0 {
                return Err(Fault::TensorMisaligned { name: name.clone(), offset: *offset, alignment: self.alignment });
            }
            let end = self.data_offset.checked_add(*offset).and_then(|start| start.checked_add(*bytes));
            if end.is_none_or(|end| end > file_len) {
                return Err(Fault::TensorOutside { name: name.clone(), end: end.unwrap_or(u64::MAX), file_len });
            }
        }
        let mut by_offset: Vec<_> = self.tensors.iter().collect();
        by_offset.sort_by_key(|tensor| tensor.offset);
        for pair in by_offset.windows(2) {
            if pair[0].offset + pair[0].bytes > pair[1].offset {
                let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
                return Err(Fault::TensorsOverlap { first, second, at: pair[1].offset });
            }
        }
        Ok(())
    }
}

/// Recognises by content what is often downloaded in place of a GGUF file.
fn refuse_other_formats(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.is_empty() {
        return Err(Fault::EmptyFile);
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(Fault::GitLfsPointer);
    }
    let text = bytes.get(..256).unwrap_or(bytes).trim_ascii_start();
    let starts_with = |tag: &[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if starts_with(b"<!doctype") || starts_with(b"<html") {
        return Err(Fault::HtmlPage);
    }
    // A length below 2^40, then JSON; a GGUF file of 123 tensors has these bytes too, hence the magic.
    if bytes.get(5..9) == Some(b"\0\0\0{") && !bytes.starts_with(b"GGUF") {
        return Err(Fault::Safetensors);
    }
    Ok(())
}

fn supported(version: u32) -> Result<u32, Fault> {
    match version {
        1 => Err(Fault::VersionOne),
        2 | 3 => Ok(version),
        _ if (1..=0xffff).contains(&version.swap_bytes()) => Err(Fault::BigEndian),
        _ => Err(Fault::UnsupportedVersion { version }),
    }
}

/// The alignment that the metadata asks for, or GGUF's default of 32; the key must be a `u32`, as for llama.cpp.
fn alignment_of(metadata: &Metadata) -> Result<u32, Fault> {
    let alignment = match metadata.get(GENERAL_ALIGNMENT) {
        None => DEFAULT_ALIGNMENT as u32,
        Some(Value::U32(alignment)) => *alignment,
        Some(other) => {
            return Err(Fault::BadKey { key: GENERAL_ALIGNMENT.into(), found: other.to_string(), wanted: "a `u32`" });
        }
    };
    if !alignment.is_power_of_two() {
        return Err(Fault::AlignmentNotPowerOfTwo { alignment });
    }
    Ok(alignment)
}

fn read_tensors(reader: &mut Reader<'_>, count: u64) -> Result<Vec<TensorInfo>, Fault> {
    let limit = MAX_TENSORS.min(reader.remaining() / MIN_TENSOR_BYTES);
    if count > limit {
        return Err(Fault::TensorCountAbsurd { count, limit });
    }
    let mut tensors = Vec::with_capacity(count as usize);
    let mut seen = HashSet::new();
    for _ in 0..count {
        let name = reader.name("tensor name")?;
        if !seen.insert(name) {
            return Err(Fault::DuplicateTensor { name: name.into() });
        }
        let dims = u64::from(reader.u32(name)?);
        if dims > MAX_DIMS {
            return Err(Fault::DimensionCount { name: name.into(), count: dims, limit: MAX_DIMS });
        }
        let shape = (0..dims).map(|_| reader.u64(name)).collect::<Result<Vec<_>, _>>()?;
        let id = reader.u32(name)?;
        let ty = GgmlType::from_id(id).ok_or_else(|| Fault::UnknownTensorType { name: name.into(), id })?;
        let offset = reader.u64(name)?;
        tensors.push(TensorInfo { offset, ..TensorInfo::new(name, shape, ty)? });
    }
    Ok(tensors)
}
