//! ggml's own block codecs, as the functions that the merge kernels take for types without code of their own.
//!
//! Part of the llama.cpp boundary: the calls below are to ggml.h and nothing else.

use ggraft_kernels::{Codecs, GgmlType};
use llama_cpp_sys_2 as sys;

/// ggml's conversions (`ggml_get_type_traits(..)->to_float`, `ggml_quantize_chunk`).
pub const CODECS: Codecs = Codecs { decode, encode, can_decode, can_encode };

fn to_float(ty: GgmlType) -> sys::ggml_to_float_t {
    // SAFETY: the traits table is static in ggml and has an entry for every number below GGML_TYPE_COUNT, which `GgmlType` stays under.
    unsafe { (*sys::ggml_get_type_traits(ty as sys::ggml_type)).to_float }
}

fn can_decode(ty: GgmlType) -> bool {
    to_float(ty).is_some()
}

fn can_encode(ty: GgmlType) -> bool {
    // SAFETY: both functions only look their argument up in tables that cover every `GgmlType`.
    let (encoder, needs_imatrix) = unsafe {
        let traits = sys::ggml_get_type_traits(ty as sys::ggml_type);
        ((*traits).from_float_ref, sys::ggml_quantize_requires_imatrix(ty as sys::ggml_type))
    };
    encoder.is_some() && !needs_imatrix
}

fn decode(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), ty.row_size(out.len()), "blocks of {ty}");
    let to_float = to_float(ty).expect("planners ask `can_decode` first");
    // SAFETY: `bytes` holds exactly the blocks of `out.len()` elements, which is all that `to_float` reads and writes.
    unsafe { to_float(bytes.as_ptr().cast(), out.as_mut_ptr(), out.len() as i64) }
}

fn encode(ty: GgmlType, values: &[f32], out: &mut [u8]) {
    assert_eq!(Some(out.len()), ty.row_size(values.len()), "blocks of {ty}");
    // SAFETY: one row of `values.len()` elements is read, and exactly its blocks are written; no importance matrix is passed, and
    // planners ask `can_encode` whether the type can do without.
    let written = unsafe {
        sys::ggml_quantize_chunk(
            ty as sys::ggml_type,
            values.as_ptr(),
            out.as_mut_ptr().cast(),
            0,
            1,
            values.len() as i64,
            std::ptr::null(),
        )
    };
    assert_eq!(written, out.len(), "ggml wrote another number of bytes for {ty}");
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn type_table_is_that_of_ggml() {
        for &ty in GgmlType::ALL {
            // SAFETY: as in `to_float`; names are static C strings.
            let (traits, name) = unsafe {
                let traits = *sys::ggml_get_type_traits(ty as sys::ggml_type);
                (traits, CStr::from_ptr(traits.type_name).to_str().unwrap())
            };
            assert_eq!(ty.name(), name);
            assert_eq!((ty.block_size() as i64, ty.type_size()), (traits.blck_size, traits.type_size), "{ty}");
        }
        let known = |id: &u32| GgmlType::from_id(*id).is_some();
        let removed = [4, 5, 31, 32, 33, 36, 37, 38];
        let want: Vec<u32> = (0..sys::GGML_TYPE_COUNT).filter(|id| !removed.contains(id)).collect();
        assert_eq!((0..1000).filter(known).collect::<Vec<u32>>(), want, "types that llama.cpp can load");
    }

    /// Values over several magnitudes, deterministic, a multiple of every block size.
    fn sample() -> Vec<f32> {
        (0..1024u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0) * (1 + i / 100) as f32)
            .collect()
    }

    /// Numbers that repeat nowhere, from -1 to 1.
    fn noise(seed: u64, n: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Weights as models have them, and what they never have: blocks of zeros, of one value, of one sign, very large and very small ones.
    fn weights() -> Vec<f32> {
        let mut weights = Vec::new();
        for seed in 0..64 {
            let scale = [0.02, 1.0, 1e-6, 3000.0][seed as usize % 4];
            weights.extend(noise(seed, 1024).iter().zip(noise(seed + 1000, 1024)).map(|(a, b)| a * b * scale));
        }
        let zeros = [0.0; 300];
        weights.extend(zeros.iter().chain(&[0.25; 300]).chain(&[-0.25; 300]).chain(&[-0.0; 124]));
        weights.extend(noise(7, 1024).iter().map(|v| v.abs() + 0.1));
        weights.extend(noise(8, 1024).iter().map(|v| -v.abs() - 0.1));
        weights.extend(noise(9, 1024).iter().enumerate().map(|(i, v)| if i % 37 == 0 { *v } else { 0.0 }));
        weights.extend(noise(10, 1024).iter().map(|v| v * 1e-30));
        weights
    }

    /// Converts through a one-term sum.
    fn one(source: &[u8], from: GgmlType, to: GgmlType, elements: usize) -> Vec<u8> {
        use ggraft_kernels::{Program, Source, Term, run};
        let program = Program::Sum { terms: vec![Term { source: 0, coefficient: 1.0 }], constant: 0.0 };
        let mut out = vec![0; to.row_size(elements).unwrap()];
        run(&program, &[Source::new(from, source)], to, 0..elements, &mut out, &CODECS);
        out
    }

    fn f32_bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn built_in_decoders_equal_those_of_ggml() {
        let elements = 64 * 1024;
        for &ty in GgmlType::ALL.iter().filter(|ty| can_decode(**ty)) {
            // Any bits are blocks; scales that are no numbers are none in ggml's either.
            let bytes: Vec<u8> =
                noise(3, ty.row_size(elements).unwrap()).iter().map(|v| (v * 1e6) as i32 as u8).collect();
            let mut theirs = vec![0f32; elements];
            decode(ty, &bytes, &mut theirs);
            let ours = one(&bytes, ty, GgmlType::F32, elements);
            for (i, (ours, theirs)) in ours.as_chunks().0.iter().zip(theirs).enumerate() {
                let ours = f32::from_le_bytes(*ours);
                // A sum of one term begins at zero, which takes the sign off a zero.
                let same = ours.to_bits() == theirs.to_bits() || ours == theirs || ours.is_nan() && theirs.is_nan();
                assert!(same, "{ty}, element {i}: {ours} is not {theirs}");
            }
        }
    }

    #[test]
    fn built_in_encoders_equal_those_of_ggml() {
        // A sum of one term begins at zero, which takes the sign off a zero.
        let values: Vec<f32> = weights().iter().map(|v| v + 0.0).collect();
        let source = f32_bytes(&values);
        for &ty in GgmlType::ALL.iter().filter(|ty| can_encode(**ty) && can_decode(**ty)) {
            let mut theirs = vec![0; ty.row_size(values.len()).unwrap()];
            encode(ty, &values, &mut theirs);
            let ours = one(&source, GgmlType::F32, ty, values.len());
            let block = ours.chunks(ty.type_size()).zip(theirs.chunks(ty.type_size())).position(|(a, b)| a != b);
            let differ = block.map(|b| &values[b * ty.block_size()..(b + 1) * ty.block_size()]);
            assert!(differ.is_none(), "{ty}, block {block:?}: {differ:?}");
        }
    }

    #[test]
    fn every_type_but_integers_can_be_a_source() {
        let integers = GgmlType::ALL.iter().filter(|ty| ty.is_integer());
        let cannot: Vec<_> = GgmlType::ALL.iter().filter(|ty| !CODECS.decodes(**ty)).collect();
        // Q8_1 and Q8_K are formats of intermediate activations, F64 is never a weight: ggml has no `to_float` for them.
        let others = [&GgmlType::Q8_1, &GgmlType::Q8_K, &GgmlType::F64];
        let want: Vec<_> = others[..2].iter().copied().chain(integers).chain([others[2]]).collect();
        let sorted = |mut v: Vec<&'static GgmlType>| {
            v.sort();
            v
        };
        assert_eq!(sorted(cannot), sorted(want));
    }

    #[test]
    fn encoders_fill_their_blocks() {
        let values = sample();
        for &ty in GgmlType::ALL.iter().filter(|ty| can_encode(**ty) && can_decode(**ty)) {
            let mut bytes = vec![0; ty.row_size(values.len()).unwrap()];
            encode(ty, &values, &mut bytes);
            let mut back = vec![0f32; values.len()];
            decode(ty, &bytes, &mut back);
            let error: f32 = values.iter().zip(&back).map(|(v, b)| (v - b).powi(2)).sum();
            let power: f32 = values.iter().map(|v| v.powi(2)).sum();
            // One-bit types keep little more than the sign; all others far more.
            assert!(error < 0.7 * power, "{ty}: {error} of {power}");
        }
    }
}
