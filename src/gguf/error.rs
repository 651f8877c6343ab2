//! What can be wrong with a file: one [`Fault`] per condition, and [`GgufError`] to say in which file.

use std::io;
use std::path::{Path, PathBuf};

use ggraft_kernels::GgmlType;

/// A fault and the file that has it.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {fault}", path.display())]
pub struct GgufError {
    /// The file at fault; in a split set, the piece.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// One way in which a GGUF file, or the description of one, is bad.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system would not open, stat or map the file.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is no file of this path, which does not end as those of models do.
    #[error(
        "does not exist; models are GGUF files on this machine, named by their paths: download one, or convert a \
         model with llama.cpp's `convert_hf_to_gguf.py`"
    )]
    NoFile,
    /// There is no file of this path, since `~` is a folder like any other in it.
    #[error("does not exist; `~` does not stand for your home folder in files, write the whole path")]
    Home,
    /// The path is a directory.
    #[error("is a directory; name the `.gguf` file inside it (the first one of a split set)")]
    Directory,
    /// The path is a device, pipe or socket, which cannot be mapped.
    #[error("is not a regular file, so it cannot be memory-mapped; copy it to disk first")]
    NotAFile,
    /// The file has no bytes.
    #[error("is empty (0 bytes); download it again")]
    EmptyFile,
    /// The file starts as a git-lfs pointer does.
    #[error("is a git-lfs pointer, not the model; run `git lfs pull` where it was cloned")]
    GitLfsPointer,
    /// The file starts as an HTML page does.
    #[error("is an HTML page, not a model; the download link led to a web page, use the link to the raw file")]
    HtmlPage,
    /// The file starts as a safetensors file does: a length, then a JSON object.
    #[error("is a safetensors file; convert the model to GGUF with llama.cpp's `convert_hf_to_gguf.py`")]
    Safetensors,
    /// The first four bytes are not `GGUF` and nothing else that is recognised.
    #[error("starts with `{}`, not `GGUF`; it is not a GGUF file", magic.escape_ascii())]
    WrongMagic {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// The version is a small number in the other byte order.
    #[error("was written for big-endian machines; convert it with llama.cpp's `gguf_convert_endian.py`")]
    BigEndian,
    /// GGUF version 1, whose lengths are 32-bit.
    #[error("is GGUF version 1, which llama.cpp no longer reads; convert the model again")]
    VersionOne,
    /// A GGUF version that is neither 2 nor 3.
    #[error("is GGUF version {version}, but only 2 and 3 are known; is the file damaged or newer than ggraft?")]
    UnsupportedVersion {
        /// The version found.
        version: u32,
    },
    /// The file ends inside a fixed-size part of the header.
    #[error("ends while `{what}` is read at byte {at} ({need} bytes needed, {have} left); download it again")]
    TruncatedHeader {
        /// The part being read.
        what: String,
        /// Where it starts, in bytes from the start of the file.
        at: u64,
        /// Its size in bytes.
        need: u64,
        /// The bytes that are there.
        have: u64,
    },
    /// The header goes on past the most bytes a header may have.
    #[error("has a header of more than {limit} bytes; no model needs that, the file is damaged")]
    HeaderTooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// More key-value pairs than the cap, or than the bytes after the count can hold.
    #[error("claims {count} key-value pairs, but at most {limit} are possible here; it is cut off or damaged")]
    KeyCountAbsurd {
        /// The count in the file.
        count: u64,
        /// The most that could be there.
        limit: u64,
    },
    /// More tensors than the cap, or than the bytes after the count can hold.
    #[error("claims {count} tensors, but at most {limit} are possible here; it is cut off or damaged")]
    TensorCountAbsurd {
        /// The count in the file.
        count: u64,
        /// The most that could be there.
        limit: u64,
    },
    /// A metadata key is empty or longer than the format allows.
    #[error("has a metadata key of {len} bytes, must be 1 to {limit}; the file is damaged")]
    KeyLength {
        /// The length in bytes.
        len: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// A string runs past the end of the file.
    #[error("has a string of {len} bytes in `{what}` with {have} bytes left in the file; it is cut off or damaged")]
    StringLength {
        /// Whose string it is.
        what: String,
        /// The length in the file.
        len: u64,
        /// The bytes that are there.
        have: u64,
    },
    /// An array runs past the end of the file.
    #[error("has an array of {len} elements in `{key}` with {have} bytes left in the file; it is cut off or damaged")]
    ArrayLength {
        /// The array's key.
        key: String,
        /// The number of elements in the file.
        len: u64,
        /// The bytes that are there.
        have: u64,
    },
    /// A key or a tensor name is not UTF-8 or has a NUL inside, where llama.cpp would cut it.
    #[error("has a {what} that is not text: `{}`; the file is damaged", bytes.escape_ascii())]
    NameNotText {
        /// `metadata key` or `tensor name`.
        what: &'static str,
        /// The name's bytes.
        bytes: Vec<u8>,
    },
    /// A metadata value of a type that GGUF does not have.
    #[error("has key `{key}` of value type {id}, must be 0 to 12; the file is damaged or newer than ggraft")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type number in the file.
        id: u32,
    },
    /// A metadata array of arrays, which llama.cpp does not read either.
    #[error("has an array of arrays in key `{key}`, which llama.cpp does not load; remove that key")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// Two key-value pairs with the same key.
    #[error("has the key `{key}` twice; write it again with one of them")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Two tokens with the same text, at which llama.cpp would end the process.
    #[error(
        "has the token `{token}` twice, as {first} and {second}; the file is damaged, or was converted by a broken script"
    )]
    DuplicateToken {
        /// The text, what is not ASCII escaped.
        token: String,
        /// The lower id.
        first: usize,
        /// The higher one.
        second: usize,
    },
    /// A key that every model has is not there.
    #[error("has no key `{key}`; it is not a whole model, convert it again")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A key has a value of the wrong type or outside its range.
    #[error("has `{key}` = {found}, must be {wanted}; set it right with llama.cpp's `gguf_set_metadata.py`")]
    BadKey {
        /// The key.
        key: String,
        /// The value, shown.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// `general.alignment` is zero or no power of two.
    #[error("has `general.alignment` = {alignment}, must be a power of two; llama.cpp cannot load it either")]
    AlignmentNotPowerOfTwo {
        /// The alignment in bytes.
        alignment: u32,
    },
    /// A tensor name is empty or too long for ggml (`GGML_MAX_NAME`).
    #[error("has a tensor name of {len} bytes, must be 1 to {limit}; the file is damaged")]
    TensorNameLength {
        /// The length in bytes.
        len: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// A tensor has no dimensions or more than ggml's four.
    #[error("has tensor `{name}` of {count} dimensions, must be 1 to {limit}; the file is damaged")]
    DimensionCount {
        /// The tensor.
        name: String,
        /// Its number of dimensions.
        count: u64,
        /// The most allowed.
        limit: u64,
    },
    /// A tensor has a dimension of zero, so that there is nothing to merge.
    #[error("has tensor `{name}` of shape {shape:?}, no dimension may be 0; the file is damaged")]
    ZeroDimension {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A tensor's size in elements or bytes does not fit 63 bits.
    #[error("has tensor `{name}` of shape {shape:?}, whose size overflows; the file is damaged")]
    ShapeOverflow {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A tensor's rows are not whole blocks of its type.
    #[error("has tensor `{name}` with rows of {ne0} elements, must be a multiple of {} for {ty}", ty.block_size())]
    PartialBlock {
        /// The tensor.
        name: String,
        /// Elements in a row.
        ne0: u64,
        /// Its type.
        ty: GgmlType,
    },
    /// A tensor type that ggml does not have, or no longer.
    #[error(
        "has tensor `{name}` of type {id}, which ggml {}",
        if REMOVED_TYPES.contains(id) {
            "has removed; quantize the model again"
        } else {
            "lacks; is the file damaged or newer than ggraft?"
        }
    )]
    UnknownTensorType {
        /// The tensor.
        name: String,
        /// The type number in the file.
        id: u32,
    },
    /// A tensor's offset is not a multiple of the file's alignment.
    #[error("has tensor `{name}` at offset {offset}, must be a multiple of {alignment}; the file is damaged")]
    TensorMisaligned {
        /// The tensor.
        name: String,
        /// Its offset into the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor's data ends after the end of the file.
    #[error("has tensor `{name}` up to byte {end}, but ends at byte {file_len}; it is cut off, download it again")]
    TensorOutside {
        /// The tensor.
        name: String,
        /// Where its data should end, in bytes from the start of the file.
        end: u64,
        /// The file's size in bytes.
        file_len: u64,
    },
    /// Two tensors share bytes.
    #[error("has tensors `{first}` and `{second}` on the same bytes, from offset {at}; the file is damaged")]
    TensorsOverlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts before the first one ends.
        second: String,
        /// Where the second one starts in the data section.
        at: u64,
    },
    /// Two tensors with the same name, in one file or in two pieces of a set.
    #[error("has the tensor `{name}` twice; convert or split the model again")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor that the metadata promises is not there.
    #[error("has no tensor `{name}`; it is not a whole language model (an adapter, a projector, a vocabulary?)")]
    MissingTensor {
        /// The tensor, or the block's tensors as `blk.7.*`.
        name: String,
    },
    /// An adapter where a model belongs.
    #[error(
        "is an adapter, not a model; in a recipe it stands behind the model that it is for: \
         `model: model.gguf+adapter.gguf`"
    )]
    Adapter,
    /// Something else where an adapter belongs.
    #[error(
        "is no adapter (`general.type` is {found}); behind a `+` belongs a LoRA adapter as llama.cpp's \
         `convert_lora_to_gguf.py` writes it"
    )]
    NotAnAdapter {
        /// What it says that it is.
        found: String,
    },
    /// An adapter that is no LoRA.
    #[error("is an adapter of another kind (`adapter.type` is {found}); only `lora` can be merged")]
    AdapterKind {
        /// What it says that it is.
        found: String,
    },
    /// An adapter that is switched on by tokens.
    #[error("is an activated LoRA, which has an effect only behind certain tokens; only plain LoRA can be merged")]
    ActivatedAdapter,
    /// An adapter in several files, which llama.cpp does not load either.
    #[error("is a piece of a split set; join the adapter with llama.cpp's `llama-gguf-split --merge` first")]
    SplitAdapter,
    /// An adapter for another architecture.
    #[error("is an adapter for a {found}, but the model is a \"{architecture}\"; use one that was made for this model")]
    AdapterArchitecture {
        /// The adapter's architecture.
        found: String,
        /// The model's.
        architecture: String,
    },
    /// Without alpha nobody knows how strong an adapter is meant to be.
    #[error("has `adapter.lora.alpha` {found}, must be a finite number; convert the adapter again")]
    AdapterAlpha {
        /// What is there.
        found: String,
    },
    /// An adapter that changes nothing.
    #[error("is an adapter without a single pair of `lora_a` and `lora_b`; convert the adapter again")]
    EmptyAdapter,
    /// A tensor of an adapter that is no factor.
    #[error("has tensor `{name}`, which is neither a `.lora_a` nor a `.lora_b`; only plain LoRA can be merged")]
    AdapterSuffix {
        /// The tensor.
        name: String,
    },
    /// One factor without the other.
    #[error("has no `{name}.{missing}`, only the other factor; convert the adapter again")]
    AdapterHalf {
        /// The model's tensor.
        name: String,
        /// `lora_a` or `lora_b`.
        missing: &'static str,
    },
    /// An adapter changes a tensor that the model does not have.
    #[error("changes tensor `{name}`, which `{}` does not have; use the model that the adapter was made for", model.display())]
    AdapterUnknownTensor {
        /// The tensor.
        name: String,
        /// The model.
        model: PathBuf,
    },
    /// Factors that do not make the model's tensor.
    #[error("has {shapes} for tensor `{name}`; use the model that the adapter was made for")]
    AdapterShape {
        /// The model's tensor.
        name: String,
        /// The shapes of the factors and what they should make.
        shapes: String,
    },
    /// Factors larger than what they make.
    #[error("has rank {rank} at tensor `{name}`, must be at most {limit}, the tensor's own size; the file is damaged")]
    AdapterRank {
        /// The model's tensor.
        name: String,
        /// The rank.
        rank: u64,
        /// The most that makes sense.
        limit: u64,
    },
    /// A type that cannot be decoded, in the adapter or in the model.
    #[error("meets tensor `{name}` of type {ty}, which cannot be computed with; convert the adapter again, to `f16`")]
    AdapterType {
        /// The tensor.
        name: String,
        /// Its type.
        ty: GgmlType,
    },
    /// The file is a later piece of a split set.
    #[error("is piece {} of {count}; open the first piece, `{}`", no + 1, first.display())]
    NotFirstPiece {
        /// The piece's number, from 0.
        no: u64,
        /// The number of pieces.
        count: u64,
        /// The first piece.
        first: PathBuf,
    },
    /// A piece of a split set is not named as llama.cpp names it, so that the others cannot be found.
    #[error("is one piece of a split set, so its name must end in `{wanted}`; rename it back")]
    PieceName {
        /// The ending that it should have.
        wanted: String,
    },
    /// A piece of a split set is not there.
    #[error("is missing; it is piece {} of the {count} that belong to `{}`", no + 1, first.display())]
    MissingPiece {
        /// The missing piece's number, from 0.
        no: u64,
        /// The number of pieces.
        count: u64,
        /// The first piece.
        first: PathBuf,
    },
    /// A piece of a split set says that it is another piece, or of another set.
    #[error("has `{key}` = {found}, but its name and its set make it {wanted}; it is a piece of another model")]
    PieceMismatch {
        /// `split.no` or `split.count`.
        key: &'static str,
        /// Its value, shown.
        found: String,
        /// What it should be.
        wanted: u64,
    },
    /// The pieces of a set hold more or fewer tensors than the first one promises.
    #[error("promises {wanted} tensors in `split.tensors.count`, but its pieces hold {found}; split the model again")]
    PieceTensorCount {
        /// The promised number.
        wanted: u64,
        /// The number found.
        found: u64,
    },
    /// The file became shorter while it was mapped.
    #[error("shrank from {was} to {now} bytes while in use; do not write to a parent, start again")]
    Shrunk {
        /// Its size when it was mapped, in bytes.
        was: u64,
        /// Its size now.
        now: u64,
    },
    /// The file grew or was written to while it was mapped.
    #[error("was written to while in use ({was} bytes before, {now} now); do not write to a parent, start again")]
    Changed {
        /// Its size when it was mapped, in bytes.
        was: u64,
        /// Its size now.
        now: u64,
    },
}

/// Type numbers that ggml once had: `Q4_2`, `Q4_3` and the repacked layouts (ggml.h `enum ggml_type`).
const REMOVED_TYPES: [u32; 8] = [4, 5, 31, 32, 33, 36, 37, 38];

impl Fault {
    /// This fault, found in the file at `path`.
    pub fn at(self, path: &Path) -> GgufError {
        GgufError { path: path.to_owned(), fault: self }
    }
}
