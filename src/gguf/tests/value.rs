//! Metadata values: every type comes back as it was written, and reads as what it is.

use super::parse_metadata;
use crate::gguf::{Array, Metadata, Strings, Value, encode_header};

fn every_type() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert("u8", 200u8);
    metadata.insert("i8", -3i8);
    metadata.insert("u16", 60_000u16);
    metadata.insert("i16", -300i16);
    metadata.insert("u32", 4_000_000_000u32);
    metadata.insert("i32", -70_000i32);
    metadata.insert("u64", u64::MAX);
    metadata.insert("i64", i64::MIN);
    metadata.insert("f32", 1e-5f32);
    metadata.insert("f64", 1e-300f64);
    metadata.insert("bool", true);
    metadata.insert("text", "日本語\n");
    metadata.insert("bytes", Value::String(vec![0xff, 0, 0xfe]));
    metadata.insert("u8s", vec![1u8, 2]);
    metadata.insert("i32s", vec![-1i32, 1]);
    metadata.insert("f32s", vec![0.5f32, f32::MAX]);
    metadata.insert("f64s", Vec::<f64>::new());
    metadata.insert("bools", Value::Array(Array::Bool(vec![true, false, true])));
    metadata.insert("strings", [&b"a"[..], b"", b"\xf0\x9f"].into_iter().collect::<Strings>());
    metadata
}

#[test]
fn every_type_comes_back_as_written() {
    let metadata = every_type();
    let encoded = encode_header(&metadata, &[], 32).unwrap();
    assert_eq!(parse_metadata(&encoded.bytes), metadata);
}

#[test]
fn integers_of_any_width_read_alike() {
    let metadata = every_type();
    assert_eq!(metadata.u64("u8"), Some(200));
    assert_eq!(metadata.u32("u16"), Some(60_000));
    assert_eq!(metadata.u32("u64"), None, "too wide");
    assert_eq!(metadata.u64("i8"), None, "negative");
    assert_eq!(metadata.u64("f32"), None, "not an integer");
    assert_eq!(metadata.f64("i8"), Some(-3.0));
    assert_eq!(metadata.f64("f32"), Some(f64::from(1e-5f32)));
    assert_eq!(metadata.get("bool").and_then(Value::as_bool), Some(true));
    assert_eq!(metadata.str("text"), Some("日本語\n"));
    assert_eq!(metadata.str("bytes"), None, "not UTF-8");
}

#[test]
fn arrays_give_elements_and_gather_them() {
    let metadata = every_type();
    let array = metadata.get("i32s").and_then(Value::as_array).unwrap();
    assert_eq!(array.get(1), Some(Value::I32(1)));
    assert_eq!(array.get(2), None);
    assert_eq!(array.gather(&[1, 1, 0]), Some(Array::I32(vec![1, 1, -1])));
    assert_eq!(array.gather(&[2]), None);
    let strings = metadata.strings("strings").unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"\xf0\x9f"]);
    assert_eq!(strings.get(3), None);
}

#[test]
fn values_show_on_one_short_line() {
    let show = |value: Value| value.to_string();
    assert_eq!(show(1e-5f32.into()), "0.00001");
    assert_eq!(show("a\nb".into()), "\"a\\nb\"");
    assert_eq!(show((0..9u32).collect::<Vec<_>>().into()), "[0, 1, 2, 3, 4, 5, 6, 7, ...] (9 elements)");
    assert_eq!(show("é".repeat(61).as_str().into()), format!("\"{}\"... (122 bytes)", "é".repeat(60)));
}

#[test]
fn insert_replaces_in_place_and_remove_takes_out() {
    let mut metadata = Metadata::default();
    metadata.insert("a", 1u32);
    metadata.insert("b", 2u32);
    metadata.insert("a", "now text");
    assert_eq!(metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(metadata.remove("a"), Some("now text".into()));
    assert_eq!(metadata.remove("a"), None);
    assert_eq!(metadata.len(), 1);
}
