//! Headers that are written: laid out as llama.cpp wants them, read back as they were described.

use ggraft_kernels::GgmlType;

use super::{Fault, Tiny, parse_metadata};
use crate::gguf::{Header, Metadata, TensorInfo, encode_header};

#[test]
fn encoded_header_parses_to_what_was_encoded() {
    let tiny = Tiny { alignment: 64, ..Tiny::llama() };
    let encoded = encode_header(&tiny.metadata, &tiny.tensors, tiny.alignment).unwrap();
    let file_len = encoded.bytes.len() as u64 + encoded.data_len;
    let header = Header::parse(&encoded.bytes, file_len).unwrap();
    let mut metadata = tiny.metadata.clone();
    metadata.insert("general.alignment", 64u32);
    let wanted = Header {
        version: 3,
        alignment: 64,
        metadata,
        tensors: encoded.tensors,
        data_offset: encoded.bytes.len() as u64,
    };
    assert_eq!(header, wanted);
}

#[test]
fn alignment_key_is_dropped_at_the_default() {
    let mut tiny = Tiny::llama();
    tiny.metadata.insert("general.alignment", 4096u32);
    assert_eq!(parse_metadata(&tiny.bytes()).get("general.alignment"), None);
}

#[test]
fn tensors_are_laid_out_as_llama_cpp_demands() {
    let tiny = Tiny::llama();
    let encoded = encode_header(&tiny.metadata, &tiny.tensors, 32).unwrap();
    let end = encoded.tensors.iter().fold(0, |end, tensor| {
        assert_eq!(tensor.offset, end, "{}", tensor.name);
        end + tensor.bytes.next_multiple_of(32)
    });
    assert_eq!(end, encoded.data_len);
}

#[test]
fn encoding_refuses_what_parsing_refuses() {
    let tensor = TensorInfo::new("w", [32, 1], GgmlType::F32).unwrap();
    let encode =
        |tensors: &[TensorInfo], alignment| encode_header(&Metadata::default(), tensors, alignment).unwrap_err();
    assert!(matches!(encode(&[], 24), Fault::AlignmentNotPowerOfTwo { alignment: 24 }));
    assert!(matches!(encode(&[tensor.clone(), tensor.clone()], 32), Fault::DuplicateTensor { .. }));
    let long = TensorInfo { name: "w".repeat(64), ..tensor.clone() };
    assert!(matches!(encode(&[long], 32), Fault::TensorNameLength { len: 64, .. }));
    let huge = |name: &str| TensorInfo { name: name.into(), shape: vec![1 << 61], ..tensor.clone() };
    let halves = ["a", "b", "c", "d"].map(|name| TensorInfo { ty: GgmlType::I8, shape: vec![1 << 62], ..huge(name) });
    assert!(matches!(encode(&[huge("a")], 32), Fault::ShapeOverflow { .. }));
    assert!(matches!(encode(&halves, 32), Fault::ShapeOverflow { name, .. } if name == "d"));
    let mut metadata = Metadata::default();
    metadata.insert("", 1u32);
    assert!(matches!(encode_header(&metadata, &[], 32).unwrap_err(), Fault::KeyLength { len: 0, .. }));
}
