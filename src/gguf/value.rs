//! Metadata values: the bytes after a key go in, a typed [`Value`] comes out, and back.
//!
//! Arrays are kept flat, strings as one blob with their ends, so that a vocabulary of 262 thousand tokens costs two
//! allocations. Strings are bytes: token texts need not be UTF-8, and a copy must give back what was read.

use std::fmt;
use std::io;

use ggus::{GGufMetaDataValueType as Id, GGufWriter};

use super::error::Fault;
use super::reader::Reader;

/// How many elements of an array are shown in messages.
const SHOWN_ELEMENTS: usize = 8;
/// How many characters of a string are shown in messages.
const SHOWN_CHARS: usize = 60;

macro_rules! values {
    (integers: $($int:ident $int_ty:ty),*; floats: $($float:ident $float_ty:ty),*;) => {
        values!(@all [$($int $int_ty,)* $($float $float_ty,)*]);

        impl Value {
            /// The value as an unsigned integer, if it is an integer of any width and not negative.
            pub fn as_u64(&self) -> Option<u64> {
                match self {
                    $(Self::$int(v) => u64::try_from(*v).ok(),)*
                    _ => None,
                }
            }

            /// The value as a float, if it is a number of any type; integers above 2^53 are rounded.
            pub fn as_f64(&self) -> Option<f64> {
                match self {
                    $(Self::$int(v) => Some(*v as f64),)*
                    $(Self::$float(v) => Some(f64::from(*v)),)*
                    _ => None,
                }
            }
        }
    };

    (@all [$($number:ident $ty:ty,)*]) => {
        /// One metadata value, of one of GGUF's types (gguf.h `enum gguf_type`).
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $(#[doc = concat!("One `", stringify!($ty), "`.")] $number($ty),)*
            /// A truth value; any byte but 0 is read as true, as llama.cpp does.
            Bool(bool),
            /// A string; UTF-8 by convention, but kept as found.
            String(Vec<u8>),
            /// A list of values of one type.
            Array(Array),
        }

        /// A metadata array: elements of one type, never arrays themselves.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array {
            $(#[doc = concat!("Elements of type `", stringify!($ty), "`.")] $number(Vec<$ty>),)*
            /// Truth values.
            Bool(Vec<bool>),
            /// Strings.
            String(Strings),
        }

        impl Value {
            /// Reads the type number and the value of `key`.
            pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, Fault> {
                let id = reader.u32(key)?;
                $(if id == Id::$number as u32 {
                    return reader.array(key).map(<$ty>::from_le_bytes).map(Self::$number);
                })*
                match id {
                    id if id == Id::Bool as u32 => reader.array(key).map(|[byte]| Self::Bool(byte != 0)),
                    id if id == Id::String as u32 => reader.string(key).map(|bytes| Self::String(bytes.to_vec())),
                    id if id == Id::Array as u32 => Array::read(reader, key).map(Self::Array),
                    id => Err(Fault::UnknownValueType { key: key.into(), id }),
                }
            }

            /// Writes the type number and the value.
            pub(super) fn write(&self, writer: &mut GGufWriter<&mut Vec<u8>>) -> io::Result<()> {
                match self {
                    $(Self::$number(v) => {
                        writer.write(&(Id::$number as u32).to_le_bytes())?;
                        writer.write(&v.to_le_bytes())
                    })*
                    Self::Bool(v) => {
                        writer.write(&(Id::Bool as u32).to_le_bytes())?;
                        writer.write(&[u8::from(*v)])
                    }
                    Self::String(bytes) => {
                        writer.write(&(Id::String as u32).to_le_bytes())?;
                        write_string(writer, bytes)
                    }
                    Self::Array(array) => {
                        writer.write(&(Id::Array as u32).to_le_bytes())?;
                        array.write(writer)
                    }
                }
            }
        }

        impl Array {
            fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, Fault> {
                let id = reader.u32(key)?;
                let len = reader.u64(key)?;
                $(if id == Id::$number as u32 {
                    let (elements, _) = reader.elements(key, len, size_of::<$ty>())?.as_chunks();
                    return Ok(Self::$number(elements.iter().map(|&bytes| <$ty>::from_le_bytes(bytes)).collect()));
                })*
                match id {
                    id if id == Id::Bool as u32 => {
                        Ok(Self::Bool(reader.elements(key, len, 1)?.iter().map(|&byte| byte != 0).collect()))
                    }
                    id if id == Id::String as u32 => Strings::read(reader, key, len).map(Self::String),
                    id if id == Id::Array as u32 => Err(Fault::NestedArray { key: key.into() }),
                    id => Err(Fault::UnknownValueType { key: key.into(), id }),
                }
            }

            fn write(&self, writer: &mut GGufWriter<&mut Vec<u8>>) -> io::Result<()> {
                let id = match self {
                    $(Self::$number(_) => Id::$number,)*
                    Self::Bool(_) => Id::Bool,
                    Self::String(_) => Id::String,
                };
                writer.write(&(id as u32).to_le_bytes())?;
                writer.write(&(self.len() as u64).to_le_bytes())?;
                match self {
                    $(Self::$number(elements) => elements.iter().try_for_each(|v| writer.write(&v.to_le_bytes())),)*
                    Self::Bool(elements) => elements.iter().try_for_each(|v| writer.write(&[u8::from(*v)])),
                    Self::String(strings) => strings.iter().try_for_each(|bytes| write_string(writer, bytes)),
                }
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$number(elements) => elements.len(),)*
                    Self::Bool(elements) => elements.len(),
                    Self::String(strings) => strings.len(),
                }
            }

            /// Element `index` as a value of its own.
            pub fn get(&self, index: usize) -> Option<Value> {
                match self {
                    $(Self::$number(elements) => elements.get(index).copied().map(Value::$number),)*
                    Self::Bool(elements) => elements.get(index).copied().map(Value::Bool),
                    Self::String(strings) => strings.get(index).map(|bytes| Value::String(bytes.to_vec())),
                }
            }

            /// The elements at `indices`, in that order and as often as named: how a per-layer list follows a layer
            /// schedule. `None` if an index is outside.
            pub fn gather(&self, indices: &[usize]) -> Option<Self> {
                let at = indices.iter();
                Some(match self {
                    $(Self::$number(v) => Self::$number(at.map(|&i| v.get(i).copied()).collect::<Option<_>>()?),)*
                    Self::Bool(v) => Self::Bool(at.map(|&i| v.get(i).copied()).collect::<Option<_>>()?),
                    Self::String(v) => Self::String(at.map(|&i| v.get(i)).collect::<Option<_>>()?),
                })
            }
        }

        /// Always one short line: strings in quotes with escapes, long strings and arrays cut with their length told.
        impl fmt::Display for Value {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$number(v) => v.fmt(f),)*
                    Self::Bool(v) => v.fmt(f),
                    Self::String(bytes) => f.write_str(&quoted(bytes)),
                    Self::Array(array) => {
                        let shown: Vec<_> = array.iter().take(SHOWN_ELEMENTS).map(|value| value.to_string()).collect();
                        let more = if array.len() > SHOWN_ELEMENTS { ", ..." } else { "" };
                        write!(f, "[{}{more}]", shown.join(", "))?;
                        if more.is_empty() { Ok(()) } else { write!(f, " ({} elements)", array.len()) }
                    }
                }
            }
        }

        $(impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Self::$number(value)
            }
        }

        impl From<Vec<$ty>> for Value {
            fn from(elements: Vec<$ty>) -> Self {
                Self::Array(Array::$number(elements))
            }
        })*
    };
}

values! {
    integers: U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64;
    floats: F32 f32, F64 f64;
}

impl Value {
    /// The value as text, if it is a string and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The value as a truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as an array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The value as an array of strings, if it is one.
    pub fn as_strings(&self) -> Option<&Strings> {
        match self {
            Self::Array(Array::String(strings)) => Some(strings),
            _ => None,
        }
    }
}

impl Array {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements one by one; for strings, [`Value::as_strings`] does it without copying.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<Strings> for Value {
    fn from(strings: Strings) -> Self {
        Self::Array(Array::String(strings))
    }
}

/// Byte strings end to end in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    blob: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    fn read(reader: &mut Reader<'_>, key: &str, len: u64) -> Result<Self, Fault> {
        // Each string has at least its length before it; proving that first bounds the allocation by the file's size.
        if len > reader.remaining() / size_of::<u64>() as u64 {
            let have = reader.remaining();
            return Err(reader.short(Fault::ArrayLength { key: key.into(), len, have }));
        }
        let mut strings = Self { blob: Vec::new(), ends: Vec::with_capacity(len as usize) };
        for _ in 0..len {
            strings.push(reader.string(key)?);
        }
        Ok(strings)
    }

    /// Adds a string at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        self.blob.extend_from_slice(bytes);
        self.ends.push(self.blob.len());
    }

    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.blob.get(start..end)
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> FromIterator<&'a [u8]> for Strings {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(strings: I) -> Self {
        let mut all = Self::default();
        strings.into_iter().for_each(|bytes| all.push(bytes));
        all
    }
}

/// The bytes as text in quotes on one line, cut after [`SHOWN_CHARS`] characters.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], bytes.len()),
        None => format!("{text:?}"),
    }
}

/// Writes a string as the format wants it: its length as `u64`, then its bytes.
pub(super) fn write_string(writer: &mut GGufWriter<&mut Vec<u8>>, bytes: &[u8]) -> io::Result<()> {
    writer.write(&(bytes.len() as u64).to_le_bytes())?;
    writer.write(bytes)
}
