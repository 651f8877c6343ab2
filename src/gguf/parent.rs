//! A model on disk: its path goes in, metadata and tensors come out, the tensors as slices of the memory map.
//!
//! Opening reads the header and nothing else; tensor bytes are paged in when they are first looked at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ggraft_kernels::LowRank;
use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::adapter::GENERAL_TYPE;
use super::error::{Fault, GgufError};
use super::header::{Header, TensorInfo, block_of};
use super::metadata::Metadata;
use super::split::{self, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
use super::value::Value;

/// Architectures with blocks that may hold no tensor: removed ones (deci), a router's cache (granite-switch), or blocks
/// under other names (wavtokenizer-dec).
const MAY_HAVE_EMPTY_BLOCKS: [&str; 3] = ["deci", "granite-switch", "wavtokenizer-dec"];

/// Blocks a model may have: llama.cpp's `LLAMA_MAX_LAYERS` (src/llama-hparams.h), beyond which it ends the process.
pub const MAX_BLOCKS: u32 = 512;

/// Bytes at either end of a tensor that its fingerprint covers.
const SAMPLE_BYTES: usize = 4096;

/// A model that can be merged: one GGUF file or a whole split set, mapped and proven, perhaps with LoRA adapters on it.
#[derive(Debug)]
pub struct Parent {
    pieces: Vec<Piece>,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// For each tensor, the piece that holds it.
    piece_of: Vec<usize>,
    by_name: HashMap<String, usize>,
    architecture: String,
    block_count: u32,
    pub(super) adapters: Vec<Adapter>,
    /// What the adapters add to each tensor, by its position.
    pub(super) low_rank: HashMap<usize, Vec<LowRank>>,
}

/// An adapter that has been put on a model.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) piece: Piece,
    pub(super) tensors: Vec<TensorInfo>,
    /// Tensors that have no effect.
    pub(super) left_out: Vec<String>,
}

/// One tensor of a [`Parent`].
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Name, shape and type.
    pub info: &'a TensorInfo,
    /// The data on the map, `info.bytes` long. It starts at a multiple of the file's alignment, which may be as small
    /// as 1: do not reinterpret it as wider words.
    pub data: &'a [u8],
    /// What the adapters add to it.
    pub low_rank: &'a [LowRank],
}

/// One mapped file.
#[derive(Debug)]
pub(super) struct Piece {
    path: PathBuf,
    file: File,
    map: Arc<Mmap>,
    modified: Option<SystemTime>,
    data_offset: u64,
}

impl Parent {
    /// Maps the model at `path`: a GGUF file, or the first file of a split set and all those that belong to it.
    ///
    /// # Errors
    /// The file at fault and the first [`Fault`] found in it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let (piece, header) = Piece::open(path).map_err(|fault| fault.at(path))?;
        let later = split::later_pieces(path, &header.metadata).map_err(|fault| fault.at(path))?;
        let mut parent = Self::new(piece, header).map_err(|fault| fault.at(path))?;
        let count = later.len() as u64 + 1;
        for (no, later_path) in (1..).zip(later) {
            parent.add_piece(&later_path, no, count).map_err(|fault| fault.at(&later_path))?;
        }
        parent.check_whole(count).and_then(|()| parent.check_values()).map_err(|fault| fault.at(path))?;
        // From here on the set is one model; a header made from these metadata describes one file.
        for key in [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS_COUNT] {
            parent.metadata.remove(key);
        }
        Ok(parent)
    }

    /// The file, or the first one of a split set.
    pub fn path(&self) -> &Path {
        &self.pieces[0].path
    }

    /// The files of the model and its adapters.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files().map(|piece| piece.path.as_path())
    }

    /// The model's path, with the adapters' behind it as in a recipe.
    pub fn label(&self) -> String {
        let adapters = self.adapters.iter().map(|adapter| format!("+{}", adapter.piece.path.display()));
        std::iter::once(self.path().display().to_string()).chain(adapters).collect()
    }

    /// Whether there are adapters on the model, so that its file alone is another one.
    pub fn is_adapted(&self) -> bool {
        !self.adapters.is_empty()
    }

    /// One sentence for each adapter with tensors that have no effect.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let heard = self.adapters.iter().filter(|adapter| !adapter.left_out.is_empty());
        heard.map(|Adapter { piece, left_out, .. }| {
            let (path, first, count) = (piece.path.display(), &left_out[0], left_out.len());
            format!("`{path}`: its norms have no effect, as in llama.cpp: {count} of them, first `{first}`")
        })
    }

    fn files(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().chain(self.adapters.iter().map(|adapter| &adapter.piece))
    }

    /// The key-value pairs, those of a split set without `split.*`.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors in file order, those of all pieces together; each offset counts within its own piece.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name` with its data.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.by_name.get(name).map(|&index| self.view(index))
    }

    /// Where in [`Parent::tensors`] the tensor called `name` is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The size of the model's file or of all pieces together, in bytes.
    pub fn model_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.map.len() as u64).sum()
    }

    /// The same with the files of adapters.
    pub fn size_bytes(&self) -> u64 {
        self.files().map(|piece| piece.map.len() as u64).sum()
    }

    /// The maps behind all tensors, for who keeps pointers into them: while one is held, the addresses stay valid.
    pub fn maps(&self) -> impl Iterator<Item = Arc<Mmap>> {
        self.pieces.iter().map(|piece| Arc::clone(&piece.map))
    }

    /// The number of weights.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(TensorInfo::elements).sum()
    }

    /// `general.architecture`, for example `llama`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// `{arch}.block_count`, from 1 to [`MAX_BLOCKS`].
    pub fn block_count(&self) -> u32 {
        self.block_count
    }

    /// The value of `{arch}.{suffix}`, for example for `attention.head_count`.
    pub fn arch(&self, suffix: &str) -> Option<&Value> {
        self.metadata.get(&self.arch_key(suffix))
    }

    /// The value of `{arch}.{suffix}` as an integer; `None` also where it is a list with one entry per block.
    pub fn arch_u32(&self, suffix: &str) -> Option<u32> {
        self.arch(suffix)?.as_u64()?.try_into().ok()
    }

    /// The key `{arch}.{suffix}`.
    pub fn arch_key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    /// SHA-256 over every tensor's description and the first and last 4096 bytes of its data: tells models apart without reading
    /// gigabytes. With adapters on the model, a digest of all [`Parent::fingerprints`].
    pub fn fingerprint(&self) -> [u8; 32] {
        match &self.fingerprints()[..] {
            [own] => *own,
            all => Sha256::digest(all.as_flattened()).into(),
        }
    }

    /// The model's own fingerprint, as if there were no adapters on it, then one of each adapter.
    pub fn fingerprints(&self) -> Vec<[u8; 32]> {
        let own = (0..self.tensors.len()).map(|index| self.view(index)).map(|view| (view.info, view.data));
        let adapter = |Adapter { piece, tensors, .. }: &Adapter| {
            // Alpha is in the header.
            let hash = Sha256::new_with_prefix(&piece.map[..piece.data_offset as usize]);
            fingerprint(hash, tensors.iter().map(|info| (info, piece.data(info))))
        };
        std::iter::once(fingerprint(Sha256::new(), own)).chain(self.adapters.iter().map(adapter)).collect()
    }

    /// Path and size of each adapter, and the bytes that it takes in memory.
    pub fn adapters(&self) -> impl Iterator<Item = (&Path, u64, u64)> {
        self.adapters.iter().map(|Adapter { piece, tensors, .. }| {
            let factors: u64 = tensors.iter().map(TensorInfo::elements).sum();
            (piece.path.as_path(), piece.map.len() as u64, factors * size_of::<f32>() as u64)
        })
    }

    /// Refuses files that have changed since they were mapped.
    ///
    /// Call it before each pass over the weights: reading a map past the end of a file that has shrunk is no error that
    /// can be caught but the signal SIGBUS, and bytes that change between two passes make a merge that no recipe
    /// describes. A file that was replaced by renaming another over it is fine, the map keeps the old one.
    ///
    /// # Errors
    /// [`Fault::Shrunk`], [`Fault::Changed`], or [`Fault::Io`] with the file that it happened to.
    pub fn verify_unchanged(&self) -> Result<(), GgufError> {
        self.files().try_for_each(|piece| piece.verify_unchanged().map_err(|fault| fault.at(&piece.path)))
    }

    fn new(piece: Piece, header: Header) -> Result<Self, Fault> {
        if header.metadata.str(GENERAL_TYPE) == Some("adapter") {
            return Err(Fault::Adapter);
        }
        let architecture = required(&header.metadata, "general.architecture", "an architecture's name", |value| {
            value.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
        })?;
        let block_count =
            required(&header.metadata, &format!("{architecture}.block_count"), "a number from 1 to 512", |value| {
                value
                    .as_u64()
                    .and_then(|count| u32::try_from(count).ok())
                    .filter(|count| (1..=MAX_BLOCKS).contains(count))
            })?;
        let mut parent = Self {
            pieces: Vec::new(),
            metadata: header.metadata,
            tensors: Vec::new(),
            piece_of: Vec::new(),
            by_name: HashMap::new(),
            architecture,
            block_count,
            adapters: Vec::new(),
            low_rank: HashMap::new(),
        };
        parent.add(piece, header.tensors)?;
        Ok(parent)
    }

    fn add_piece(&mut self, path: &Path, no: u64, count: u64) -> Result<(), Fault> {
        let (piece, header) = Piece::open(path).map_err(|fault| match fault {
            Fault::Io(error) if error.kind() == ErrorKind::NotFound => {
                Fault::MissingPiece { no, count, first: self.path().to_owned() }
            }
            other => other,
        })?;
        split::check_piece(&header.metadata, no, count)?;
        self.add(piece, header.tensors)
    }

    fn add(&mut self, piece: Piece, tensors: Vec<TensorInfo>) -> Result<(), Fault> {
        for tensor in tensors {
            if self.by_name.insert(tensor.name.clone(), self.tensors.len()).is_some() {
                return Err(Fault::DuplicateTensor { name: tensor.name });
            }
            self.tensors.push(tensor);
            self.piece_of.push(self.pieces.len());
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// Proves that no piece, embedding or block has been left out.
    fn check_whole(&self, pieces: u64) -> Result<(), Fault> {
        let found = self.tensors.len() as u64;
        if pieces > 1 {
            let wanted = required(&self.metadata, SPLIT_TENSORS_COUNT, "the number of tensors", Value::as_u64)?;
            if wanted != found {
                return Err(Fault::PieceTensorCount { wanted, found });
            }
        }
        let embedding = "token_embd.weight";
        if self.tensor(embedding).is_none() {
            return Err(Fault::MissingTensor { name: embedding.into() });
        }
        if MAY_HAVE_EMPTY_BLOCKS.contains(&self.architecture.as_str()) {
            return Ok(());
        }
        // Encoder-decoder models call theirs `enc.blk.N`, and count those of the decoder apart.
        let blocks = self.tensors.iter().filter_map(|tensor| block_of(tensor.name.trim_start_matches("enc.")));
        let present: BTreeSet<u32> = blocks.collect();
        // Blocks that predict further tokens are often left out of a file.
        let needed = self.block_count.saturating_sub(self.arch_u32("nextn_predict_layers").unwrap_or(0));
        match (0..needed).find(|block| !present.contains(block)) {
            Some(block) => Err(Fault::MissingTensor { name: format!("blk.{block}.*") }),
            None => Ok(()),
        }
    }

    /// Refuses values at which llama.cpp ends the process.
    fn check_values(&self) -> Result<(), Fault> {
        let epsilons = |(key, value): (&str, &Value)| {
            let is_epsilon = key.strip_prefix(&*self.architecture).is_some_and(|suffix| suffix.ends_with("epsilon"));
            let fits = value.as_f64().is_some_and(|epsilon| epsilon.is_finite() && epsilon >= 0.0);
            (is_epsilon && !fits).then(|| Fault::BadKey {
                key: key.to_owned(),
                found: value.to_string(),
                wanted: "a finite number from 0 up",
            })
        };
        if let Some(fault) = self.metadata.iter().find_map(epsilons) {
            return Err(fault);
        }
        let Some(tokens) = self.metadata.strings("tokenizer.ggml.tokens") else { return Ok(()) };
        let mut known = HashSet::with_capacity(tokens.len());
        // llama.cpp has names of its own for tokens without text.
        let mut texts = tokens.iter().enumerate().filter(|(_, text)| !text.is_empty());
        let Some((second, text)) = texts.find(|&(_, text)| !known.insert(text)) else { return Ok(()) };
        let first = tokens.iter().position(|other| other == text).unwrap_or(second);
        Err(Fault::DuplicateToken { token: text.escape_ascii().to_string(), first, second })
    }

    /// Tensor `index` of [`Parent::tensors`] with its data.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn view(&self, index: usize) -> TensorView<'_> {
        let info = &self.tensors[index];
        let low_rank = self.low_rank.get(&index).map_or(&[][..], Vec::as_slice);
        TensorView { info, data: self.pieces[self.piece_of[index]].data(info), low_rank }
    }
}

impl Piece {
    /// The data of one of its tensors.
    pub(super) fn data(&self, info: &TensorInfo) -> &[u8] {
        // `Header::parse` has proven that this lies inside the map, whose length is a `usize`.
        let start = (self.data_offset + info.offset) as usize;
        &self.map[start..start + info.bytes as usize]
    }

    pub(super) fn open(path: &Path) -> Result<(Self, Header), Fault> {
        // Asked of the path before it is opened: opening a pipe would wait for somebody to write to it.
        let kind = fs::metadata(path).map_err(|error| missing(error, path))?;
        if kind.is_dir() {
            return Err(Fault::Directory);
        }
        if !kind.is_file() {
            return Err(Fault::NotAFile);
        }
        let file = File::open(path)?;
        let stat = file.metadata()?;
        if stat.len() == 0 {
            return Err(Fault::EmptyFile);
        }
        // SAFETY: The map is read-only and only ever seen as `&[u8]`, for which any content is valid. What remains is
        // that others may write to the file or shorten it: `verify_unchanged`, run before each pass, is for that.
        let map = Arc::new(unsafe { Mmap::map(&file)? });
        let header = Header::parse(&map, map.len() as u64)?;
        let modified = stat.modified().ok();
        Ok((Self { path: path.to_owned(), file, map, modified, data_offset: header.data_offset }, header))
    }

    fn verify_unchanged(&self) -> Result<(), Fault> {
        let stat = self.file.metadata()?;
        let (was, now) = (self.map.len() as u64, stat.len());
        if now < was {
            return Err(Fault::Shrunk { was, now });
        }
        if now > was || stat.modified().ok() != self.modified {
            return Err(Fault::Changed { was, now });
        }
        Ok(())
    }
}

/// Why `path` cannot be looked at; those who write a model's name or `~` for it are told how models are named.
fn missing(error: io::Error, path: &Path) -> Fault {
    match error.kind() {
        ErrorKind::NotFound if path.components().any(|part| part.as_os_str() == "~") => Fault::Home,
        ErrorKind::NotFound if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("gguf")) => {
            Fault::NoFile
        }
        _ => Fault::Io(error),
    }
}

/// Goes on with `hash` over descriptions and samples of tensors.
fn fingerprint<'a>(mut hash: Sha256, tensors: impl Iterator<Item = (&'a TensorInfo, &'a [u8])>) -> [u8; 32] {
    for (info, data) in tensors {
        hash.update(format!("{} {:?} {}", info.name, info.shape, info.ty));
        let sample = SAMPLE_BYTES.min(data.len());
        hash.update(&data[..sample]);
        hash.update(&data[data.len() - sample..]);
    }
    hash.finalize().into()
}

/// The value of `key` as `read` understands it, or the fault that it is missing or not what is `wanted`.
fn required<T>(
    metadata: &Metadata,
    key: &str,
    wanted: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<T, Fault> {
    let value = metadata.get(key).ok_or_else(|| Fault::MissingKey { key: key.into() })?;
    read(value).ok_or_else(|| Fault::BadKey { key: key.into(), found: value.to_string(), wanted })
}
