//! Cases of views, concatenation, reductions and selection by indices.

use ferrotape::prelude::*;
use ferrotape::{Dims, IndexOp, Op, ReduceDims, ReduceOp, ViewOp};

use super::{Cases, one};

pub(super) fn views(cases: &mut Cases) {
    type View = fn(&Tensor) -> Result<Tensor>;
    let views: [(&str, &[usize], View); 20] = [
        ("reshape", &[2, 6], |x| x.reshape([3, 4])),
        ("reshape of a transposed", &[2, 6], |x| x.t()?.reshape([3, 4])),
        ("reshape to a scalar", &[1, 1], |x| x.reshape(())),
        ("reshape of nothing", &[0, 3], |x| x.reshape([2, 0])),
        ("flatten", &[2, 3, 2], |x| x.flatten(1, -1)),
        ("flatten a scalar", &[], |x| x.flatten(0, -1)),
        ("permute", &[2, 3, 4], |x| x.permute([2, 0, 1])),
        ("permute back", &[2, 3, 4], |x| x.permute([1, 2, 0])?.permute([-1, 0, 1])),
        ("transpose", &[2, 3, 4], |x| x.transpose(0, -1)),
        ("expand", &[3, 1], |x| x.expand([2, 3, 4])),
        ("expand a scalar", &[], |x| x.expand([2, 2])),
        ("expand to nothing", &[1, 3], |x| x.expand([0, 3])),
        ("sum_to", &[2, 3, 4], |x| x.sum_to([3, 1])),
        ("unsqueeze, squeeze", &[2, 1, 3], |x| x.unsqueeze(-1)?.squeeze(1)),
        ("narrow", &[5, 3], |x| x.narrow(0, 1, 3)),
        ("narrow to nothing", &[5, 3], |x| x.narrow(1, 3, 0)),
        ("index", &[4, 3, 5], |x| x.i((1..3, -1, ..4))),
        ("flip", &[3, 4], |x| x.flip([0, 1])),
        ("flip of nothing", &[0, 2], |x| x.flip(..)),
        ("chunks", &[4, 3], |x| x.i(0)?.mul(x.i(2)?)?.add(x.i((3, ..)))),
    ];
    for (name, shape, view) in views {
        let x = cases.any(shape);
        cases.add(name, vec![x], move |x| view(&x[0])?.square());
        let x = cases.any(shape);
        cases.add(format!("{name}, linear"), vec![x], move |x| view(&x[0]));
    }
    for (start, length, step) in
        [(0, 4, 2), (1, 3, 2), (6, 3, -3), (6, 7, -1), (3, 1, 5), (2, 0, 3)]
    {
        let x = cases.any(&[2, 7]);
        cases.add(format!("slice {start} {length} {step}"), vec![x], move |x| {
            one(&Op::View(ViewOp::Slice { dim: 1, start, length, step }), &[&x[0]])?.square()
        });
        let x = cases.any(&[2, length]);
        cases.add(format!("unslice {start} {length} {step}"), vec![x], move |x| {
            let op = Op::Index(IndexOp::Unslice { dim: 1, start, step, size: 7 });
            one(&op, &[&x[0]])?.square()
        });
    }
    concatenations(cases);
    reductions(cases);
}

fn concatenations(cases: &mut Cases) {
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[1, 3]), cases.any(&[0, 3])];
    cases.add("cat", inputs, |x| Tensor::cat(&[&x[0], &x[1], &x[2]], 0)?.square());
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[3, 2])];
    cases.add("cat, strided", inputs, |x| Tensor::cat(&[&x[1].t()?, &x[0]], -1)?.square());
    let x = cases.any(&[2, 3]);
    cases.add("cat of one value twice", vec![x], |x| {
        Tensor::cat(&[&x[0], &x[0].exp()?, &x[0]], 1)?.square()
    });
    for dim in [0, 1, -1] {
        let inputs = vec![cases.any(&[2, 3]), cases.any(&[2, 3])];
        cases.add(format!("stack {dim}"), inputs, move |x| {
            Tensor::stack(&[&x[0], &x[1]], dim)?.square()
        });
    }
    let inputs = vec![cases.any(&[]), cases.any(&[])];
    cases.add("stack of scalars", inputs, |x| Tensor::stack(&[&x[0], &x[1]], 0)?.square());
}

fn reductions(cases: &mut Cases) {
    for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
        // Every subset of the dims, kept or not, of a tensor as it lies and of a transposed one.
        for (subset, keep) in (0..8).flat_map(|subset| [(subset, false), (subset, true)]) {
            let dims: Dims = (0..3).filter(|d| subset >> d & 1 == 1).collect();
            let op = Op::Reduce(op, ReduceDims { dims: dims.clone(), keep });
            let name = format!("{} {dims:?} {keep}", op.name());
            let x = cases.any(&[2, 3, 4]);
            let dense = op.clone();
            cases.add(name.clone(), vec![x], move |x| one(&dense, &[&x[0]])?.square());
            let x = cases.any(&[4, 3, 2]);
            cases.add(name + " strided", vec![x], move |x| {
                one(&op, &[&x[0].permute([2, 1, 0])?])?.square()
            });
        }
        let op = Op::Reduce(op, ReduceDims { dims: Dims::new(), keep: false });
        let x = cases.any(&[]);
        cases.add(format!("{} of a scalar", op.name()), vec![x], move |x| {
            one(&op, &[&x[0]])?.square()
        });
    }
    let x = cases.any(&[2, 0]);
    cases.add("sum of nothing", vec![x], |x| x[0].sum(1)?.add(1.0)?.square());
    let x = cases.any(&[2, 0]);
    cases.add("prod of nothing", vec![x], |x| x[0].prod(1)?.add(1.0)?.square());
    let x = cases.any(&[0, 2]);
    cases.add("max of no rows", vec![x], |x| x[0].max(1));
    // Longer than the lanes and the chunks of the fixed order of sums.
    let x = cases.any(&[300, 3]);
    cases.add("sum of many rows", vec![x], |x| x[0].sum(0)?.square());
    let x = cases.any(&[3, 300]);
    cases.add("maximum of long rows", vec![x], |x| x[0].max(-1)?.square());
}

pub(super) fn selections(cases: &mut Cases) {
    let index = Tensor::from([[0i64, 2, 2], [1, 0, 3]]);
    for (dim, shape) in [(0, [4, 3]), (1, [2, 4])] {
        let (x, index) = (cases.any(&shape), index.clone());
        cases.add(format!("gather {dim}"), vec![x], move |x| x[0].gather(dim, &index)?.square());
    }
    let smaller = Tensor::from([[1i64], [0]]);
    let x = cases.any(&[3, 4]);
    cases.add("gather fewer rows", vec![x], move |x| x[0].gather(1, &smaller)?.square());
    let none = Tensor::zeros([0, 3], DType::I64).unwrap();
    let x = cases.any(&[4, 3]);
    cases.add("gather nothing", vec![x], move |x| x[0].gather(0, &none));
    let at = index.clone();
    let x = cases.any(&[3, 4]);
    cases.add("gather from a transposed", vec![x], move |x| x[0].t()?.gather(0, &at)?.square());

    for (dim, shape) in [(0, [4, 3]), (1, [2, 5]), (0, [5, 4])] {
        let index = index.clone();
        let inputs = vec![cases.any(&shape), cases.any(&[2, 3])];
        cases.add(format!("scatter_add {dim} {shape:?}"), inputs, move |x| {
            x[0].scatter_add(dim, &index, &x[1])?.square()
        });
    }
    let at = index.clone();
    let inputs = vec![cases.any(&[4, 3]), cases.any(&[3, 2])];
    cases.add("scatter_add of a transposed", inputs, move |x| {
        x[0].scatter_add(0, &at, &x[1].t()?)?.square()
    });
    let at = index.clone();
    let x = cases.any(&[2, 3]);
    cases.add("scatter_add alone", vec![x], move |x| {
        let shape = Dims::from_slice(&[4, 3]);
        one(&Op::Index(IndexOp::ScatterAdd { dim: 0, shape }), &[&x[0], &at])?.square()
    });

    let order = Tensor::from([2i64, 0, 2, 1]);
    for dim in [0i64, 1, 2] {
        let (x, index) = (cases.any(&[3, 3, 3]), order.clone());
        cases.add(format!("index_select {dim}"), vec![x], move |x| {
            x[0].index_select(dim, &index)?.square()
        });
        let mut shape = [3, 3, 3];
        shape[dim as usize] = 4;
        let (inputs, index) = (vec![cases.any(&[3, 3, 3]), cases.any(&shape)], order.clone());
        cases.add(format!("index_add {dim}"), inputs, move |x| {
            x[0].index_add(dim, &index, &x[1])?.square()
        });
    }
    let (x, index) = (cases.any(&[2, 3]), order.clone());
    cases.add("index_select of a transposed", vec![x], move |x| {
        x[0].t()?.index_select(0, &index)?.square()
    });
    let none = Tensor::zeros([0], DType::I64).unwrap();
    let x = cases.any(&[3, 2]);
    cases.add("index_select nothing", vec![x], move |x| x[0].index_select(0, &none));
    let x = cases.any(&[4, 2]);
    cases.add("index_add alone", vec![x], move |x| {
        one(&Op::Index(IndexOp::Add { dim: 0, size: 6 }), &[&x[0], &order])?.square()
    });
}
