//! Selecting, scattering, scanning and sorting on a GPU: the CPU's bits, its errors, nothing by way of the host.

use ferrotape::ScatterReduce;
use ferrotape::host_fallbacks;
use ferrotape::prelude::*;

use super::{bits, gpu};

type Results = Vec<(String, Result<Tensor>)>;

/// What only moves elements, or compares them.
fn moved(x: &Tensor, index: &Tensor, rows: &Tensor, mask: &Tensor) -> Results {
    let mut all: Results = Vec::new();
    let mut add = |name: &str, y: Result<Tensor>| all.push((name.to_owned(), y));
    add("cat", Tensor::cat(&[x, &x.flip(1).unwrap(), x], 1));
    add("stack", Tensor::stack(&[x, x], 2));
    for dim in 0..3 {
        add("gather", x.gather(dim, index));
        add("index_select", x.index_select(dim, rows));
        add("scatter", x.scatter(dim, index, x.flip(0)));
        add("index_copy", x.index_copy(dim, rows, &x.index_select(dim, rows).unwrap()));
        for descending in [false, true] {
            match x.sort(dim, descending) {
                Ok((values, indices)) => {
                    add("sort", Ok(values));
                    add("sort's indices", Ok(indices));
                }
                Err(error) => add("sort", Err(error)),
            }
            match x.topk(2, dim, descending) {
                Ok((values, indices)) => {
                    add("topk", Ok(values));
                    add("topk's indices", Ok(indices));
                }
                Err(error) => add("topk", Err(error)),
            }
        }
        add("argsort", x.argsort(dim, true));
        add("take_along_dim", x.take_along_dim(&x.argsort(dim, false).unwrap(), Some(dim)));
        add("kthvalue", x.kthvalue(2, dim).map(|(values, _)| values));
    }
    add("take", x.take(index));
    add("index_fill", x.index_fill(1, rows, 2.0));
    add("diag_embed", x.diag_embed(1, 0, 2));
    let first = x.select_at(0, 0).unwrap();
    add("select_scatter", x.select_scatter(&first, 0, 2));
    add("msort", x.msort());
    let edges = x.flatten(0, -1).msort().unwrap();
    for right in [false, true] {
        add("searchsorted", edges.searchsorted(x, right));
        add("bucketize", x.bucketize(&edges, right));
        add("rows", x.sort(2, false).and_then(|(rows, _)| rows.searchsorted(x.flip(2)?, right)));
    }
    add("masked_select", x.masked_select(mask));
    add("roll", x.roll([1, -2], [0, 2]));
    all
}

/// What computes.
fn computed(x: &Tensor, index: &Tensor, rows: &Tensor) -> Results {
    let mut all: Results = Vec::new();
    let mut add = |name: &str, y: Result<Tensor>| all.push((name.to_owned(), y));
    for dim in 0..3 {
        add("scatter_add", x.scatter_add(dim, index, x.flip(1)));
        let slices = x.index_select(dim, rows).unwrap();
        add("index_add", x.index_add(dim, rows, &slices));
        for reduce in
            [ScatterReduce::Sum, ScatterReduce::Prod, ScatterReduce::Amax, ScatterReduce::Amin]
        {
            add("scatter_reduce", x.scatter_reduce(dim, index, &x.flip(1).unwrap(), reduce, true));
        }
        add("cumsum", x.cumsum(dim));
        add("cumprod", x.cumprod(dim));
        add("cummax", x.cummax(dim).map(|(values, _)| values));
        add("cummax's indices", x.cummax(dim).map(|(_, indices)| indices));
        add("cummin", x.cummin(dim).map(|(values, _)| values));
        add("linear_scan", x.linear_scan(x.flip(0).unwrap(), dim));
    }
    all
}

fn compare(want: Results, got: Results, what: &str) {
    assert_eq!(want.len(), got.len());
    for ((name, want), (_, got)) in want.iter().zip(&got) {
        match (want, got) {
            (Ok(want), Ok(got)) => assert_eq!(bits(got), bits(want), "{name} of {what}"),
            (Err(want), Err(got)) => {
                let words = |e: &ferrotape::Error| e.kind().to_string().replace("cuda:0", "cpu");
                assert_eq!(words(got), words(want), "{name} of {what}");
            }
            (want, got) => panic!("{name} of {what}: {got:?}, not {want:?}"),
        }
    }
}

/// Sizes, all dims the same long, so that one index serves all.
fn operands(n: usize) -> (Tensor, Tensor, Tensor) {
    let mut rng = Generator::new(n as u64);
    let x = rng.normal([n, n, n], 0.0, 4.0, DType::F64).unwrap().round().unwrap();
    let draw = |rng: &mut Generator, shape: &[usize]| {
        let y = rng.uniform(shape, 0.0, n as f64, DType::F64).unwrap();
        y.floor().to_dtype(DType::I64).unwrap()
    };
    let (index, rows) = (draw(&mut rng, &[n, n, n]), draw(&mut rng, &[n + 3]));
    (x, index, rows)
}

#[test]
fn selecting_scanning_and_sorting_run_there() {
    let name = "cuda::indices::selecting_scanning_and_sorting_run_there";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        for n in [3, 8] {
            let (x, index, rows) = operands(n);
            let mask = x.gt(1.0).unwrap();
            let [index_there, rows_there, mask_there] =
                [&index, &rows, &mask].map(|tensor| tensor.to_device(gpu).unwrap());
            for dtype in DType::ALL {
                let x = x.to_dtype(dtype).unwrap();
                let there = x.to_device(gpu).unwrap();
                for (x, there) in [
                    (x.clone(), there.clone()),
                    (x.transpose(0, 2).unwrap(), there.transpose(0, 2).unwrap()),
                ] {
                    let what = format!("{dtype}, {n}");
                    let before = host_fallbacks();
                    let got = moved(&there, &index_there, &rows_there, &mask_there);
                    assert_eq!(host_fallbacks(), before, "{what}: the host moved some of it");
                    compare(moved(&x, &index, &rows, &mask), got, &what);
                    let got = computed(&there, &index_there, &rows_there);
                    assert_eq!(host_fallbacks(), before, "{what}: the host computed some of it");
                    compare(computed(&x, &index, &rows), got, &what);
                }
            }
        }
    });
}

#[test]
fn an_index_outside_is_the_cpus_error() {
    let Some(gpu) = gpu() else { return };
    let (x, index, _) = operands(3);
    for bad in [-1i64, 3, i64::MAX] {
        let index = index.scatter(0, &Tensor::from([[[1i64]]]), Tensor::from([[[bad]]])).unwrap();
        let rows = Tensor::from([0i64, bad, 1]);
        let all = |x: &Tensor, index: &Tensor, rows: &Tensor| -> Results {
            let some = x.narrow(1, 0, 3).unwrap();
            vec![
                ("gather".to_owned(), x.gather(1, index)),
                ("index_select".to_owned(), x.index_select(1, rows)),
                ("scatter_add".to_owned(), x.scatter_add(2, index, x)),
                ("scatter".to_owned(), x.scatter(0, index, x)),
                ("index_add".to_owned(), x.index_add(1, rows, &some)),
                ("embedding".to_owned(), x.select_at(0, 1).unwrap().embedding(rows, None)),
            ]
        };
        let [x_there, index_there, rows_there] =
            [&x, &index, &rows].map(|tensor| tensor.to_device(gpu).unwrap());
        let want = all(&x, &index, &rows);
        assert!(want.iter().all(|(_, y)| y.is_err()));
        compare(want, all(&x_there, &index_there, &rows_there), "a bad index");
    }
}

#[test]
fn gradients_are_the_cpus() {
    let name = "cuda::indices::gradients_are_the_cpus";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        let (x, index, rows) = operands(5);
        let gradient = |x: &Tensor, index: &Tensor, rows: &Tensor| -> Vec<Tensor> {
            let (loss, tape) = Tape::record(|tape| {
                tape.watch(x);
                let table = x.flatten(0, 1)?;
                let mut all = vec![
                    table.embedding(rows, Some(1))?,
                    x.unfold(1, 3, 1)?,
                    x.unfold(2, 2, 2)?,
                    x.diagonal(1, 0, 2)?,
                    x.slice(1, Some(1), None, 2)?,
                    x.sort(1, true)?.0,
                    x.topk(2, 2, true)?.0,
                    x.cumsum(0)?,
                    x.cummax(1)?.0,
                    x.gather(2, index)?,
                    x.linear_scan(x.flip(0)?, 1)?,
                    x.median(2)?.0,
                ];
                let mut loss = x.sum(..)?;
                for y in &mut all {
                    loss = loss.add(y.square().sum(..))?;
                }
                Ok::<_, ferrotape::Error>(loss)
            })
            .unwrap();
            tape.gradient(&loss, &[x]).unwrap()
        };
        for dtype in [DType::F32, DType::F64] {
            let x = x.to_dtype(dtype).unwrap();
            let [x_there, index_there, rows_there] =
                [&x, &index, &rows].map(|tensor| tensor.to_device(gpu).unwrap());
            let before = host_fallbacks();
            let got = gradient(&x_there, &index_there, &rows_there);
            assert_eq!(host_fallbacks(), before, "the host computed some of it");
            assert_eq!(bits(&got[0]), bits(&gradient(&x, &index, &rows)[0]), "{dtype}");
        }
    });
}

/// More than 16 dims that don't lie together: the host computes it.
#[test]
fn what_is_beyond_kernels_is_the_hosts() {
    let name = "cuda::indices::what_is_beyond_kernels_is_the_hosts";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        let mut rng = Generator::new(4);
        let shape = [3, 2, 2, 2, 2, 2, 2, 2, 2];
        let flat = rng.normal(shape, 0.0, 2.0, DType::F32).unwrap();
        // Every other element, each of the dims broken by a dim of stride 0: 17 that can't be joined.
        let broken = |x: &Tensor| -> Tensor {
            let mut x = x.clone();
            for d in (1..9).rev() {
                let mut shape = x.unsqueeze(d).unwrap().shape().to_vec();
                shape[d as usize] = 2;
                x = x.unsqueeze(d).unwrap().expand(&shape[..]).unwrap();
            }
            assert_eq!(x.rank(), 17);
            x
        };
        let (x, there) = (broken(&flat), broken(&flat.to_device(gpu).unwrap()));
        let all = |x: &Tensor| -> Results {
            let mut all: Results = Vec::new();
            let mut add = |name: &str, y: Result<Tensor>| all.push((name.to_owned(), y));
            let rows = Tensor::from([1i64, 0, 1]).to_device(x.device()).unwrap();
            let turned = x.transpose(0, 16).unwrap();
            let whole = x.contiguous().unwrap();
            add("contiguous", x.contiguous());
            add("neg", x.neg());
            add("add", x.add(turned.narrow(0, 0, 1).narrow(16, 0, 1)));
            add("where", x.gt(0.0).select(x, -1.0));
            add("to_dtype", x.to_dtype(DType::I32));
            add("sum", x.sum(..));
            add("some dims", x.sum([0, 5, 16]));
            add("amax", x.amax([2, 3]));
            add("argmax", x.argmax(3));
            add("softmax", x.softmax(4));
            add("cat", Tensor::cat(&[x, x], 3));
            add("index_select", x.index_select(2, &rows));
            add("index_add", whole.index_add(3, &rows.narrow(0, 0, 2).unwrap(), x));
            add("gather", x.gather(0, &x.argsort(0, false).unwrap()));
            add("sort", x.sort(16, true).map(|(values, _)| values));
            add("cumsum", x.cumsum(8));
            add("unfold's adjoint", x.flip(0).diag_embed(0, 3, 4));
            add("matmul", x.matmul(x));
            // Beyond 16 dims, but of one piece: kernels take that.
            add("whole", whole.add(1.0).sum([1, 4]));
            all
        };
        let before = host_fallbacks();
        let got = all(&there);
        assert!(host_fallbacks() > before, "no kernel takes all of this");
        compare(all(&x), got, "many dims");
        let whole = there.contiguous().unwrap();
        let before = host_fallbacks();
        whole.add(1.0).exp().sum(..).unwrap();
        assert_eq!(host_fallbacks(), before);
        // A dim of 2^33 elements that are one.
        let vast = |x: &Tensor| {
            x.select_at(0, 1).flatten(0, -1).narrow(0, 3, 1).expand([1usize << 33]).unwrap()
        };
        let all = |x: &Tensor| -> Results {
            let places = Tensor::from([5i64, (1 << 33) - 1, 0]).to_device(x.device()).unwrap();
            let vast = vast(x);
            vec![
                ("index_select".to_owned(), vast.index_select(0, &places)),
                ("gather".to_owned(), vast.gather(0, &places)),
                ("narrow".to_owned(), vast.narrow(0, 1 << 32, 7).contiguous()),
                ("beyond".to_owned(), vast.gather(0, &places.add(1.0).unwrap())),
            ]
        };
        compare(all(&flat), all(&flat.to_device(gpu).unwrap()), "a vast dim");
    });
}
