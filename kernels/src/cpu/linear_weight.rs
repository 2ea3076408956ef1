//! The gradients of a linear layer with few inputs in its weight and its bias: both in one pass over the gradient of its outputs, which is
//! all there is to read.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::cpu::gemm::KC;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::reduce::columns::{ROWS, pair_tree};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

/// Inputs up to which the sums stay in registers.
const FEW: usize = 2;
/// Elements from which on a second pass costs more than the way here.
const WORTH: usize = 1 << 14;
/// Columns of a piece.
const COLUMNS: usize = 1024;
/// Vectors of columns whose sums are made side by side.
const VECTORS: usize = 4;

// Blocks of the product (R2) and chunks of the sum (R3) are the same rows.
const _: () = assert!(KC == ROWS);

/// True if [`linear_weight`] takes a gradient of this many rows and columns, for this many inputs. (A single column is a row to R3.)
#[must_use]
pub fn suits([rows, columns, inputs]: [usize; 3]) -> bool {
    (1..=FEW).contains(&inputs) && columns > 1 && rows.saturating_mul(columns) >= WORTH
}

/// `weight = g^T x` by R2 and `bias = ` the sum of the rows of `g` by R3, for `g: [rows, columns]`, `x: [rows, inputs]`, `weight: [columns,
/// inputs]` and `bias: [columns]`, all contiguous.
///
/// # Errors
/// - [`Contract`](crate::Error::Contract) if the sizes do not suit, or lengths differ from them.
/// - [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for the sums of all blocks.
pub fn linear_weight<T: Float>(
    sizes: [usize; 3],
    g: &[T],
    x: &[T],
    weight: &mut [T],
    bias: &mut [T],
) -> Result<()> {
    let [rows, columns, inputs] = sizes;
    require(suits(sizes), "linear_weight: few inputs, columns, and enough of them")?;
    require(rows.checked_mul(columns) == Some(g.len()), "linear_weight: length of the gradient")?;
    require(rows * inputs == x.len(), "linear_weight: length of the input")?;
    require(columns * inputs == weight.len(), "linear_weight: length of the weight's gradient")?;
    require(columns == bias.len(), "linear_weight: length of the bias's gradient")?;
    let blocks = rows.div_ceil(KC);
    let runs = columns.div_ceil(COLUMNS);
    // Of every block: the sums of the rows, then those of the products with each input.
    let each = blocks * columns;
    let mut sums = Buffer::new((1 + inputs) * each * size_of::<T>())?;
    let sums = sums.as_mut_slice::<T>();
    let to = Shared::new(sums);
    parallel::run(blocks * runs, size_of_val(g) as u64 / 16, &|index| {
        let (block, run) = (index / runs, index % runs);
        T::dispatch(Block {
            g,
            x,
            sizes,
            rows: block * KC..rows.min((block + 1) * KC),
            columns: run * COLUMNS..columns.min((run + 1) * COLUMNS),
            to: to.as_ptr().wrapping_add(block * columns),
            each,
        });
    });
    let (rows, products) = sums.split_at_mut(each);
    pair_tree(rows, bias, |a, b| a + b);
    for (input, products) in products.chunks_exact_mut(each).enumerate() {
        let (first, others) = products.split_at_mut(columns);
        for block in others.chunks_exact(columns) {
            first.iter_mut().zip(block).for_each(|(sum, &of_block)| *sum = *sum + of_block);
        }
        let to = weight.iter_mut().skip(input).step_by(inputs);
        to.zip(first).for_each(|(to, sum)| *to = *sum);
    }
    Ok(())
}

/// Some columns of one block of rows.
struct Block<'a, T> {
    g: &'a [T],
    x: &'a [T],
    sizes: [usize; 3],
    rows: Range<usize>,
    columns: Range<usize>,
    /// Where the block's sums go; `each` further on those with the first input, and so on.
    to: *mut T,
    each: usize,
}

impl<T: Float> Kernel<T> for Block<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        match self.sizes[2] {
            1 => self.inputs::<S, 1>(s),
            _ => self.inputs::<S, FEW>(s),
        }
    }
}

impl<T: Float> Block<'_, T> {
    #[inline(always)]
    fn inputs<S: Simd<T>, const INPUTS: usize>(&self, s: S) {
        let mut column = self.columns.start;
        while column + VECTORS * S::LANES <= self.columns.end {
            self.sums::<S, INPUTS, VECTORS>(s, column, VECTORS * S::LANES);
            column += VECTORS * S::LANES;
        }
        while column < self.columns.end {
            let width = S::LANES.min(self.columns.end - column);
            self.sums::<S, INPUTS, 1>(s, column, width);
            column += width;
        }
    }

    /// The sums of `width` columns from `column` on: `N` vectors, of which a single one may be cut.
    #[inline(always)]
    fn sums<S: Simd<T>, const INPUTS: usize, const N: usize>(
        &self,
        s: S,
        column: usize,
        width: usize,
    ) {
        let cut = width.min(S::LANES);
        let mut rows = [s.splat(T::ZERO); N];
        let mut products = [[s.splat(T::ZERO); N]; INPUTS];
        for row in self.rows.clone() {
            let x = &self.x[row * INPUTS..][..INPUTS];
            let g = self.g[row * self.sizes[1] + column..][..width].as_ptr();
            for i in 0..N {
                // SAFETY: `N` vectors of the row, the only one if it is cut, were just cut out of it.
                let g = unsafe {
                    match N {
                        1 => s.load_first(g, cut),
                        _ => s.load(g.add(i * S::LANES)),
                    }
                };
                rows[i] = s.add(rows[i], g);
                for input in 0..INPUTS {
                    products[input][i] = s.fma(s.splat(x[input]), g, products[input][i]);
                }
            }
        }
        for i in 0..N {
            // SAFETY: the caller has this block's columns alone, and room for the sums of each of them.
            unsafe {
                let to = self.to.add(column + i * S::LANES);
                s.store_first(to, rows[i], cut);
                for (input, products) in products.iter().enumerate() {
                    s.store_first(to.add((1 + input) * self.each), products[i], cut);
                }
            }
        }
    }
}
