//! LoRA adapters: a path goes in, and the model that it is for has a difference of low rank on some of its tensors.
//!
//! The format is that of llama.cpp's `convert_lora_to_gguf.py`, and what is accepted is what src/llama-adapter.cpp accepts. Both factors
//! are small; they are decoded once, while what they multiply out to never exists.

use std::collections::BTreeMap;
use std::path::Path;

use ggraft_kernels::{LowRank, Tensor};

use super::error::{Fault, GgufError};
use super::header::{Header, TensorInfo};
use super::metadata::Metadata;
use super::parent::{Adapter, Parent, Piece};
use super::split::SPLIT_COUNT;
use super::value::Value;
use crate::ggml::CODECS;

/// What an adapter calls itself.
pub(super) const GENERAL_TYPE: &str = "general.type";

impl Parent {
    /// Maps the model at `path` with the LoRA adapters on it, all of them at full strength.
    ///
    /// # Errors
    /// The file at fault and the first [`Fault`] found in it.
    pub fn open_with(
        path: impl AsRef<Path>,
        adapters: impl IntoIterator<Item: AsRef<Path>>,
    ) -> Result<Self, GgufError> {
        let mut parent = Self::open(path)?;
        for path in adapters {
            let path = path.as_ref();
            parent.adapt(path).map_err(|fault| fault.at(path))?;
        }
        Ok(parent)
    }

    /// Puts the adapter at `path` on the model.
    fn adapt(&mut self, path: &Path) -> Result<(), Fault> {
        let (piece, header) = Piece::open(path)?;
        let scale = self.check_kind(&header.metadata)?;
        let Pairs { pairs, left_out } = Pairs::of(&header)?;
        for (name, halves) in pairs {
            let [Some(a), Some(b)] = halves else {
                let missing = if halves[0].is_none() { "lora_a" } else { "lora_b" };
                return Err(Fault::AdapterHalf { name: name.to_owned(), missing });
            };
            let Some(index) = self.position(name) else {
                let model = self.path().to_owned();
                return Err(Fault::AdapterUnknownTensor { name: name.to_owned(), model });
            };
            let low_rank = low_rank(&piece, [a, b], &self.tensors()[index], scale)?;
            self.low_rank.entry(index).or_default().push(low_rank);
        }
        self.adapters.push(Adapter { piece, tensors: header.tensors, left_out });
        Ok(())
    }

    /// Proves that this is an adapter for this kind of model; gives alpha, or `None` if there is none to scale by.
    fn check_kind(&self, metadata: &Metadata) -> Result<Option<f64>, Fault> {
        let shown = |key: &str| metadata.get(key).map_or_else(|| "not given".to_owned(), Value::to_string);
        if metadata.str(GENERAL_TYPE) != Some("adapter") {
            return Err(Fault::NotAnAdapter { found: shown(GENERAL_TYPE) });
        }
        if metadata.str("adapter.type") != Some("lora") {
            return Err(Fault::AdapterKind { found: shown("adapter.type") });
        }
        if metadata.get("adapter.alora.invocation_tokens").is_some() {
            return Err(Fault::ActivatedAdapter);
        }
        if metadata.u64(SPLIT_COUNT).is_some_and(|count| count > 1) {
            return Err(Fault::SplitAdapter);
        }
        if metadata.str("general.architecture") != Some(self.architecture()) {
            let architecture = self.architecture().to_owned();
            return Err(Fault::AdapterArchitecture { found: shown("general.architecture"), architecture });
        }
        let key = "adapter.lora.alpha";
        match metadata.f64(key).filter(|alpha| (*alpha as f32).is_finite()) {
            None => Err(Fault::AdapterAlpha { found: shown(key) }),
            // For llama.cpp, too, an alpha of 0 is one that was never set.
            Some(alpha) => Ok(Some(alpha).filter(|alpha| *alpha != 0.0)),
        }
    }
}

/// An adapter's tensors by the name of the tensor that they change.
struct Pairs<'a> {
    /// `lora_a` and `lora_b`.
    pairs: BTreeMap<&'a str, [Option<&'a TensorInfo>; 2]>,
    /// Norms, which llama.cpp leaves out as well.
    left_out: Vec<String>,
}

impl<'a> Pairs<'a> {
    fn of(header: &'a Header) -> Result<Self, Fault> {
        let mut all = Self { pairs: BTreeMap::new(), left_out: Vec::new() };
        for info in &header.tensors {
            let half = [".lora_a", ".lora_b"].iter().enumerate();
            match half.filter_map(|(i, suffix)| Some((i, info.name.strip_suffix(suffix)?))).next() {
                Some((i, name)) => all.pairs.entry(name).or_default()[i] = Some(info),
                None if info.name.ends_with("_norm.weight") => all.left_out.push(info.name.clone()),
                None => return Err(Fault::AdapterSuffix { name: info.name.clone() }),
            }
        }
        if all.pairs.is_empty() { Err(Fault::EmptyAdapter) } else { Ok(all) }
    }
}

/// The difference that `halves`, the tensors `lora_a` and `lora_b`, make to tensor `of`.
fn low_rank(piece: &Piece, halves: [&TensorInfo; 2], of: &TensorInfo, alpha: Option<f64>) -> Result<LowRank, Fault> {
    let undecodable = halves.into_iter().chain([of]).find(|info| !CODECS.decodes(info.ty));
    if let Some(TensorInfo { name, ty, .. }) = undecodable {
        return Err(Fault::AdapterType { name: name.clone(), ty: *ty });
    }
    let [a, b] = halves;
    let misfit = || {
        let shapes = format!("`lora_a` {:?} and `lora_b` {:?}, which do not make {:?},", a.shape, b.shape, of.shape);
        Fault::AdapterShape { name: of.name.clone(), shapes }
    };
    let [model_shape, a_shape, b_shape] = [of, a, b].map(four);
    let rank = b_shape[0];
    // llama.cpp looks rows of `lora_a` up by token and multiplies `lora_b` from the other side (src/llama-graph.cpp `build_inp_embd`).
    let looked_up = of.name.ends_with("token_embd.weight");
    let want = if looked_up {
        [[rank, model_shape[1], 1, 1], [rank, model_shape[0], 1, 1]]
    } else {
        let [columns, rows, matrices, more] = model_shape;
        [[columns, rank, matrices, more], [rank, rows, matrices, more]]
    };
    if of.shape.len() < 2 || [a_shape, b_shape] != want || looked_up && of.shape.len() > 2 {
        return Err(misfit());
    }
    let limit = model_shape[0].max(model_shape[1]);
    if rank > limit {
        return Err(Fault::AdapterRank { name: of.name.clone(), rank, limit });
    }
    let values = |info: &TensorInfo| Tensor::new(info.ty, piece.data(info), &[]).values(&CODECS);
    let (mut a, mut b) = (values(a), values(b));
    let (rank, width) = (rank as usize, model_shape[0] as usize);
    if looked_up {
        (a, b) = (transposed(&b, rank), a);
    }
    let scale = alpha.map_or(1.0, |alpha| alpha as f32 / rank as f32);
    LowRank::new(rank, width, a, b, scale).ok_or_else(misfit)
}

/// The shape with the dimensions that ggml adds.
fn four(info: &TensorInfo) -> [u64; 4] {
    let ne = |i: usize| info.shape.get(i).copied().unwrap_or(1);
    [ne(0), ne(1), ne(2), ne(3)]
}

/// Rows of `width` values turned to columns.
fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| values.iter().skip(column).step_by(width).copied()).collect()
}
