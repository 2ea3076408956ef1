//! Cases of what moves elements around, of scattering, and of composites of products.

use ferrotape::prelude::*;
use ferrotape::{Diagonal, IndexOp, Op};

use super::{Cases, one};

pub(super) fn cases(cases: &mut Cases) {
    views(cases);
    arranged(cases);
    chosen(cases);
    scattered(cases);
    products(cases);
}

type Function = fn(&Tensor) -> Result<Tensor>;

fn all(cases: &mut Cases, functions: &[(&str, &[usize], Function)]) {
    for &(name, shape, function) in functions {
        let x = cases.any(shape);
        cases.add(name, vec![x], move |x| function(&x[0])?.square());
    }
}

fn views(cases: &mut Cases) {
    all(
        cases,
        &[
            ("diagonal", &[3, 4], |x| x.diagonal(0, 0, 1)),
            ("diagonal below", &[3, 4, 2], |x| x.diagonal(-1, 1, 0)),
            ("diagonal of a transposed", &[3, 4, 2], |x| x.transpose(0, 2)?.diagonal(1, 0, -1)),
            ("diagonal of nothing", &[3, 4], |x| x.diagonal(9, 0, 1)),
            ("diag_embed", &[2, 3], |x| x.diag_embed(1, 0, -1)),
            ("diag_embed below", &[2, 3], |x| x.diag_embed(-2, 2, 1)),
            ("unfold", &[2, 7], |x| x.unfold(1, 3, 2)),
            ("unfold, overlapping, strided", &[7, 3], |x| x.t()?.unfold(1, 4, 1)),
            ("unfold of an unfolded", &[6, 5], |x| x.unfold(0, 3, 1)?.unfold(1, 2, 1)),
            ("unfold with gaps", &[9], |x| x.unfold(0, 2, 3)),
            ("unfold of a scalar", &[], |x| x.unfold(0, 1, 1)),
            ("movedim", &[2, 3, 4], |x| x.movedim([0, 1], [-1, 0])),
            ("slice backwards", &[7, 2], |x| x.slice(0, Some(5), None, -2)),
            ("unflatten", &[2, 6], |x| x.unflatten(1, [3, -1])),
            ("squeeze", &[1, 3, 1], |x| x.squeeze(..)),
            ("index with steps", &[5, 6], |x| {
                x.i((Index::step(None, None, 2), Index::step(-1, 0, -2)))
            }),
            ("select_at", &[2, 3], |x| x.select_at(1, -1)),
        ],
    );
    let x = cases.any(&[2, 3]);
    cases.add("undiagonal alone", vec![x], |x| {
        let diagonal = Diagonal { offset: 1, dims: [2, 0] };
        one(&Op::Index(IndexOp::Undiagonal { diagonal, sizes: [3, 4] }), &[&x[0]])?.square()
    });
    let x = cases.any(&[4, 2, 3]);
    cases.add("fold alone", vec![x], |x| {
        one(&Op::Index(IndexOp::Fold { dim: 0, step: 2, size: 9 }), &[&x[0]])?.square()
    });
    let x = cases.any(&[5, 3]);
    cases.add("pieces", vec![x], |x| {
        let [a, b, c] = &x[0].split(2, 0)?[..] else { return x[0].exp() };
        a.mul(b)?.mul(c)
    });
    let x = cases.any(&[3, 2]);
    cases.add("unbind", vec![x], |x| {
        let [a, b, c] = &x[0].unbind(0)?[..] else { return x[0].exp() };
        a.mul(b)?.mul(c)
    });
}

fn arranged(cases: &mut Cases) {
    all(
        cases,
        &[
            ("repeat", &[2, 3], |x| x.repeat(&[2, 1, 3])),
            ("tile", &[2, 3], |x| x.tile(&[2])),
            ("repeat_interleave", &[2, 3], |x| x.repeat_interleave(2, Some(1))),
            ("repeat_interleave_by", &[3, 2], |x| {
                x.repeat_interleave_by(&Tensor::from([2i64, 0, 1]), Some(0))
            }),
            ("roll", &[3, 4], |x| x.roll([1, -2], [0, 1])),
            ("roll flat", &[3, 4], |x| x.roll(5, ..)),
            ("rot90", &[3, 4], |x| x.rot90(3, [0, 1])),
            ("tril", &[3, 4], |x| x.tril(1)),
            ("triu", &[2, 3, 3], |x| x.triu(-1)),
            ("pad with 0", &[2, 3], |x| x.pad(&[1, 2, -1, 1], PadMode::Constant(0.0))),
            ("pad with 2", &[2, 3], |x| x.pad(&[1, 2], PadMode::Constant(2.0))),
            ("pad reflect", &[2, 3], |x| x.pad(&[2, 1], PadMode::Reflect)),
            ("pad replicate", &[2, 3], |x| x.pad(&[2, 1, 1, 0], PadMode::Replicate)),
            ("pad circular", &[2, 3], |x| x.pad(&[-1, 2], PadMode::Circular)),
            ("pixel_shuffle", &[1, 8, 2, 1], |x| x.pixel_shuffle(2)),
            ("pixel_unshuffle", &[4, 2], |x| x.reshape([1, 4, 2])?.pixel_unshuffle(2)),
            ("im2col", &[1, 2, 4, 5], |x| {
                x.im2col(
                    [2, 3],
                    Conv2dOp::default().padding([1, 0]).stride([2, 1]).dilation([2, 1]),
                )
            }),
        ],
    );
}

fn chosen(cases: &mut Cases) {
    all(
        cases,
        &[
            ("take", &[2, 3], |x| x.take(&Tensor::from([[5i64, -6], [5, 1]]))),
            ("take_along_dim", &[1, 4], |x| {
                x.take_along_dim(&Tensor::from([[3i64], [0]]), Some(1))
            }),
            ("masked_select", &[2, 3], |x| x.masked_select(&Tensor::from([true, false, true]))),
            ("masked_fill", &[2, 3], |x| x.masked_fill(&Tensor::from([true, false, true]), 3.0)),
            ("embedding", &[4, 3], |x| x.embedding(&Tensor::from([[3i64, 1], [1, 0]]), None)),
            ("index by tensors", &[3, 2, 4], |x| {
                x.i((&Tensor::from([2i64, 0, 2]), .., &Tensor::from([-1i64, 1, 3])))
            }),
            ("index by a mask", &[3, 2], |x| x.i(Tensor::from([true, false, true]))),
            ("index by everything", &[2, 3, 4], |x| {
                x.i((Index::Ellipsis, -1, &Tensor::from([[0i64, 2], [2, 3]])))
            }),
            ("gather from a scalar", &[], |x| x.gather(0, &Tensor::from([0i64, 0]))),
        ],
    );
}

fn scattered(cases: &mut Cases) {
    // Two that meet at (2, 0), and more sources than indices.
    let index = || Tensor::from([[2i64, 0], [2, 3]]);
    let inputs = vec![cases.any(&[4, 2]), cases.any(&[3, 3])];
    cases.add("scatter", inputs, move |x| x[0].scatter(0, &index(), &x[1])?.square());
    let inputs = vec![cases.any(&[2, 4]), cases.any(&[])];
    cases.add("scatter a scalar", inputs, move |x| x[0].scatter(-1, &index(), &x[1])?.square());
    for reduce in [
        ScatterReduce::Sum,
        ScatterReduce::Prod,
        ScatterReduce::Mean,
        ScatterReduce::Amax,
        ScatterReduce::Amin,
    ] {
        for include_self in [true, false] {
            let inputs = vec![cases.signed(&[4, 2]), cases.signed(&[2, 2])];
            cases.add(format!("scatter_reduce {reduce:?} {include_self}"), inputs, move |x| {
                x[0].scatter_reduce(0, &index(), &x[1], reduce, include_self)?.square()
            });
        }
    }
    // A product in which one or two factors are 0.
    for zeros in [1, 2] {
        let source = Tensor::from([0.0, if zeros == 2 { 0.0 } else { 0.7 }, -1.3, 0.4]);
        cases.add(
            format!("product with {zeros} zeros"),
            vec![Tensor::from([0.6, 1.1]), source],
            |x| {
                let index = Tensor::from([1i64, 1, 1, 0]);
                x[0].scatter_reduce(0, &index, &x[1], ScatterReduce::Prod, true)?.add(1.0)?.square()
            },
        );
    }
    let inputs = vec![cases.any(&[4, 2]), cases.any(&[2, 2])];
    let order = || Tensor::from([3i64, 1]);
    cases.add("index_copy", inputs, move |x| x[0].index_copy(0, &order(), &x[1])?.square());
    let inputs = vec![cases.any(&[2, 4]), cases.any(&[])];
    cases.add("index_fill", inputs, move |x| x[0].index_fill(1, &order(), &x[1])?.square());
    let inputs = vec![cases.any(&[2, 4]), cases.any(&[4])];
    cases.add("select_scatter", inputs, |x| x[0].select_scatter(&x[1], 0, -1)?.square());
}

fn products(cases: &mut Cases) {
    let mut add = |name: &str, shapes: &[&[usize]], f: fn(&[Tensor]) -> Result<Tensor>| {
        let inputs = shapes.iter().map(|shape| cases.any(shape)).collect();
        cases.add(name, inputs, move |x| f(x)?.square());
    };
    add("addmm", &[&[3], &[2, 4], &[4, 3]], |x| x[0].addmm(&x[1], &x[2], 0.5, 2.0));
    add("addmv", &[&[2], &[2, 4], &[4]], |x| x[0].addmv(&x[1], &x[2], 1.0, 1.0));
    add("baddbmm", &[&[], &[2, 1, 4], &[2, 4, 3]], |x| x[0].baddbmm(&x[1], &x[2], 3.0, 1.0));
    add("outer", &[&[3], &[2]], |x| x[0].outer(&x[1]));
    add("kron", &[&[2, 1], &[3, 2, 2]], |x| x[0].kron(&x[1]));
    add("cross", &[&[1, 3], &[2, 3]], |x| x[0].cross(&x[1], None));
    add("tensordot", &[&[2, 3, 2], &[2, 4, 2]], |x| x[0].tensordot(&x[1], [0, 2], [2, 0]));
    add("bilinear", &[&[2, 3], &[2, 4], &[2, 3, 4], &[2]], |x| {
        x[0].bilinear(&x[1], &x[2], Some(&x[3]))
    });
    add("linear with a vector", &[&[2, 3], &[3], &[]], |x| x[0].linear(&x[1], Some(&x[2])));
    add("einsum of three", &[&[2, 3], &[3, 4], &[4]], |x| {
        Tensor::einsum("ij,jk,k->ik", &[&x[0], &x[1], &x[2]])
    });
    add("einsum of diagonals", &[&[2, 3, 2], &[3]], |x| Tensor::einsum("iji,j", &[&x[0], &x[1]]));
    add("einsum with an ellipsis", &[&[2, 3, 4], &[3, 4, 2]], |x| {
        Tensor::einsum("i...j, ...ji -> ...i", &[&x[0], &x[1]])
    });
    let shapes: [&[usize]; 3] = [&[2, 3, 2], &[2, 4, 2], &[2, 4, 3]];
    let three = |cases: &mut Cases| shapes.map(|shape| cases.any(shape)).to_vec();
    let inputs = three(cases);
    cases.add("attention, causal", inputs, move |x| {
        attention(x, AttentionOp { is_causal: true, ..Default::default() })
    });
    let inputs = three(cases);
    cases.add("attention, one query blind", inputs, move |x| {
        let mask = Tensor::from([[true, false, true, true], [false; 4], [true; 4]]);
        attention(x, AttentionOp { mask: Some(&mask), scale: Some(0.7), ..Default::default() })
    });
    let inputs = vec![cases.any(&[4, 3, 2]), cases.any(&[2, 3, 2]), cases.any(&[1, 3, 2])];
    cases.add("attention, grouped", inputs, move |x| {
        attention(x, AttentionOp { enable_gqa: true, ..Default::default() })
    });
}

fn attention(x: &[Tensor], settings: AttentionOp<'_>) -> Result<Tensor> {
    x[0].scaled_dot_product_attention(&x[1], &x[2], settings)
}
