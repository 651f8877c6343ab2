//! What a program reads: tensors in their blocks, with a difference of low rank on top, or with rows that stand in other places.

use std::ops::Range;

use crate::combine::add;
use crate::{Codecs, GgmlType, TILE};

/// One tensor, or a part of one.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    /// How the bytes are to be read.
    pub ty: GgmlType,
    /// Whole blocks.
    pub data: &'a [u8],
    /// What is added to the elements of the whole tensor, in this order.
    pub low_rank: &'a [LowRank],
    /// Elements of the whole tensor before the first one here.
    pub first: usize,
}

/// What a program sees as one tensor.
#[derive(Clone)]
pub enum Source<'a> {
    /// A tensor.
    Tensor(Tensor<'a>),
    /// Rows of tables that all have rows of `width` elements.
    Rows {
        /// Elements of a row.
        width: usize,
        /// What the map counts.
        tables: Vec<Tensor<'a>>,
        /// Which rows of which table.
        map: &'a RowMap,
        /// Elements that the map gives before the first one here.
        first: usize,
    },
}

/// `B * A`, the weights of a low-rank adapter (Hu et al. 2106.09685), which are never multiplied out but for the tile at hand. A tensor
/// of several matrices has as many of each.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    rank: usize,
    /// Elements of a row of the tensor.
    width: usize,
    /// Rows of one matrix of the tensor.
    rows: usize,
    /// For each matrix, `rank` rows.
    a: Vec<f32>,
    /// For each row, `rank` factors.
    b: Vec<f32>,
}

/// What each row of a source is: the mean of the rows named, or zeros where none is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowMap {
    /// Where in `rows` each row's entries end.
    ends: Vec<usize>,
    /// A table and a row of it.
    rows: Vec<(u32, u32)>,
}

impl<'a> Source<'a> {
    /// A tensor with nothing on top.
    pub fn new(ty: GgmlType, data: &'a [u8]) -> Self {
        Self::Tensor(Tensor::new(ty, data, &[]))
    }

    /// Elements `range`, which are whole blocks: a slice that counts from its own start.
    ///
    /// # Panics
    /// If there are not so many; callers have proven the size.
    pub fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::Tensor(tensor) => Self::Tensor(tensor.part(range)),
            Self::Rows { width, tables, map, first } => {
                Self::Rows { width: *width, tables: tables.clone(), map, first: first + range.start }
            }
        }
    }

    /// The blocks of all elements, if they are these and nothing else.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Tensor(Tensor { data, low_rank: [], .. }) => Some(data),
            _ => None,
        }
    }

    /// The blocks of elements `range`, if they are of type `ty` and nothing else.
    pub(crate) fn blocks(&self, ty: GgmlType, range: Range<usize>) -> Option<&'a [u8]> {
        match self {
            Self::Tensor(tensor @ Tensor { low_rank: [], .. }) if tensor.ty == ty => Some(tensor.blocks(range)),
            _ => None,
        }
    }

    /// Copies the blocks of elements `range`. Rows must be single ones, of tables of one type.
    ///
    /// # Panics
    /// If there is a difference on top or `out` has another length; planners check both.
    pub(crate) fn copy(&self, range: Range<usize>, out: &mut [u8]) {
        match self {
            Self::Tensor(tensor) => out.copy_from_slice(tensor.blocks(range)),
            Self::Rows { width, tables, map, first } => {
                let mut rest = out;
                for Segment { row, columns, .. } in segments(shift(&range, *first), *width) {
                    let [(table, row)] = map.row(row) else { panic!("a row that is no copy") };
                    let bytes = tables[*table as usize].blocks(shift(&columns, *row as usize * width));
                    let (now, later) = rest.split_at_mut(bytes.len());
                    now.copy_from_slice(bytes);
                    rest = later;
                }
            }
        }
    }

    /// Adds `coefficient` times elements `range` to `sum`, or to `constant` with no regard to what was in `sum`; `scratch` is as long.
    pub(crate) fn accumulate(
        &self,
        range: Range<usize>,
        constant: Option<f32>,
        coefficient: f32,
        codecs: &Codecs,
        sum: &mut [f32],
        scratch: &mut [f32],
    ) {
        if let Self::Tensor(tensor @ Tensor { low_rank: [], .. }) = self
            && codecs.accumulate(tensor.ty, tensor.blocks(range.clone()), constant, coefficient, sum)
        {
            return;
        }
        if let Some(constant) = constant {
            sum.fill(constant);
        }
        self.decode(range, codecs, scratch);
        add(sum, coefficient, scratch);
    }

    /// Decodes elements `range` into `values`.
    pub(crate) fn decode(&self, range: Range<usize>, codecs: &Codecs, values: &mut [f32]) {
        match self {
            Self::Tensor(tensor) => tensor.decode(range, codecs, values),
            Self::Rows { width, tables, map, first } => {
                for Segment { row, columns, place } in segments(shift(&range, *first), *width) {
                    let mut decode = |(table, row): &(u32, u32), values: &mut [f32]| {
                        tables[*table as usize].decode(shift(&columns, *row as usize * width), codecs, values);
                    };
                    mean(map.row(row), &mut decode, &mut values[place]);
                }
            }
        }
    }
}

impl<'a> Tensor<'a> {
    /// A whole tensor.
    pub fn new(ty: GgmlType, data: &'a [u8], low_rank: &'a [LowRank]) -> Self {
        Self { ty, data, low_rank, first: 0 }
    }

    /// All its elements.
    ///
    /// # Panics
    /// If the type is one that `codecs` cannot decode, or the bytes are not whole blocks of it.
    pub fn values(&self, codecs: &Codecs) -> Vec<f32> {
        let mut values = vec![0f32; self.data.len() / self.ty.type_size() * self.ty.block_size()];
        self.decode(0..values.len(), codecs, &mut values);
        values
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self { data: self.blocks(range.clone()), first: self.first + range.start, ..*self }
    }

    /// The blocks of elements `range`.
    fn blocks(&self, range: Range<usize>) -> &'a [u8] {
        let at = |element: usize| self.ty.row_size(element).expect("ranges are whole blocks");
        &self.data[at(range.start)..at(range.end)]
    }

    fn decode(&self, range: Range<usize>, codecs: &Codecs, values: &mut [f32]) {
        codecs.dequantize(self.ty, self.blocks(range.clone()), values);
        for low_rank in self.low_rank {
            low_rank.add(shift(&range, self.first), values);
        }
    }
}

impl LowRank {
    /// `scale * B * A` for a tensor of rows of `width` elements: `a` has `rank` rows for each matrix, `b` has `rank` factors for each
    /// row. `None` unless they make whole matrices, as many of one as of the other.
    pub fn new(rank: usize, width: usize, a: Vec<f32>, mut b: Vec<f32>, scale: f32) -> Option<Self> {
        let one = rank.checked_mul(width).filter(|one| *one > 0)?;
        let (matrices, all_rows) = (a.len() / one, b.len() / rank);
        let rows = all_rows.checked_div(matrices).filter(|rows| *rows > 0)?;
        if matrices.checked_mul(one) != Some(a.len()) || (rows * matrices).checked_mul(rank) != Some(b.len()) {
            return None;
        }
        b.iter_mut().for_each(|b| *b *= scale);
        Some(Self { rank, width, rows, a, b })
    }

    /// Elements of the tensor that it is added to.
    pub fn elements(&self) -> usize {
        self.b.len() / self.rank * self.width
    }

    /// Elements of a row, rows of a matrix, and both factors: for each matrix the rows of `A`, for each row its factors in `B`.
    pub fn factors(&self) -> (usize, usize, &[f32], &[f32]) {
        (self.width, self.rows, &self.a, &self.b)
    }

    /// Products that each element is the sum of.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Bytes of both factors.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.a) + size_of_val(&*self.b)
    }

    fn add(&self, range: Range<usize>, values: &mut [f32]) {
        let mut sum = [0f32; TILE];
        for Segment { row, columns, place } in segments(range, self.width) {
            let sum = &mut sum[..columns.len()];
            sum.fill(0.0);
            let first = row / self.rows * self.rank;
            for (k, b) in self.b[row * self.rank..][..self.rank].iter().enumerate() {
                let a = &self.a[shift(&columns, (first + k) * self.width)];
                for (s, a) in sum.iter_mut().zip(a) {
                    *s += b * a;
                }
            }
            for (v, s) in values[place].iter_mut().zip(sum) {
                *v += *s;
            }
        }
    }
}

impl RowMap {
    /// Adds a row at the end, as the mean of `rows`: numbers of a table and of a row in it.
    pub fn push(&mut self, rows: impl IntoIterator<Item = (u32, u32)>) {
        self.rows.extend(rows);
        self.ends.push(self.rows.len());
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What row `row` is the mean of.
    pub fn row(&self, row: usize) -> &[(u32, u32)] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[start..self.ends[row]]
    }

    /// Whether every row is one of table `table`, so that it can be copied.
    pub fn only_takes_from(&self, table: u32) -> bool {
        (0..self.len()).all(|row| matches!(self.row(row), [(from, _)] if *from == table))
    }

    /// Whether the rows are those of table `table`, in its order from its first on.
    pub fn is_identity(&self, table: u32) -> bool {
        (0..self.len()).all(|row| matches!(self.row(row), [(from, at)] if (*from, *at as usize) == (table, row)))
    }
}

/// Elements of one row that are in a range, at most [`TILE`] of them.
struct Segment {
    row: usize,
    columns: Range<usize>,
    /// Where they stand in the range.
    place: Range<usize>,
}

/// Cuts `range` where rows end and every [`TILE`] elements of a row. Rows are whole blocks and so are ranges, so that the pieces are too.
fn segments(range: Range<usize>, width: usize) -> impl Iterator<Item = Segment> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let (row, column) = (at / width, at % width);
        let columns = column..(column + (range.end - at).min(TILE)).min(width);
        let place = at - range.start..at - range.start + columns.len();
        at += columns.len();
        (!columns.is_empty()).then_some(Segment { row, columns, place })
    })
}

fn shift(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// The mean of what `decode` gives for each of `rows`.
fn mean(rows: &[(u32, u32)], decode: &mut impl FnMut(&(u32, u32), &mut [f32]), values: &mut [f32]) {
    let Some((first, others)) = rows.split_first() else { return values.fill(0.0) };
    decode(first, values);
    if others.is_empty() {
        return;
    }
    let mut scratch = [0f32; TILE];
    let scratch = &mut scratch[..values.len()];
    for row in others {
        decode(row, scratch);
        for (v, s) in values.iter_mut().zip(&*scratch) {
            *v += s;
        }
    }
    let count = rows.len() as f32;
    values.iter_mut().for_each(|v| *v /= count);
}
