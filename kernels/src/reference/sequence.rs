//! Naive recurrent layers: one row, one element at a time, in the order of ADR 001.

use super::gemm::sum_of_products;
use crate::cpu::math::{sigmoid, tanh};
use crate::cpu::sequence::{RecurrentCell, SequenceShape};
use crate::cpu::simd::{Scalar, Simd};
use crate::element::Float;

/// Operands of both passes, as [`Forward`](crate::cpu::sequence::Forward)'s.
#[derive(Debug)]
pub struct Operands<'a, T> {
    /// `[steps, batch, input]`
    pub x: &'a [T],
    /// `[batch, output]`
    pub h0: &'a [T],
    /// `[batch, hidden]`, or empty
    pub c0: &'a [T],
    /// `[gates * hidden, input]`
    pub w_ih: &'a [T],
    /// `[gates * hidden, output]`
    pub w_hh: &'a [T],
    /// `[gates * hidden]` each
    pub biases: Option<[&'a [T]; 2]>,
    /// `[output, hidden]`, or empty
    pub w_hr: &'a [T],
    /// Steps of each row
    pub lengths: Option<&'a [i64]>,
}

/// `W v`, plus a bias, `W` of `rows` rows.
fn product<T: Float>(w: &[T], v: &[T], rows: usize, bias: Option<&[T]>) -> Vec<T> {
    let n = v.len();
    let sum = |i: usize| sum_of_products(n, |k| Some((v[k], w[i * n + k])));
    (0..rows).map(|i| bias.map_or(sum(i), |bias| sum(i) + bias[i])).collect()
}

/// `W^T v`, `W` of `columns` columns.
fn product_back<T: Float>(w: &[T], v: &[T], columns: usize) -> Vec<T> {
    let sum = |j: usize| sum_of_products(v.len(), |k| Some((v[k], w[k * columns + j])));
    (0..columns).map(sum).collect()
}

fn order(s: &SequenceShape, row: usize, lengths: Option<&[i64]>) -> Vec<usize> {
    let length = lengths.map_or(s.steps, |lengths| lengths[row] as usize);
    if s.reverse { (0..length).rev().collect() } else { (0..length).collect() }
}

/// y, saved, h, c.
pub fn forward<T: Float>(s: &SequenceShape, o: &Operands<'_, T>) -> [Vec<T>; 4]
where
    Scalar: Simd<T, V = T>,
{
    let gates = s.cell.gates() * s.hidden;
    let of_input = |x: &[T]| product(o.w_ih, x, gates, o.biases.map(|b| b[0]));
    let of_state = |h: &[T]| product(o.w_hh, h, gates, o.biases.map(|b| b[1]));
    forward_with(s, o, of_input, of_state)
}

/// [`forward`] with these products and biases.
pub fn forward_with<T: Float>(
    s: &SequenceShape,
    o: &Operands<'_, T>,
    of_input: impl Fn(&[T]) -> Vec<T>,
    of_state: impl Fn(&[T]) -> Vec<T>,
) -> [Vec<T>; 4]
where
    Scalar: Simd<T, V = T>,
{
    let hidden = s.hidden;
    let width = s.cell.saved(s.projected) * hidden;
    let mut y = vec![T::ZERO; s.steps * s.batch * s.output];
    let mut saved = vec![T::ZERO; s.steps * s.batch * width];
    let (mut hs, mut cs) = (o.h0.to_vec(), o.c0.to_vec());
    let lstm = s.cell == RecurrentCell::Lstm;
    for row in 0..s.batch {
        let mut h = o.h0[row * s.output..][..s.output].to_vec();
        let mut c = if lstm { o.c0[row * hidden..][..hidden].to_vec() } else { Vec::new() };
        let order = order(s, row, o.lengths);
        // Steps in which the row takes no part keep the cell state: in reverse they come first.
        for t in 0..s.steps {
            if lstm && s.reverse && !order.contains(&t) {
                saved[(t * s.batch + row) * width + 4 * hidden..][..hidden].copy_from_slice(&c);
            }
        }
        for &t in &order {
            let at = t * s.batch + row;
            let x = &o.x[at * s.input..][..s.input];
            let (a, b) = (of_input(x), of_state(&h));
            let kept = &mut saved[at * width..][..width];
            let mut out = vec![T::ZERO; hidden];
            for k in 0..hidden {
                let sum = |g: usize| a[g * hidden + k] + b[g * hidden + k];
                match s.cell {
                    RecurrentCell::Lstm => {
                        let [i, f, o] = [0, 1, 3].map(|g| sigmoid::<T, _>(Scalar, sum(g)));
                        let g = tanh::<T, _>(Scalar, sum(2));
                        c[k] = f * c[k] + i * g;
                        out[k] = o * tanh::<T, _>(Scalar, c[k]);
                        for (place, value) in [i, f, g, o, c[k], out[k]].into_iter().enumerate() {
                            if place * hidden < width {
                                kept[place * hidden + k] = value;
                            }
                        }
                    }
                    RecurrentCell::Gru => {
                        let [r, z] = [0, 1].map(|g| sigmoid::<T, _>(Scalar, sum(g)));
                        let hn = b[2 * hidden + k];
                        let n = tanh::<T, _>(Scalar, a[2 * hidden + k] + r * hn);
                        out[k] = n + z * (h[k] - n);
                        for (place, value) in [r, z, n, hn].into_iter().enumerate() {
                            kept[place * hidden + k] = value;
                        }
                    }
                    RecurrentCell::RnnTanh => out[k] = tanh::<T, _>(Scalar, sum(0)),
                    RecurrentCell::RnnRelu => {
                        out[k] = if sum(0) < T::ZERO { T::ZERO } else { sum(0) };
                    }
                }
            }
            h = if s.projected { product(o.w_hr, &out, s.output, None) } else { out };
            y[at * s.output..][..s.output].copy_from_slice(&h);
        }
        for t in 0..s.steps {
            if lstm && !s.reverse && !order.contains(&t) {
                saved[(t * s.batch + row) * width + 4 * hidden..][..hidden].copy_from_slice(&c);
            }
        }
        hs[row * s.output..][..s.output].copy_from_slice(&h);
        if lstm {
            cs[row * hidden..][..hidden].copy_from_slice(&c);
        }
    }
    [y, saved, hs, cs]
}

/// gates, before, dh, dc, hidden gates, states, from y and what was saved, the gradients of y and of the last states.
pub fn backward<T: Float>(
    s: &SequenceShape,
    o: &Operands<'_, T>,
    [y, saved]: [&[T]; 2],
    [grad, last, last_cell]: [&[T]; 3],
) -> [Vec<T>; 6]
where
    Scalar: Simd<T, V = T>,
{
    let (hidden, output, size) = (s.hidden, s.output, s.cell.gates() * s.hidden);
    let width = s.cell.saved(s.projected) * hidden;
    let all = s.steps * s.batch;
    let (mut gates, mut before) = (vec![T::ZERO; all * size], vec![T::ZERO; all * output]);
    let (mut hs, mut cs) = (last.to_vec(), last_cell.to_vec());
    let gru = s.cell == RecurrentCell::Gru;
    let mut hidden_gates = vec![T::ZERO; if gru { all * size } else { 0 }];
    let mut states = vec![T::ZERO; if s.projected { all * output } else { 0 }];
    let sigmoid_grad = |g: T, y: T| g * y * (T::ONE - y);
    let tanh_grad = |g: T, y: T| g * (-y).mul_add(y, T::ONE);
    for row in 0..s.batch {
        let mut dh = last[row * output..][..output].to_vec();
        let order = order(s, row, o.lengths);
        for (place, &t) in order.iter().enumerate().rev() {
            let at = t * s.batch + row;
            let earlier = place.checked_sub(1).map(|place| order[place] * s.batch + row);
            let h =
                earlier.map_or(&o.h0[row * output..], |at| &y[at * output..])[..output].to_vec();
            before[at * output..][..output].copy_from_slice(&h);
            let mut g: Vec<T> = (0..output).map(|k| grad[at * output + k] + dh[k]).collect();
            if s.projected {
                states[at * output..][..output].copy_from_slice(&g);
                g = product_back(o.w_hr, &g, hidden);
            }
            let mut direct = vec![T::ZERO; output];
            let (mut d, mut dw) = (vec![T::ZERO; size], vec![T::ZERO; size]);
            for k in 0..hidden {
                let kept = |place: usize| saved[at * width + place * hidden + k];
                match s.cell {
                    RecurrentCell::Lstm => {
                        let [i, f, a, o_] = [kept(0), kept(1), kept(2), kept(3)];
                        let dc = &mut cs[row * hidden + k];
                        let tc = tanh::<T, _>(Scalar, kept(4));
                        let cell = *dc + tanh_grad(g[k] * o_, tc);
                        let old = match earlier {
                            Some(at) => saved[at * width + 4 * hidden + k],
                            None => o.c0[row * hidden + k],
                        };
                        d[k] = sigmoid_grad(cell * a, i);
                        d[hidden + k] = sigmoid_grad(cell * old, f);
                        d[2 * hidden + k] = tanh_grad(cell * i, a);
                        d[3 * hidden + k] = sigmoid_grad(g[k] * tc, o_);
                        *dc = cell * f;
                    }
                    RecurrentCell::Gru => {
                        let [r, z, n, hn] = [kept(0), kept(1), kept(2), kept(3)];
                        direct[k] = g[k] * z;
                        let dn = tanh_grad(g[k] - direct[k], n);
                        d[k] = sigmoid_grad(dn * hn, r);
                        d[hidden + k] = sigmoid_grad(g[k] * (h[k] - n), z);
                        d[2 * hidden + k] = dn;
                        (dw[k], dw[hidden + k]) = (d[k], d[hidden + k]);
                        dw[2 * hidden + k] = dn * r;
                    }
                    RecurrentCell::RnnTanh => d[k] = tanh_grad(g[k], y[at * output + k]),
                    RecurrentCell::RnnRelu => {
                        d[k] = if y[at * output + k] <= T::ZERO { T::ZERO } else { g[k] };
                    }
                }
            }
            gates[at * size..][..size].copy_from_slice(&d);
            if gru {
                hidden_gates[at * size..][..size].copy_from_slice(&dw);
                d = dw;
            }
            let passed = product_back(o.w_hh, &d, output);
            dh = direct.iter().zip(passed).map(|(&direct, passed)| direct + passed).collect();
        }
        hs[row * output..][..output].copy_from_slice(&dh);
    }
    [gates, before, hs, cs, hidden_gates, states]
}
