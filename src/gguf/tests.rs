//! Tiny models for tests: made in memory, written to a temporary folder, opened as parents.

mod compatible;
mod header;
mod parent;
mod value;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use ggraft_kernels::GgmlType;
use tempfile::TempDir;

use super::{Fault, Header, Metadata, Parent, Strings, TensorInfo, encode_header};

/// A model that a test can bend before it is written.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) alignment: u32,
}

impl Tiny {
    /// [`Tiny::llama`] under another architecture's name.
    pub(crate) fn called(arch: &str) -> Self {
        let mut tiny = Self::llama();
        let mut metadata = Metadata::default();
        for (key, value) in tiny.metadata.iter() {
            metadata.insert(&key.replace("llama.", &format!("{arch}.")), value.clone());
        }
        metadata.insert("general.architecture", arch);
        tiny.metadata = metadata;
        tiny
    }

    /// A llama of 2 blocks, 32 wide, 4 heads (2 of them for keys and values), 8 tokens, tied output.
    pub(crate) fn llama() -> Self {
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", "llama");
        metadata.insert("llama.block_count", 2u32);
        metadata.insert("llama.context_length", 64u32);
        metadata.insert("llama.embedding_length", 32u32);
        metadata.insert("llama.feed_forward_length", 64u32);
        metadata.insert("llama.attention.head_count", 4u32);
        metadata.insert("llama.attention.head_count_kv", 2u32);
        metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        metadata.insert("tokenizer.ggml.model", "gpt2");
        metadata.insert("tokenizer.ggml.pre", "qwen2");
        let tokens: Vec<_> = (0..8u8).map(|id| vec![b't', b'0' + id]).collect();
        metadata.insert("tokenizer.ggml.tokens", tokens.iter().map(Vec::as_slice).collect::<Strings>());
        metadata.insert("tokenizer.ggml.eos_token_id", 7u32);
        let mut tiny = Self { metadata, tensors: Vec::new(), alignment: 32 };
        tiny.add("token_embd.weight", &[32, 8], GgmlType::F16);
        for block in 0..2 {
            tiny.add(&format!("blk.{block}.attn_norm.weight"), &[32], GgmlType::F32);
            tiny.add(&format!("blk.{block}.attn_q.weight"), &[32, 32], GgmlType::Q8_0);
            tiny.add(&format!("blk.{block}.ffn_down.weight"), &[64, 32], GgmlType::Q4_0);
        }
        tiny.add("output_norm.weight", &[32], GgmlType::F32);
        tiny
    }

    pub(crate) fn add(&mut self, name: &str, shape: &[u64], ty: GgmlType) {
        self.tensors.push(TensorInfo::new(name, shape, ty).unwrap());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.name != name);
    }

    /// The whole file; tensor `i` is filled with the byte `i + 1`, padding with zeros.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let encoded = encode_header(&self.metadata, &self.tensors, self.alignment).unwrap();
        let mut bytes = encoded.bytes;
        let start = bytes.len();
        bytes.resize(start + encoded.data_len as usize, 0);
        for (fill, tensor) in (1..).zip(&encoded.tensors) {
            let at = start + tensor.offset as usize;
            bytes[at..at + tensor.bytes as usize].fill(fill);
        }
        bytes
    }

    pub(crate) fn write(&self, folder: &TempDir, name: &str) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, self.bytes()).unwrap();
        path
    }

    pub(crate) fn open(&self, folder: &TempDir, name: &str) -> Parent {
        Parent::open(self.write(folder, name)).unwrap()
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The metadata of a file that is all header.
fn parse_metadata(bytes: &[u8]) -> Metadata {
    Header::parse(bytes, bytes.len() as u64).unwrap().metadata
}

/// The fault found in `path`, after checking that the message names the file and stays on one line.
fn fault_in(path: &Path) -> Fault {
    let error = Parent::open(path).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with(&format!("`{}`: ", error.path.display())), "{message}");
    assert!(!message.contains('\n'), "{message}");
    error.fault
}
