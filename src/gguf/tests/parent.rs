//! Opening models: whole files, split sets, and files that are not what they should be.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use ggraft_kernels::GgmlType;
use tempfile::TempDir;

use super::{Fault, Tiny, fault_in, folder};
use crate::gguf::{Parent, Strings, block_of};

/// The tiny llama as three pieces, as `llama-gguf-split --no-tensor-first-split` writes them; `bend` may spoil a piece.
fn write_set(folder: &TempDir, bend: impl Fn(usize, &mut Tiny)) -> Vec<PathBuf> {
    let whole = Tiny::llama();
    let pieces = (0..3usize).map(|no| {
        let mut piece = whole.clone();
        piece.tensors = match no {
            0 => Vec::new(),
            1 => whole.tensors[..4].to_vec(),
            _ => whole.tensors[4..].to_vec(),
        };
        if no > 0 {
            piece.metadata = Default::default();
        }
        piece.metadata.insert("split.no", no as u16);
        piece.metadata.insert("split.count", 3u16);
        piece.metadata.insert("split.tensors.count", whole.tensors.len() as i32);
        bend(no, &mut piece);
        piece.write(folder, &format!("tiny-{:05}-of-00003.gguf", no + 1))
    });
    pieces.collect()
}

#[test]
fn a_file_opens_with_its_tensors_in_place() {
    let folder = folder();
    let parent = Tiny::llama().open(&folder, "tiny.gguf");
    assert_eq!(parent.architecture(), "llama");
    assert_eq!(parent.block_count(), 2);
    assert_eq!(parent.arch_u32("attention.head_count_kv"), Some(2));
    assert_eq!(parent.tensors().len(), 8);
    assert_eq!(parent.size_bytes(), fs::metadata(parent.path()).unwrap().len());
    assert_eq!(parent.parameters(), 32 * 8 + 2 * (32 + 32 * 32 + 64 * 32) + 32);
    for (fill, info) in (1u8..).zip(parent.tensors()) {
        let view = parent.tensor(&info.name).unwrap();
        assert_eq!(view.data, vec![fill; info.bytes as usize], "{}", info.name);
    }
    assert!(parent.tensor("output.weight").is_none());
    parent.verify_unchanged().unwrap();
}

#[test]
fn a_split_set_opens_as_one_model() {
    let folder = folder();
    let paths = write_set(&folder, |_, _| ());
    let parent = Parent::open(&paths[0]).unwrap();
    let whole = Tiny::llama().open(&folder, "tiny.gguf");
    assert_eq!(parent.metadata(), whole.metadata(), "`split.*` is gone");
    assert_eq!(parent.path(), paths[0]);
    assert_eq!(parent.size_bytes(), paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>());
    let names = |parent: &Parent| parent.tensors().iter().map(|info| info.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&parent), names(&whole));
    assert_eq!(parent.tensor("blk.1.attn_q.weight").unwrap().data, [2; 32 * 34], "the second of its own piece");
}

#[test]
fn encoder_blocks_count_as_blocks() {
    let folder = folder();
    let mut tiny = Tiny::llama();
    for tensor in &mut tiny.tensors {
        tensor.name = tensor.name.replace("blk.", "enc.blk.");
    }
    assert_eq!(tiny.open(&folder, "t5.gguf").block_count(), 2);
}

#[test]
fn block_numbers_come_from_names() {
    assert_eq!(block_of("blk.7.attn_q.weight"), Some(7));
    assert_eq!(block_of("blk.x.attn_q.weight"), None);
    assert_eq!(block_of("output.weight"), None);
}

#[test]
fn io() {
    let fault = fault_in(&folder().path().join("none.gguf"));
    assert!(matches!(fault, Fault::Io(_)), "{fault:?}");
}

#[test]
fn no_file() {
    let fault = fault_in(&folder().path().join("mistralai/Mistral-7B-v0.1"));
    assert!(matches!(fault, Fault::NoFile), "{fault:?}");
}

#[test]
fn home() {
    let fault = fault_in(&folder().path().join("~/none.gguf"));
    assert!(matches!(fault, Fault::Home), "{fault:?}");
}

#[test]
fn directory() {
    let fault = fault_in(folder().path());
    assert!(matches!(fault, Fault::Directory), "{fault:?}");
}

#[cfg(unix)]
#[test]
fn not_a_file() {
    let fault = fault_in("/dev/zero".as_ref());
    assert!(matches!(fault, Fault::NotAFile), "{fault:?}");
}

#[test]
fn empty_file_on_disk() {
    let folder = folder();
    let path = folder.path().join("empty.gguf");
    fs::write(&path, b"").unwrap();
    assert!(matches!(fault_in(&path), Fault::EmptyFile));
}

#[test]
fn header_too_long() {
    let folder = folder();
    let path = folder.path().join("sparse.gguf");
    let mut bytes = [&b"GGUF\x03\0\0\0"[..], &0u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
    // One key whose value claims 3 GiB of bytes, which a sparse file has for free.
    bytes.extend(
        [&1u64.to_le_bytes()[..], b"k", &9u32.to_le_bytes(), &0u32.to_le_bytes(), &(3u64 << 30).to_le_bytes()].concat(),
    );
    fs::write(&path, bytes).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4 << 30).unwrap();
    let fault = fault_in(&path);
    assert!(matches!(fault, Fault::HeaderTooLong { limit } if limit == 1 << 30), "{fault:?}");
}

#[test]
fn missing_key() {
    let folder = folder();
    for key in ["general.architecture", "llama.block_count"] {
        let mut tiny = Tiny::llama();
        tiny.metadata.remove(key);
        let fault = fault_in(&tiny.write(&folder, "tiny.gguf"));
        assert!(matches!(&fault, Fault::MissingKey { key: missing } if missing == key), "{fault:?}");
    }
}

#[test]
fn bad_key() {
    let folder = folder();
    let mut tiny = Tiny::llama();
    for count in [0i32, -1, 513] {
        tiny.metadata.insert("llama.block_count", count);
        let fault = fault_in(&tiny.write(&folder, "tiny.gguf"));
        assert!(matches!(&fault, Fault::BadKey { found, .. } if *found == count.to_string()), "{fault:?}");
    }
    tiny.metadata.insert("general.architecture", 7u32);
    assert!(matches!(fault_in(&tiny.write(&folder, "tiny.gguf")), Fault::BadKey { .. }));
}

#[test]
fn values_that_llama_cpp_does_not_survive() {
    let folder = folder();
    for epsilon in [-1e-5f32, f32::NAN, f32::INFINITY] {
        let mut tiny = Tiny::llama();
        tiny.metadata.insert("llama.attention.layer_norm_rms_epsilon", epsilon);
        let fault = fault_in(&tiny.write(&folder, "tiny.gguf"));
        assert!(matches!(&fault, Fault::BadKey { key, .. } if key.ends_with("rms_epsilon")), "{fault:?}");
    }
    let tokens = |texts: &[&str]| {
        let mut tiny = Tiny::llama();
        let texts = texts.iter().map(|text| text.as_bytes());
        tiny.metadata.insert("tokenizer.ggml.tokens", texts.collect::<Strings>());
        tiny.write(&folder, "tiny.gguf")
    };
    let fault = fault_in(&tokens(&["a", "é", "b", "é"]));
    assert!(matches!(fault, Fault::DuplicateToken { first: 1, second: 3, .. }), "{fault:?}");
    assert!(fault.to_string().contains(r"`\xc3\xa9` twice, as 1 and 3"), "{fault}");
    assert!(Parent::open(tokens(&["a", "", "b", ""])).is_ok(), "llama.cpp names tokens without text itself");
}

#[test]
fn missing_tensor() {
    let folder = folder();
    let mut tiny = Tiny::llama();
    tiny.remove("token_embd.weight");
    let fault = fault_in(&tiny.write(&folder, "tiny.gguf"));
    assert!(matches!(&fault, Fault::MissingTensor { name } if name == "token_embd.weight"), "{fault:?}");
    let mut tiny = Tiny::llama();
    tiny.metadata.insert("llama.block_count", 512u32);
    let fault = fault_in(&tiny.write(&folder, "tiny.gguf"));
    assert!(matches!(&fault, Fault::MissingTensor { name } if name == "blk.2.*"), "{fault:?}");
    tiny.metadata.insert("llama.block_count", 3u32);
    tiny.metadata.insert("llama.nextn_predict_layers", 1u32);
    assert_eq!(tiny.open(&folder, "tiny.gguf").block_count(), 3);
}

#[test]
fn not_first_piece() {
    let folder = folder();
    let paths = write_set(&folder, |_, _| ());
    let fault = fault_in(&paths[1]);
    assert!(matches!(&fault, Fault::NotFirstPiece { no: 1, count: 3, first } if *first == paths[0]), "{fault:?}");
    assert!(fault.to_string().contains("is piece 2 of 3"), "{fault}");
}

#[test]
fn piece_name() {
    let folder = folder();
    let paths = write_set(&folder, |_, _| ());
    let renamed = folder.path().join("model.gguf");
    fs::rename(&paths[0], &renamed).unwrap();
    let fault = fault_in(&renamed);
    assert!(matches!(&fault, Fault::PieceName { wanted } if wanted == "-00001-of-00003.gguf"), "{fault:?}");
}

#[test]
fn missing_piece() {
    let folder = folder();
    let paths = write_set(&folder, |_, _| ());
    fs::remove_file(&paths[2]).unwrap();
    let error = Parent::open(&paths[0]).unwrap_err();
    assert_eq!(error.path, paths[2]);
    assert!(matches!(&error.fault, Fault::MissingPiece { no: 2, count: 3, first } if *first == paths[0]), "{error:?}");
}

#[test]
fn piece_mismatch() {
    let folder = folder();
    for (key, value) in [("split.no", 2u16), ("split.count", 4)] {
        let paths = write_set(&folder, |no, piece| {
            if no == 1 {
                piece.metadata.insert(key, value);
            }
        });
        let error = Parent::open(&paths[0]).unwrap_err();
        assert_eq!(error.path, paths[1]);
        assert!(matches!(error.fault, Fault::PieceMismatch { key: bad, .. } if bad == key), "{error:?}");
    }
}

#[test]
fn piece_tensor_count() {
    let folder = folder();
    let paths = write_set(&folder, |no, piece| {
        if no == 2 {
            piece.remove("output_norm.weight");
        }
    });
    let fault = fault_in(&paths[0]);
    assert!(matches!(fault, Fault::PieceTensorCount { wanted: 8, found: 7 }), "{fault:?}");
}

#[test]
fn piece_count_that_is_no_count() {
    let folder = folder();
    let paths = write_set(&folder, |_, piece| piece.metadata.insert("split.count", u64::MAX));
    assert!(matches!(fault_in(&paths[0]), Fault::BadKey { .. }));
}

#[test]
fn duplicate_tensor_in_two_pieces() {
    let folder = folder();
    let paths = write_set(&folder, |no, piece| {
        if no == 2 {
            piece.add("token_embd.weight", &[32, 8], GgmlType::F16);
        }
    });
    let error = Parent::open(&paths[0]).unwrap_err();
    assert_eq!(error.path, paths[2]);
    assert!(matches!(&error.fault, Fault::DuplicateTensor { name } if name == "token_embd.weight"), "{error:?}");
}

#[test]
fn shrunk() {
    let folder = folder();
    let paths = write_set(&folder, |_, _| ());
    let parent = Parent::open(&paths[0]).unwrap();
    let was = fs::metadata(&paths[2]).unwrap().len();
    OpenOptions::new().write(true).open(&paths[2]).unwrap().set_len(100).unwrap();
    let error = parent.verify_unchanged().unwrap_err();
    assert_eq!(error.path, paths[2]);
    assert!(matches!(error.fault, Fault::Shrunk { was: w, now: 100 } if w == was), "{error:?}");
}

#[test]
fn changed() {
    let folder = folder();
    let parent = Tiny::llama().open(&folder, "grown.gguf");
    let was = parent.size_bytes();
    OpenOptions::new().write(true).open(parent.path()).unwrap().set_len(was + 1).unwrap();
    let fault = parent.verify_unchanged().unwrap_err().fault;
    assert!(matches!(fault, Fault::Changed { now, .. } if now == was + 1), "{fault:?}");

    let parent = Tiny::llama().open(&folder, "touched.gguf");
    let file = OpenOptions::new().write(true).open(parent.path()).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let fault = parent.verify_unchanged().unwrap_err().fault;
    assert!(matches!(fault, Fault::Changed { was, now } if was == now), "{fault:?}");
}

#[test]
fn a_file_renamed_over_a_parent_leaves_the_map_whole() {
    let folder = folder();
    let parent = Tiny::llama().open(&folder, "tiny.gguf");
    let other = folder.path().join("other");
    fs::write(&other, b"short").unwrap();
    fs::rename(&other, parent.path()).unwrap();
    parent.verify_unchanged().unwrap();
    assert_eq!(parent.tensor("output_norm.weight").unwrap().data, [8; 32 * 4]);
}
