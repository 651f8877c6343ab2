//! Every way in which a header can be bad, one test each, named after the [`Fault`]; then damage at every byte.

use ggraft_kernels::GgmlType;

use super::{Fault, Tiny};
use crate::gguf::Header;
use crate::gguf::metadata::{MAX_KEY_LEN, MAX_KEYS};

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Header bytes written field by field, so that each field can be wrong.
struct Raw(Vec<u8>);

impl Raw {
    fn new(tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn string(self, bytes: &[u8]) -> Self {
        self.u64(bytes.len() as u64).bytes(bytes)
    }

    fn tensor(self, name: &[u8], shape: &[u64], ty: u32, offset: u64) -> Self {
        let start = self.string(name).u32(shape.len() as u32);
        shape.iter().fold(start, |raw, &ne| raw.u64(ne)).u32(ty).u64(offset)
    }

    /// Parsed as a file with 4096 bytes of zeros behind the header.
    fn parse(self) -> Result<Header, Fault> {
        let bytes = self.bytes(&[0; 4096]).0;
        Header::parse(&bytes, bytes.len() as u64)
    }

    fn fault(self) -> Fault {
        self.parse().unwrap_err()
    }
}

/// Checks the fault and that its message holds `told`.
macro_rules! assert_fault {
    ($fault:expr, $pattern:pat $(if $guard:expr)?, $told:expr) => {
        let fault: Fault = $fault;
        assert!(matches!(&fault, $pattern $(if $guard)?), "{fault:?}");
        assert!(fault.to_string().contains($told), "`{fault}` does not tell `{}`", $told);
    };
}

fn parse(bytes: &[u8]) -> Result<Header, Fault> {
    Header::parse(bytes, bytes.len() as u64)
}

#[test]
fn every_type_of_the_table_is_accepted() {
    for &ty in GgmlType::ALL {
        let Raw(bytes) = Raw::new(1, 0).tensor(b"w", &[256, 2], ty as u32, 0);
        let header = Header::parse(&bytes, 1 << 20).unwrap();
        assert_eq!(header.tensors[0].ty, ty);
        assert_eq!(header.tensors[0].row_bytes(), ty.row_size(256).unwrap() as u64);
        assert_eq!(header.tensors[0].rows(), 2);
        assert_eq!(header.tensors[0].elements(), 512);
    }
}

#[test]
fn any_power_of_two_is_an_alignment() {
    for alignment in [1u32, 2, 16, 32, 64, 4096] {
        let tiny = Tiny { alignment, ..Tiny::llama() };
        let bytes = tiny.bytes();
        let header = parse(&bytes).unwrap();
        assert_eq!(header.alignment, u64::from(alignment));
        assert_eq!(header.data_offset % u64::from(alignment), 0);
        assert!(header.tensors.iter().all(|tensor| tensor.offset % u64::from(alignment) == 0));
    }
}

#[test]
fn version_2_reads_as_version_3() {
    let mut bytes = Tiny::llama().bytes();
    let third = parse(&bytes).unwrap();
    bytes[4] = 2;
    assert_eq!(parse(&bytes).unwrap(), Header { version: 2, ..third });
}

#[test]
fn gaps_between_tensors_and_any_order_are_accepted() {
    let raw = Raw::new(2, 0).tensor(b"b", &[8], 0, 1024).tensor(b"a", &[8], 0, 0);
    assert_eq!(raw.parse().unwrap().tensors[0].offset, 1024);
}

#[test]
fn empty_file() {
    assert_fault!(parse(b"").unwrap_err(), Fault::EmptyFile, "0 bytes");
}

#[test]
fn git_lfs_pointer() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    assert_fault!(parse(pointer).unwrap_err(), Fault::GitLfsPointer, "git lfs pull");
}

#[test]
fn html_page() {
    for page in [&b"<!DOCTYPE html>\n<html>"[..], b"\n  <HTML lang=\"en\">"] {
        assert_fault!(parse(page).unwrap_err(), Fault::HtmlPage, "raw file");
    }
}

#[test]
fn safetensors() {
    let file = [&20u64.to_le_bytes()[..], b"{\"__metadata__\":{}} "].concat();
    assert_fault!(parse(&file).unwrap_err(), Fault::Safetensors, "convert_hf_to_gguf.py");
}

#[test]
fn a_file_of_123_tensors_is_not_taken_for_safetensors() {
    let raw = (0..123u8).fold(Raw::new(123, 0), |raw, i| raw.tensor(&[b'w', i + 1], &[1], 0, 32 * u64::from(i)));
    assert_eq!(raw.parse().unwrap().tensors.len(), 123);
}

#[test]
fn wrong_magic() {
    assert_fault!(parse(b"ggjt\x03\0\0\0").unwrap_err(), Fault::WrongMagic { .. }, "`ggjt`");
    assert_fault!(parse(b"PK\x03\x04rest").unwrap_err(), Fault::WrongMagic { .. }, "`PK\\x03\\x04`");
}

#[test]
fn big_endian() {
    let file = [&b"GGUF"[..], &3u32.to_be_bytes(), &[0; 16]].concat();
    assert_fault!(parse(&file).unwrap_err(), Fault::BigEndian, "gguf_convert_endian.py");
}

#[test]
fn version_one() {
    let file = [&b"GGUF"[..], &1u32.to_le_bytes(), &[0; 16]].concat();
    assert_fault!(parse(&file).unwrap_err(), Fault::VersionOne, "convert the model again");
}

#[test]
fn unsupported_version() {
    for version in [0u32, 4, 0x0001_0003] {
        let file = [&b"GGUF"[..], &version.to_le_bytes(), &[0; 16]].concat();
        assert_fault!(parse(&file).unwrap_err(), Fault::UnsupportedVersion { .. }, &version.to_string());
    }
}

#[test]
fn truncated_header() {
    assert_fault!(
        parse(b"GGUF\x03\0\0\0\0").unwrap_err(),
        Fault::TruncatedHeader { at: 8, need: 8, have: 1, .. },
        "byte 8"
    );
    assert_fault!(parse(b"GG").unwrap_err(), Fault::TruncatedHeader { at: 0, .. }, "magic");
}

#[test]
fn key_count_absurd() {
    assert_fault!(Raw::new(0, u64::MAX).fault(), Fault::KeyCountAbsurd { count: u64::MAX, limit: 292 }, "292");
    let many = Raw::new(0, MAX_KEYS + 1).bytes(&[0; 1 << 20]);
    assert_fault!(many.fault(), Fault::KeyCountAbsurd { limit: MAX_KEYS, .. }, "at most 4096");
}

#[test]
fn tensor_count_absurd() {
    assert_fault!(Raw::new(u64::MAX, 0).fault(), Fault::TensorCountAbsurd { count: u64::MAX, limit: 124 }, "124");
    assert_fault!(Raw::new(125, 0).fault(), Fault::TensorCountAbsurd { .. }, "125");
}

#[test]
fn key_length() {
    assert_fault!(Raw::new(0, 1).string(b"").u32(U32).u32(1).fault(), Fault::KeyLength { len: 0, .. }, "0 bytes");
    let long = vec![b'k'; MAX_KEY_LEN as usize + 1];
    let fault = Raw::new(0, 1).string(&long).u32(U32).u32(1).fault();
    assert_fault!(fault, Fault::KeyLength { len: 65536, .. }, "1 to 65535");
}

#[test]
fn string_length() {
    let raw = Raw::new(0, 1).string(b"k").u32(STRING).u64(u64::MAX);
    assert_fault!(raw.fault(), Fault::StringLength { len: u64::MAX, have: 4096, .. }, "`k`");
    assert_fault!(Raw::new(0, 1).u64(1 << 40).fault(), Fault::StringLength { .. }, "metadata key");
}

#[test]
fn array_length() {
    for id in [0, U32, 10, 7, STRING] {
        for len in [u64::MAX, u64::MAX / 8 + 1, 4097] {
            let raw = Raw::new(0, 1).string(b"k").u32(ARRAY).u32(id).u64(len);
            assert_fault!(raw.fault(), Fault::ArrayLength { have: 4096, .. }, &len.to_string());
        }
    }
}

#[test]
fn name_not_text() {
    let raw = Raw::new(0, 1).string(b"k\xff").u32(U32).u32(1);
    assert_fault!(raw.fault(), Fault::NameNotText { .. }, "metadata key that is not text: `k\\xff`");
    let raw = Raw::new(1, 0).tensor(b"a\0b", &[1], 0, 0);
    assert_fault!(raw.fault(), Fault::NameNotText { .. }, "tensor name");
}

#[test]
fn unknown_value_type() {
    assert_fault!(Raw::new(0, 1).string(b"k").u32(13).fault(), Fault::UnknownValueType { id: 13, .. }, "`k`");
    let raw = Raw::new(0, 1).string(b"k").u32(ARRAY).u32(77).u64(0);
    assert_fault!(raw.fault(), Fault::UnknownValueType { id: 77, .. }, "77");
}

#[test]
fn nested_array() {
    let raw = Raw::new(0, 1).string(b"k").u32(ARRAY).u32(ARRAY).u64(1);
    assert_fault!(raw.fault(), Fault::NestedArray { .. }, "`k`");
}

#[test]
fn duplicate_key() {
    let raw = Raw::new(0, 2).string(b"k").u32(U32).u32(1).string(b"k").u32(U32).u32(1);
    assert_fault!(raw.fault(), Fault::DuplicateKey { .. }, "`k` twice");
}

#[test]
fn bad_key() {
    let raw = Raw::new(0, 1).string(b"general.alignment").u32(10).u64(32);
    assert_fault!(raw.fault(), Fault::BadKey { .. }, "`general.alignment` = 32, must be a `u32`");
}

#[test]
fn alignment_not_power_of_two() {
    for alignment in [0, 24] {
        let raw = Raw::new(0, 1).string(b"general.alignment").u32(U32).u32(alignment);
        assert_fault!(raw.fault(), Fault::AlignmentNotPowerOfTwo { .. }, &format!("= {alignment},"));
    }
}

#[test]
fn tensor_name_length() {
    let longest = Raw::new(1, 0).tensor(&[b'w'; 63], &[1], 0, 0);
    assert_eq!(longest.parse().unwrap().tensors[0].name.len(), 63);
    let raw = Raw::new(1, 0).tensor(&[b'w'; 64], &[1], 0, 0);
    assert_fault!(raw.fault(), Fault::TensorNameLength { len: 64, .. }, "1 to 63");
    assert_fault!(Raw::new(1, 0).tensor(b"", &[1], 0, 0).fault(), Fault::TensorNameLength { len: 0, .. }, "0 bytes");
}

#[test]
fn dimension_count() {
    assert_fault!(Raw::new(1, 0).tensor(b"w", &[], 0, 0).fault(), Fault::DimensionCount { count: 0, .. }, "`w`");
    assert_fault!(Raw::new(1, 0).tensor(b"w", &[1; 5], 0, 0).fault(), Fault::DimensionCount { count: 5, .. }, "1 to 4");
    let raw = Raw::new(1, 0).string(b"w").u32(u32::MAX);
    assert_fault!(raw.fault(), Fault::DimensionCount { .. }, "4294967295");
}

#[test]
fn zero_dimension() {
    assert_fault!(Raw::new(1, 0).tensor(b"w", &[8, 0], 0, 0).fault(), Fault::ZeroDimension { .. }, "[8, 0]");
}

#[test]
fn shape_overflow() {
    let shapes: [&[u64]; 4] = [&[u64::MAX], &[1 << 32, 1 << 32], &[1 << 62], &[1 << 21, 1 << 21, 1 << 21, 2]];
    for shape in shapes {
        let raw = Raw::new(1, 0).tensor(b"w", shape, 0, 0);
        assert_fault!(raw.fault(), Fault::ShapeOverflow { .. }, &format!("{shape:?}"));
    }
}

#[test]
fn partial_block() {
    let raw = Raw::new(1, 0).tensor(b"w", &[48, 2], GgmlType::Q8_0 as u32, 0);
    assert_fault!(
        raw.fault(),
        Fault::PartialBlock { ne0: 48, .. },
        "rows of 48 elements, must be a multiple of 32 for q8_0"
    );
}

#[test]
fn unknown_tensor_type() {
    assert_fault!(
        Raw::new(1, 0).tensor(b"w", &[32], 4, 0).fault(),
        Fault::UnknownTensorType { id: 4, .. },
        "has removed"
    );
    let raw = Raw::new(1, 0).tensor(b"w", &[32], 4096, 0);
    assert_fault!(raw.fault(), Fault::UnknownTensorType { id: 4096, .. }, "newer than ggraft");
}

#[test]
fn tensor_misaligned() {
    let raw = Raw::new(1, 0).tensor(b"w", &[8], 0, 16);
    assert_fault!(raw.fault(), Fault::TensorMisaligned { offset: 16, alignment: 32, .. }, "multiple of 32");
}

#[test]
fn tensor_outside() {
    for offset in [4096, u64::MAX - 31] {
        let raw = Raw::new(1, 0).tensor(b"w", &[8], 0, offset);
        assert_fault!(raw.fault(), Fault::TensorOutside { .. }, "`w`");
    }
    let whole = Tiny::llama().bytes();
    let tail = 32 * 4;
    let cut = &whole[..whole.len() - tail];
    assert_fault!(parse(cut).unwrap_err(), Fault::TensorOutside { .. }, "`output_norm.weight`");
}

#[test]
fn tensors_overlap() {
    let raw = Raw::new(2, 0).tensor(b"b", &[8], 0, 32).tensor(b"a", &[9], 0, 0);
    assert_fault!(raw.fault(), Fault::TensorsOverlap { at: 32, .. }, "`a` and `b`");
    let raw = Raw::new(2, 0).tensor(b"a", &[8], 0, 0).tensor(b"b", &[8], 0, 0);
    assert_fault!(raw.fault(), Fault::TensorsOverlap { at: 0, .. }, "offset 0");
}

#[test]
fn duplicate_tensor() {
    let raw = Raw::new(2, 0).tensor(b"w", &[8], 0, 0).tensor(b"w", &[8], 0, 32);
    assert_fault!(raw.fault(), Fault::DuplicateTensor { .. }, "`w` twice");
}

#[test]
fn header_cut_at_any_byte_is_refused() {
    let whole = Tiny::llama().bytes();
    let header_len = parse(&whole).unwrap().data_offset as usize;
    for len in 0..header_len {
        assert!(parse(&whole[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn header_with_any_byte_changed_is_refused_or_safe_to_slice() {
    let whole = Tiny::llama().bytes();
    let header_len = parse(&whole).unwrap().data_offset as usize;
    let mut refused = 0;
    for at in 0..header_len {
        for flip in [0x01, 0x04, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            match parse(&bytes) {
                Err(fault) => {
                    assert!(!fault.to_string().contains('\n'), "{fault}");
                    refused += 1;
                }
                Ok(header) => {
                    for tensor in &header.tensors {
                        let start = (header.data_offset + tensor.offset) as usize;
                        assert!(bytes.get(start..start + tensor.bytes as usize).is_some(), "{tensor:?}");
                    }
                }
            }
        }
    }
    assert!(refused > header_len, "only {refused} of {} changes were noticed", 4 * header_len);
}
