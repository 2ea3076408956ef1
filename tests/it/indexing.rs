//! Indexing, scattering and arranging beyond PyTorch's own cases: what is a view, what any type can, what wrong calls say.

use ferrotape::prelude::*;

fn counted(shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    Tensor::arange(0., 1., len, DType::I64).unwrap().reshape(shape).unwrap()
}

fn numbers(x: Result<Tensor>) -> Vec<i64> {
    x.unwrap().to_dtype(DType::I64).unwrap().to_vec::<i64>().unwrap()
}

/// The error's words without its place, which must be in this file.
fn words<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    error.to_string().split(" (at ").next().unwrap().to_string()
}

#[test]
fn views_share_their_storage() {
    let x = counted(&[4, 6]);
    let whole = x.address()..x.address() + 24 * 8;
    let mut views = vec![
        x.diagonal(1, 0, 1).unwrap(),
        x.unfold(1, 3, 2).unwrap(),
        x.movedim(0, 1).unwrap(),
        x.slice(1, None, None, -2).unwrap(),
        x.i((Index::step(3, None, -1), 1..3)).unwrap(),
        x.select_at(1, 4).unwrap(),
        x.rot90(1, [0, 1]).unwrap(),
        x.unflatten(1, [2, -1]).unwrap(),
        x.reshape([-1, 2]).unwrap(),
        x.expand([3, -1, -1]).unwrap(),
    ];
    views.extend(x.split(4, 1).unwrap());
    views.extend(x.chunk(3, 0).unwrap());
    views.extend(x.tensor_split(4, 1).unwrap());
    views.extend(x.unbind(-1).unwrap());
    assert!(views.len() > 20);
    for view in views {
        assert!(whole.contains(&view.address()), "{:?}", view.layout());
    }
    let windows = x.i(0).unfold(0, 4, 2).unwrap();
    assert_eq!((windows.shape(), windows.layout().strides()), (&[2, 4][..], &[2, 1][..]));
}

#[test]
fn indices_of_all_kinds() {
    let x = counted(&[2, 3, 4]);
    assert_eq!(numbers(x.i((Index::Ellipsis, 0))), [0, 4, 8, 12, 16, 20]);
    assert_eq!(
        numbers(x.i((1, Index::Ellipsis, Index::step(None, None, -3)))),
        [15, 12, 19, 16, 23, 20]
    );
    assert_eq!(
        x.i((Index::NewDim, Index::Ellipsis, Index::NewDim)).unwrap().shape(),
        [1, 2, 3, 4, 1]
    );
    // Side by side they stay where they are; apart the chosen dims come first.
    let (rows, columns) = (Tensor::from([2i64, -3]), Tensor::from([[0i64], [3]]));
    let y = x.i((.., &rows, &columns)).unwrap();
    assert_eq!(
        (y.shape(), numbers(Ok(y.clone()))),
        (&[2, 2, 2][..], vec![8, 0, 11, 3, 20, 12, 23, 15])
    );
    let y = x.i((&Tensor::from([1i64, 0]), .., &Tensor::from([3i64]))).unwrap();
    assert_eq!((y.shape(), numbers(Ok(y.clone()))), (&[2, 3][..], vec![15, 19, 23, 3, 7, 11]));
    let mask = x.i(0).unwrap().gt(8.0).unwrap();
    assert_eq!(numbers(x.i((1, &mask))), [21, 22, 23]);
    assert_eq!(numbers(x.i((.., &mask))), [9, 10, 11, 21, 22, 23]);
    assert_eq!(numbers(mask.nonzero()), [2, 1, 2, 2, 2, 3]);
    assert_eq!(numbers(x.slice(2, Some(-100), Some(1), 1)), [0, 4, 8, 12, 16, 20]);
    assert_eq!(x.slice(1, Some(2), Some(1), 1).unwrap().shape(), [2, 0, 4]);
    assert_eq!(numbers(x.flip([])), numbers(Ok(x.clone())));
}

#[test]
fn of_those_that_meet_the_last_stays() {
    let index = Tensor::from([1i64, 0, 1, 1]);
    let source = Tensor::from([true, true, false, true]);
    let none = Tensor::from([false, false, false]);
    assert_eq!(numbers(none.scatter(0, &index, &source)), [1, 1, 0]);
    let (x, source) = (Tensor::from([0.; 3]), Tensor::from([1., 2., 3., 4.]));
    assert_eq!(numbers(x.index_copy(0, &index, &source)), [2, 4, 0]);
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&x);
        tape.watch(&source);
        x.scatter(0, &index, &source)
    })
    .unwrap();
    let gradients =
        tape.vector_jacobian_product(&[(&y, Tensor::from([1., 2., 3.]))], &[&x, &source]);
    let gradients = gradients.unwrap().into_iter().map(|g| g.unwrap().to_vec::<f64>().unwrap());
    assert_eq!(gradients.collect::<Vec<_>>(), [vec![0., 0., 3.], vec![0., 1., 0., 2.]]);
}

#[test]
fn extremes_and_products_meet_nan_and_infinities() {
    let (index, x) = (Tensor::from([0i64, 0, 1]), Tensor::from([1., 2., 3.]));
    let source = Tensor::from([f64::NAN, 5., f64::NEG_INFINITY]);
    let reduced = |reduce, itself| {
        let y = x.scatter_reduce(0, &index, &source, reduce, itself).unwrap();
        y.to_vec::<f64>().unwrap()
    };
    let y = reduced(ScatterReduce::Amax, true);
    assert!(y[0].is_nan() && y[1..] == [2., 3.], "{y:?}");
    let y = reduced(ScatterReduce::Amax, false);
    assert!(y[0].is_nan() && y[1..] == [f64::NEG_INFINITY, 3.], "{y:?}");
    let y = reduced(ScatterReduce::Mean, false);
    assert!(y[0].is_nan() && y[1..] == [f64::NEG_INFINITY, 3.], "{y:?}");
    let masked = Tensor::from([f64::INFINITY, f64::NAN]);
    assert_eq!(numbers(masked.reshape([1, 2]).tril(-1)), [0, 0]);
    assert_eq!(numbers(masked.masked_fill(&Tensor::from([true, true]), 7.0)), [7, 7]);
    // What counts 0 times may hold anything.
    let one = Tensor::ones([2, 2], DType::F64).unwrap();
    assert_eq!(numbers(masked.addmm(&one, &one, 0.0, 1.0)), [2; 4]);
}

#[test]
fn any_type_can_be_moved() {
    for dtype in DType::ALL {
        let x = Tensor::from([[1i64, 0, 1], [0, 1, 1]]).to_dtype(dtype).unwrap();
        let moved: &[(Result<Tensor>, &[i64])] = &[
            (x.diagonal(1, 0, 1), &[0, 1]),
            (x.i(1).diag_embed(0, 0, 1), &[0, 0, 0, 0, 1, 0, 0, 0, 1]),
            (x.roll(1, 1), &[1, 1, 0, 1, 0, 1]),
            (x.pad(&[1, 0], PadMode::Constant(1.0)), &[1, 1, 0, 1, 1, 0, 1, 1]),
            (x.pad(&[0, 1], PadMode::Constant(0.0)), &[1, 0, 1, 0, 0, 1, 1, 0]),
            (x.pad(&[0, 2], PadMode::Reflect), &[1, 0, 1, 0, 1, 0, 1, 1, 1, 0]),
            (x.triu(1), &[0, 0, 1, 0, 0, 1]),
            (x.tile(&[1, 2]), &[1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1]),
            (x.take(&Tensor::from([-1i64, 1])), &[1, 0]),
            (x.scatter(1, &Tensor::from([[1i64], [0]]), 1.0), &[1, 1, 1, 1, 1, 1]),
            (x.index_fill(0, &Tensor::from([0i64]), 0.0), &[0, 0, 0, 0, 1, 1]),
            (x.masked_select(&x.gt(0.0).unwrap()), &[1, 1, 1, 1]),
            (x.select_scatter(&x.i(0).unwrap(), 0, 1), &[1, 0, 1, 1, 0, 1]),
        ];
        for (i, (got, expected)) in moved.iter().enumerate() {
            let got = got.as_ref().unwrap_or_else(|error| panic!("{dtype} {i}: {error}"));
            assert_eq!((got.dtype(), &numbers(Ok(got.clone()))[..]), (dtype, *expected), "{i}");
        }
    }
}

#[test]
fn grids_and_groups() {
    let (a, b) = (Tensor::from([1i64, 2]), Tensor::from([3i64, 4, 5]));
    let grid = Tensor::meshgrid(&[&a, &b]).unwrap();
    assert_eq!(numbers(Ok(grid[0].clone())), [1, 1, 1, 2, 2, 2]);
    assert_eq!(numbers(Ok(grid[1].clone())), [3, 4, 5, 3, 4, 5]);
    let x = counted(&[1, 4, 2, 3]);
    let back = x.pixel_shuffle(2).pixel_unshuffle(2);
    assert_eq!(numbers(back), numbers(Ok(x)));
    let table = Tensor::from([[1f32, 2.], [3., 4.]]);
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&table);
        table.embedding(&Tensor::from([0i64, 1, 1]), Some(-2))?.sum(..)
    })
    .unwrap();
    assert_eq!(numbers(Ok(tape.gradient(&y, &[&table]).unwrap()[0].clone())), [0, 0, 2, 2]);
}

#[test]
fn wrong_calls_say_what_is_wrong() {
    let x = Tensor::ones([2, 3], DType::F32).unwrap();
    let at = Tensor::from([[0i64, 3, 0]]);
    assert_eq!(
        words(x.scatter(1, &at, 1.0)),
        "scatter: index 3 is out of range for size 3 of dim 1"
    );
    assert_eq!(words(x.gather(0, &at)), "gather: index 3 is out of range for size 2 of dim 0");
    assert_eq!(words(x.i((.., &at))), "index_select: index 3 is out of range for size 3 of dim 1");
    assert_eq!(words(x.i((1, 0, &at))), "index: 3 indices for shape [2, 3]");
    assert_eq!(
        words(x.i(Index::step(3, None, 1))),
        "index: index 3 is out of range for size 2 of dim 0"
    );
    assert_eq!(words(x.i((Index::Ellipsis, Index::Ellipsis))), "index: more than one ellipsis");
    assert_eq!(words(x.i(Index::step(None, None, 0))), "index: a step of 0");
    assert_eq!(words(x.i(&x)), "index: an index of f32: i64, i32 or bool is expected");
    assert_eq!(words(x.i((.., &Tensor::from([true, false])))), "index: a mask [2] for dims [3]");
    assert_eq!(
        words(x.reshape([4, -1])),
        "reshape: [4, -1] for 6 elements: the size -1 can't be told"
    );
    assert_eq!(
        words(x.reshape([-1, -1])),
        "reshape: [-1, -1] for 6 elements: only one size can be -1"
    );
    assert_eq!(words(x.reshape([-6])), "reshape: [-6] for 6 elements: a size is negative");
    assert_eq!(words(x.unfold(1, 4, 1)), "unfold: windows of 4, 1 apart, in size 3");
    assert!(x.unfold(1, 2, 0).is_err() && x.unfold(1, usize::MAX, 1).is_err());
    assert_eq!(words(x.diagonal(0, 1, -1)), "diagonal: dim 1 is named twice");
    assert_eq!(x.diagonal(i64::MIN, 0, 1).unwrap().shape(), [0]);
    assert!(x.diag_embed(i64::MIN, 0, 1).is_err() && x.diag_embed(i64::MAX, 0, 1).is_err());
    assert_eq!(
        words(x.split_with_sizes(&[1, 2], 0)),
        "split_with_sizes: pieces that are more than size 2 of dim 0"
    );
    assert_eq!(words(x.split(0, 0)), "split: pieces of 0 from size 2 of dim 0");
    assert_eq!(
        words(x.pad(&[3, 0], PadMode::Reflect)),
        "pad: 3 and 0 beside size 3 of dim 1 (Reflect)"
    );
    assert_eq!(
        words(x.pad(&[-2, -2], PadMode::Constant(0.))),
        "pad: -2 and -2 take more than size 3 of dim 1"
    );
    for sides in [[i64::MIN, i64::MAX], [i64::MAX, i64::MAX], [i64::MIN, 0], [0, i64::MAX]] {
        for mode in [PadMode::Constant(1.), PadMode::Reflect, PadMode::Replicate, PadMode::Circular]
        {
            assert!(x.pad(&sides, mode).is_err(), "{sides:?} {mode:?}");
        }
    }
    assert!(x.repeat(&[usize::MAX, 2]).is_err() && x.repeat(&[2]).is_err());
    assert!(x.repeat_interleave_by(&Tensor::from([i64::MAX, 1]), Some(0)).is_err());
    assert!(x.im2col([1, 1], Conv2dOp::default()).is_err() && x.pixel_shuffle(0).is_err());
    assert!(x.roll([1, 2], 0).is_err() && x.movedim([0, 0], [0, 1]).is_err());
    assert_eq!(words(x.bmm(&x)), "bmm: [2, 3] and [2, 3]: 3 and 3 dims expected");
    assert!(x.cross(&x, Some(0)).is_err() && x.tensordot(&x, 0, 1).is_err());
    let said = |equation: &str| words(Tensor::einsum(equation, &[&x, &x]));
    assert_eq!(said("ij"), "einsum: \"ij\": 1 terms for 2 operands");
    assert_eq!(said("ij,j1"), "einsum: \"ij,j1\": '1' is no letter");
    assert!(said("ij,jk").contains("Letter('j') is 3 long in one operand, 2 in another"));
    assert!(said("ij,ijk").contains("\"ijk\" does not fit operand 1 of shape [2, 3]"));
    assert!(said("ij,ij->ik").contains("Letter('k') of the result is in no operand"));
    assert!(said("ij,ij->ii").contains("stands twice in the result"));
    assert!(said("ii,ij").contains("of operand 0 is [2, 3] long"));
    assert!(said("......,ij").contains("more than one ellipsis"));
}
