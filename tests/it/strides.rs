//! Properties over shapes and strides: views of views at random against plain loops over indices; every operation has the bits on a view
//! that it has on a copy of it; the gradient of a view is its transpose.

use ferrotape::autograd::Tape;
use ferrotape::prelude::*;

const CASES: u64 = 4000;
const MOST: usize = 3000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
    fn size(&mut self) -> usize {
        [0, 1, 1, 2, 3, 3, 4, 5, 7, 17][if self.chance(12) { 0 } else { 1 + self.below(9) }]
    }
    fn shape(&mut self, rank: usize) -> Vec<usize> {
        let mut shape: Vec<usize> = (0..rank).map(|_| self.size()).collect();
        while shape.iter().product::<usize>() > MOST {
            let d = self.below(rank);
            shape[d] = 1;
        }
        shape
    }
    fn order(&mut self, rank: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// Which element of the base each element is, row-major.
#[derive(Clone)]
struct Model {
    shape: Vec<usize>,
    from: Vec<usize>,
}

/// All indices of a shape, the last dim fastest.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &size in shape {
        all = all.iter().flat_map(|i| (0..size).map(move |j| [&i[..], &[j]].concat())).collect();
    }
    all
}

fn place(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |place, (size, i)| place * size + i)
}

impl Model {
    /// Element `index` of the result is this one's `of(index)`.
    fn taken(&self, shape: Vec<usize>, of: impl Fn(&[usize]) -> Vec<usize>) -> Model {
        let from = indices(&shape).iter().map(|i| self.from[place(&self.shape, &of(i))]).collect();
        Model { shape, from }
    }
    fn rank(&self) -> usize {
        self.shape.len()
    }
}

/// Python's `range(*slice(start, end, step).indices(size))`.
fn python(size: usize, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<usize> {
    let n = size as i64;
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let at = |i: i64| (if i < 0 { i + n } else { i }).clamp(low, high);
    let mut i = start.map_or(if step > 0 { low } else { high }, at);
    let end = end.map_or(if step > 0 { high } else { low }, at);
    let mut list = vec![];
    while (step > 0 && i < end) || (step < 0 && i > end) {
        list.push(i as usize);
        i += step;
    }
    list
}

/// One step of a chain of views, and its words for a failure's message.
type Step = (String, Box<dyn Fn(&Tensor) -> Result<Tensor>>);

/// A view drawn for this shape, and the model after it.
fn draw(rng: &mut Random, model: &Model) -> (Step, Model) {
    let rank = model.rank();
    let shape = model.shape.clone();
    // Dims are named from either end.
    let dim = rng.below(rank);
    let named = if rng.chance(2) { dim as i64 } else { dim as i64 - rank as i64 };
    let kind = if rank == 0 { [1, 2, 9][rng.below(3)] } else { rng.below(11) };
    match kind {
        0 => {
            let order = rng.order(rank);
            let to = order.iter().map(|&d| shape[d]).collect();
            let new = model.taken(to, |i| {
                let mut of = vec![0; rank];
                order.iter().zip(i).for_each(|(&d, &i)| of[d] = i);
                of
            });
            let order: Vec<i64> = order.iter().map(|&d| d as i64).collect();
            ((format!("permute {order:?}"), Box::new(move |x| x.permute(&order[..]))), new)
        }
        1 => {
            let dim = rng.below(rank + 1);
            let mut to = shape;
            to.insert(dim, 1);
            let from = model.from.clone();
            let step: Step =
                (format!("unsqueeze {dim}"), Box::new(move |x| x.unsqueeze(dim as i64)));
            (step, Model { shape: to, from })
        }
        2 => {
            // Every dim of size 1 may grow, and new ones come in front.
            let mut to = shape.clone();
            for size in to.iter_mut().filter(|size| **size == 1) {
                *size = 1 + rng.below(4);
            }
            let front = rng.below(2);
            (0..front).for_each(|_| to.insert(0, 1 + rng.below(3)));
            if to.iter().product::<usize>() > MOST {
                to = [&vec![1; front], &shape[..]].concat();
            }
            let new = model.taken(to.clone(), |i| {
                i[front..].iter().zip(&shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect()
            });
            ((format!("expand {to:?}"), Box::new(move |x| x.expand(&to[..]))), new)
        }
        3 => {
            let start = rng.below(shape[dim] + 1);
            let length = rng.below(shape[dim] - start + 1);
            let mut to = shape;
            to[dim] = length;
            let new = model.taken(to, |i| {
                i.iter().enumerate().map(|(d, &i)| if d == dim { i + start } else { i }).collect()
            });
            let words = format!("narrow {named} {start} {length}");
            ((words, Box::new(move |x| x.narrow(named, start, length))), new)
        }
        4 | 5 => {
            let step = [1, 2, 3, -1, -2, -5][rng.below(6)];
            let bound = |rng: &mut Random| {
                (!rng.chance(3)).then(|| rng.below(2 * shape[dim] + 3) as i64 - shape[dim] as i64)
            };
            let (start, end) = (bound(rng), bound(rng));
            let taken = python(shape[dim], start, end, step);
            let mut to = shape.clone();
            to[dim] = taken.len();
            let new = model.taken(to, |i| {
                i.iter().enumerate().map(|(d, &i)| if d == dim { taken[i] } else { i }).collect()
            });
            let words = format!("slice {named} {start:?} {end:?} {step}");
            ((words, Box::new(move |x| x.slice(named, start, end, step))), new)
        }
        6 => {
            let new = model.taken(shape.clone(), |i| {
                let turn = |(d, &i): (usize, &usize)| if d == dim { shape[d] - 1 - i } else { i };
                i.iter().enumerate().map(turn).collect()
            });
            ((format!("flip {named}"), Box::new(move |x| x.flip(named))), new)
        }
        7 if shape[dim] > 0 => {
            let at = rng.below(shape[dim]);
            let mut to = shape;
            to.remove(dim);
            let new = model.taken(to, |i| [&i[..dim], &[at], &i[dim..]].concat());
            let words = format!("select_at {named} {at}");
            ((words, Box::new(move |x| x.select_at(named, at as i64))), new)
        }
        8 => {
            let size = rng.below(shape[dim]) + usize::from(shape[dim] > 0);
            let step = 1 + rng.below(3);
            let mut to = shape.clone();
            to[dim] = (shape[dim] - size) / step + 1;
            to.push(size);
            if to.iter().product::<usize>() > MOST {
                return draw(rng, model);
            }
            let new = model.taken(to, |i| {
                let mut of = i[..rank].to_vec();
                of[dim] = i[dim] * step + i[rank];
                of
            });
            let words = format!("unfold {named} {size} {step}");
            ((words, Box::new(move |x| x.unfold(named, size, step))), new)
        }
        10 if rank > 1 => {
            let other = (dim + 1 + rng.below(rank - 1)) % rank;
            let offset = rng.below(5) as i64 - 2;
            let [down, right] = [0.max(-offset), 0.max(offset)].map(|shift| shift as usize);
            let length = shape[dim].saturating_sub(down).min(shape[other].saturating_sub(right));
            let left: Vec<usize> = (0..rank).filter(|&d| d != dim && d != other).collect();
            let to = left.iter().map(|&d| shape[d]).chain([length]).collect();
            let new = model.taken(to, |i| {
                let mut of = vec![0; rank];
                left.iter().zip(i).for_each(|(&d, &i)| of[d] = i);
                let last = i[i.len() - 1];
                (of[dim], of[other]) = (last + down, last + right);
                of
            });
            let (one, two) = (dim as i64, other as i64);
            let words = format!("diagonal {offset} {one} {two}");
            ((words, Box::new(move |x| x.diagonal(offset, one, two))), new)
        }
        _ => {
            // The same elements under a shape of one dim more or less.
            let mut to = shape;
            if to.len() > 1 && rng.chance(2) {
                let d = rng.below(to.len() - 1);
                to[d] *= to.remove(d + 1);
            } else if let Some(d) = (0..to.len()).find(|&d| to[d] > 2 && to[d].is_multiple_of(2)) {
                to.splice(d..=d, [2, to[d] / 2]);
            }
            let from = model.from.clone();
            let shape = to.clone();
            (
                (format!("reshape {to:?}"), Box::new(move |x| x.reshape(&to[..]))),
                Model { shape, from },
            )
        }
    }
}

/// A base of some shape, a chain of views of it, its words, and what it must hold.
fn chain(rng: &mut Random) -> (Vec<usize>, Vec<Step>, Model) {
    let rank = rng.below(5);
    let base = rng.shape(rank);
    let len = base.iter().product();
    let mut model = Model { shape: base.clone(), from: (0..len).collect() };
    let mut steps = vec![];
    for _ in 0..1 + rng.below(5) {
        if model.rank() > 5 {
            break;
        }
        let (step, next) = draw(rng, &model);
        steps.push(step);
        model = next;
    }
    (base, steps, model)
}

fn follow(x: &Tensor, steps: &[Step]) -> Tensor {
    steps.iter().fold(x.clone(), |x, (words, step)| {
        step(&x).unwrap_or_else(|error| panic!("{words} of {:?}: {error}", x.layout()))
    })
}

fn cases(stream: u64, mut body: impl FnMut(&mut Random, &str, &[usize], &[Step], &Model)) {
    for case in 0..CASES {
        let mut rng = Random(case << 8 | stream);
        let (base, steps, model) = chain(&mut rng);
        let words: Vec<&str> = steps.iter().map(|(words, _)| words.as_str()).collect();
        let what = format!("case {case}: {base:?} {}", words.join(", "));
        body(&mut rng, &what, &base, &steps, &model);
    }
}

fn counted(shape: &[usize], dtype: DType) -> Tensor {
    let len = shape.iter().product::<usize>() as i64;
    // Small enough that sums and products of thousands are exact in f32.
    let numbers = (0..len).map(|i: i64| (i * 7 + i / 5) % 23 - 11).collect();
    Tensor::from_vec(numbers, shape).to_dtype(dtype).unwrap()
}

fn numbers(x: &Tensor) -> Vec<i64> {
    x.to_dtype(DType::I64).unwrap().to_vec::<i64>().unwrap()
}

#[test]
fn views_of_views_hold_what_loops_say() {
    cases(1, |rng, what, base, steps, model| {
        let dtype =
            [DType::F32, DType::F64, DType::I64, DType::I32, DType::I8, DType::F16][rng.below(6)];
        let plain = counted(base, dtype);
        let list = numbers(&plain);
        let expected: Vec<i64> = model.from.iter().map(|&i| list[i]).collect();
        let view = follow(&plain, steps);
        assert_eq!((view.shape(), view.dtype()), (&model.shape[..], dtype), "{what}");
        assert_eq!(numbers(&view), expected, "{what}");
        for copy in
            [view.copy().unwrap(), view.contiguous().unwrap(), view.reshape(view.shape()).unwrap()]
        {
            assert_eq!((copy.shape(), numbers(&copy)), (view.shape(), expected.clone()), "{what}");
        }
        assert_eq!(numbers(&view.flatten(0, -1).unwrap()), expected, "{what}");
        // The base is as it was.
        assert_eq!(numbers(&plain), list, "{what}");

        // Exact operations of a view with itself in another order.
        let Some(d) = (view.rank() > 0).then(|| rng.below(view.rank())) else { return };
        let turned = Model { shape: model.shape.clone(), from: expected_places(model) };
        let turned = turned.taken(model.shape.clone(), |i| {
            let turn = |(e, &i): (usize, &usize)| if e == d { model.shape[e] - 1 - i } else { i };
            i.iter().enumerate().map(turn).collect()
        });
        let other = view.flip(d as i64).unwrap();
        let sum: Vec<i64> =
            expected.iter().zip(&turned.from).map(|(x, &i)| x + expected[i]).collect();
        assert_eq!(numbers(&view.add(&other).unwrap()), sum, "{what}");
        let joined = Tensor::cat(&[&view, &other], d as i64).unwrap();
        let halves = [0, model.shape[d]]
            .map(|start| numbers(&joined.narrow(d as i64, start, model.shape[d]).unwrap()));
        let flipped: Vec<i64> = turned.from.iter().map(|&i| expected[i]).collect();
        assert_eq!(halves, [expected.clone(), flipped], "{what}");

        // A sum over one dim, by loops.
        let mut kept = model.shape.clone();
        kept.remove(d);
        let mut sums = vec![0; kept.iter().product()];
        for (index, x) in indices(&model.shape).iter().zip(&expected) {
            let index = [&index[..d], &index[d + 1..]].concat();
            sums[place(&kept, &index)] += x;
        }
        let wide = if dtype == DType::I8 || dtype == DType::F16 { DType::I64 } else { dtype };
        let found = view.to_dtype(wide).sum(d as i64).unwrap();
        assert_eq!((found.shape(), numbers(&found)), (&kept[..], sums), "{what}");
    });
}

/// Each element its own place.
fn expected_places(model: &Model) -> Vec<usize> {
    (0..model.from.len()).collect()
}

/// The bytes of a tensor's elements.
fn bits(x: &Tensor) -> Vec<u64> {
    x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_view_has_the_bits_of_its_copy() {
    type Case = (&'static str, fn(&Tensor, i64) -> Result<Tensor>);
    let operations: &[Case] = &[
        ("exp", |x, _| x.exp()),
        ("tanh", |x, _| x.tanh()),
        ("div", |x, _| x.div(&x.add(3.0)?)),
        ("sum of all", |x, _| x.sum(..)),
        ("sum", |x, d| x.sum(d)),
        ("mean", |x, d| x.mean(d)),
        ("max", |x, d| x.max(d)),
        ("softmax", |x, d| x.softmax(d)),
        ("cumsum", |x, d| x.cumsum(d)),
        ("matmul", |x, _| x.matmul(&x.t()?)),
        ("matmul of the transpose", |x, _| x.t()?.matmul(x)),
        ("f64", |x, d| x.to_dtype(DType::F64)?.sum(d)),
        ("bf16", |x, _| x.to_dtype(DType::BF16)),
    ];
    cases(2, |rng, what, base, steps, model| {
        let len: usize = base.iter().product();
        let values: Vec<f32> = (0..len).map(|_| rng.below(1 << 20) as f32 / 1e5 - 5.0).collect();
        let plain = Tensor::from_vec(values, base).unwrap();
        let view = follow(&plain, steps);
        let copy = view.copy().unwrap();
        for (name, operation) in operations {
            let matrix = name.starts_with("matmul");
            if (matrix && view.rank() != 2) || (view.rank() == 0 && *name != "exp") {
                continue;
            }
            let dim = rng.below(view.rank()) as i64;
            match (operation(&view, dim), operation(&copy, dim)) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.shape(), expected.shape(), "{name} {dim}, {what}");
                    assert_eq!(bits(&found), bits(&expected), "{name} {dim}, {what}");
                }
                // The largest of none.
                (Err(_), Err(_)) => assert!(model.shape.contains(&0), "{name} {dim}, {what}"),
                (found, _) => panic!("{name} {dim}, {what}: {found:?}"),
            }
        }
    });
}

#[test]
fn the_gradient_of_a_view_is_its_transpose() {
    cases(3, |_, what, base, steps, model| {
        let plain = counted(base, DType::F64);
        let weights = counted(&model.shape, DType::F64).add(12.0).unwrap();
        let mut expected = vec![0; plain.len()];
        for (&place, weight) in model.from.iter().zip(numbers(&weights)) {
            expected[place] += weight;
        }
        let (loss, tape) = Tape::record(|tape| {
            tape.watch(&plain);
            follow(&plain, steps).mul(&weights)?.sum(..)
        })
        .unwrap();
        let gradient = tape.gradient(&loss, &[&plain]).unwrap().remove(0);
        assert_eq!((gradient.shape(), numbers(&gradient)), (base, expected), "{what}");
    });
}
