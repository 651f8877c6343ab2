//! Which type a merged tensor is written in.

use ggraft_kernels::GgmlType;

use super::PlanError;
use crate::ggml::CODECS;
use crate::gguf::TensorInfo;
use crate::recipe::OutType;

/// Matrices that llama.cpp keeps in full precision whatever the rest is quantized to (llama-quant.cpp `tensor_allows_quantization`):
/// routers and small convolutions. The name is matched as a part.
const FULL_PRECISION: [&str; 6] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ssm_conv1d.weight",
    "attn_rel_b.weight",
    "position_embd.weight",
    "token_types.weight",
];

/// The type of a blend of tensors like `model`, one of its sources. Vectors and what must not be quantized are F32; a row that is not
/// whole blocks falls back to F16, as in llama.cpp's own quantizer.
pub(super) fn destination(model: &TensorInfo, out: OutType) -> Result<GgmlType, PlanError> {
    if model.shape.len() == 1 || FULL_PRECISION.iter().any(|part| model.name.contains(part)) {
        return Ok(GgmlType::F32);
    }
    let ty = match out {
        OutType::Q8_0 => GgmlType::Q8_0,
        OutType::F16 => GgmlType::F16,
        OutType::BF16 => GgmlType::BF16,
        OutType::F32 => GgmlType::F32,
        OutType::Same => model.ty,
    };
    let row = usize::try_from(model.shape[0]).unwrap_or(usize::MAX);
    let ty = if ty.row_size(row).is_some() { ty } else { GgmlType::F16 };
    if CODECS.encodes(ty) {
        Ok(ty)
    } else {
        Err(PlanError::DestinationType { tensor: model.name.clone(), ty: ty.name() })
    }
}
