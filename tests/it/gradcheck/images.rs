//! Cases of convolution, its adjoints, and pooling.

use ferrotape::prelude::*;

use ferrotape::{Op, apply};

use super::Cases;

/// Settings, input, weight.
type Convolution = (Conv2dOp, [usize; 4], [usize; 4]);

fn convolutions() -> Vec<Convolution> {
    let plain = Conv2dOp::default;
    vec![
        (plain(), [2, 2, 4, 5], [3, 2, 3, 2]),
        (plain(), [1, 3, 2, 2], [2, 3, 1, 1]),
        (plain().padding([1, 2]), [2, 1, 3, 4], [2, 1, 3, 3]),
        // The last row and column are seen by no window.
        (plain().stride([2, 3]), [1, 2, 6, 6], [2, 2, 3, 2]),
        (plain().stride([2, 1]).padding([1, 0]), [2, 2, 5, 4], [2, 2, 2, 3]),
        (plain().dilation([2, 1]), [1, 2, 6, 4], [2, 2, 3, 2]),
        (plain().groups(2), [2, 4, 3, 3], [6, 2, 2, 2]),
        (plain().groups(3).padding([1, 1]), [1, 3, 3, 4], [3, 1, 3, 3]),
        (
            plain().stride([2, 2]).padding([2, 1]).dilation([1, 2]).groups(2),
            [2, 2, 5, 6],
            [4, 1, 3, 2],
        ),
        (plain().padding([1, 1]), [0, 2, 3, 3], [2, 2, 3, 3]),
    ]
}

pub(super) fn cases(cases: &mut Cases) {
    for convolution in convolutions() {
        forward(cases, convolution);
        adjoints(cases, convolution);
    }
    let settings = Conv2dOp::default().padding([1, 1]);
    let inputs = vec![cases.any(&[4, 3, 2, 1]), cases.any(&[3, 3, 2, 2])];
    cases.add("conv2d, strided", inputs, move |x| {
        let weight = x[1].permute([2, 3, 0, 1])?.flip(3)?;
        x[0].permute([3, 2, 1, 0])?.conv2d(&weight, None, settings)?.square()
    });
    pooling(cases);
    pooled_convolutions(cases);
    super::windows::cases(cases);
}

fn forward(cases: &mut Cases, (settings, x, w): Convolution) {
    let name = format!("{settings:?} {x:?} {w:?}");
    let inputs = vec![cases.any(&x), cases.any(&w)];
    cases.add(name.clone(), inputs, move |x| x[0].conv2d(&x[1], None, settings)?.square());
    let inputs = vec![cases.any(&x), cases.any(&w), cases.any(&[w[0]])];
    cases.add(name.clone() + " bias", inputs, move |x| {
        x[0].conv2d(&x[1], Some(&x[2]), settings)?.square()
    });
    let inputs = vec![cases.any(&x), cases.any(&w), cases.any(&[w[0]])];
    cases.add(name + " bias, relu", inputs, move |x| {
        x[0].conv2d_relu(&x[1], Some(&x[2]), settings)?.square()
    });
}

fn adjoints(cases: &mut Cases, (settings, x, w): Convolution) {
    let shape = |cases: &mut Cases| {
        let (x, w) = (cases.any(&x), cases.any(&w));
        x.conv2d(&w, None, settings).unwrap().shape().to_vec()
    };
    let y = shape(cases);
    let inputs = vec![cases.any(&y), cases.any(&w)];
    cases.add(format!("conv2d_input {settings:?} {x:?} {w:?}"), inputs, move |t| {
        t[0].conv2d_input(&t[1], settings, [x[2], x[3]])?.square()
    });
    let inputs = vec![cases.any(&x), cases.any(&y)];
    cases.add(format!("conv2d_weight {settings:?} {x:?} {w:?}"), inputs, move |t| {
        t[0].conv2d_weight(&t[1], settings, [w[2], w[3]])?.square()
    });
}

/// A convolution and its max pool in one operation, and its two adjoints.
fn pooled_convolutions(cases: &mut Cases) {
    let plain = Conv2dOp::default;
    let all: [(Conv2dOp, Pool2dOp, [usize; 4], [usize; 4]); 6] = [
        (plain().padding([1, 1]), Pool2dOp::new([2, 2]), [2, 2, 4, 5], [3, 2, 3, 3]),
        (plain(), Pool2dOp::new([2, 2]), [2, 1, 6, 5], [2, 1, 3, 2]),
        (plain().padding([1, 1]), Pool2dOp::new([2, 2]), [1, 5, 4, 4], [2, 5, 3, 3]),
        (
            plain().stride([1, 2]).groups(2),
            Pool2dOp::new([3, 2]).stride([2, 1]),
            [1, 2, 6, 6],
            [2, 1, 2, 2],
        ),
        (
            plain().padding([1, 1]),
            Pool2dOp::new([3, 3]).padding([1, 1]).ceil_mode(true),
            [1, 4, 5, 4],
            [2, 4, 3, 3],
        ),
        (plain(), Pool2dOp::new([2, 2]), [0, 2, 4, 4], [2, 2, 3, 3]),
    ];
    for (conv, pool, x, w) in all {
        let name = format!("{conv:?} {pool:?} {x:?} {w:?}");
        let (image, weight) = (cases.any(&x), cases.any(&w));
        let map = image.conv2d(&weight, None, conv).unwrap();
        let (y, taps) = map.max_pool2d_with_taps(pool).unwrap();
        let inputs = vec![image.clone(), weight.clone()];
        // The method splits itself where the checks listen.
        let op = Op::Conv2dMaxPool2d(conv, pool);
        cases.add(format!("conv2d_max_pool2d {name}"), inputs, move |t| {
            apply(&op, &mut [(&t[0]).into(), (&t[1]).into()])?[0].square()
        });
        let inputs = vec![image.clone(), weight.clone(), cases.any(&[w[0]])];
        let op = Op::Conv2dMaxPool2d(conv, pool);
        cases.add(format!("conv2d_max_pool2d, bias {name}"), inputs, move |t| {
            apply(&op, &mut [(&t[0]).into(), (&t[1]).into(), (&t[2]).into()])?[0].square()
        });
        let (g, winners) = (cases.any(y.shape()), taps.clone());
        let op = Op::Conv2dMaxPool2dInput(conv, pool, [x[2], x[3]]);
        cases.add(format!("conv2d_max_pool2d_input {name}"), vec![g, weight], move |t| {
            apply(&op, &mut [(&t[0]).into(), (&t[1]).into(), (&winners).into()])?[0].square()
        });
        type Wanted = fn(&[Tensor]) -> Result<Tensor>;
        let wanted: [(&str, Wanted); 3] = [
            ("weight", |y| y[0].square()),
            ("bias", |y| y[1].square()),
            ("both", |y| y[0].square().sum(..).mul(y[1].square().sum(..))),
        ];
        for (which, wanted) in wanted {
            let (inputs, winners) = (vec![image.clone(), cases.any(y.shape())], taps.clone());
            let op = Op::Conv2dMaxPool2dWeight(conv, pool, [w[2], w[3]]);
            cases.add(format!("conv2d_max_pool2d_weight, {which} {name}"), inputs, move |t| {
                wanted(&apply(&op, &mut [(&t[0]).into(), (&t[1]).into(), (&winners).into()])?)
            });
        }
    }
}

fn pooling(cases: &mut Cases) {
    let pools: [(Pool2dOp, [usize; 4]); 6] = [
        (Pool2dOp::new([2, 2]), [2, 2, 4, 6]),
        (Pool2dOp::new([2, 2]), [1, 2, 5, 3]),
        (Pool2dOp::new([3, 2]).stride([1, 1]), [1, 2, 4, 4]),
        (Pool2dOp::new([3, 3]).stride([2, 2]).padding([1, 1]), [2, 1, 5, 6]),
        (Pool2dOp::new([1, 4]).stride([2, 1]).padding([0, 2]), [1, 2, 3, 4]),
        (Pool2dOp::new([2, 2]), [0, 2, 4, 4]),
    ];
    for (pool, shape) in pools {
        let name = format!("{pool:?} {shape:?}");
        let x = cases.any(&shape);
        let (y, taps) = x.max_pool2d_with_taps(pool).unwrap();
        cases.add(name.clone(), vec![x], move |x| x[0].max_pool2d(pool)?.square());
        let x = cases.any(&[shape[0], shape[1], shape[3], shape[2]]);
        cases.add(name.clone() + " transposed", vec![x], move |x| {
            x[0].t()?.max_pool2d(pool)?.square()
        });
        let (g, winners) = (cases.any(y.shape()), taps.clone());
        cases.add(format!("scatter {name}"), vec![g], move |g| {
            g[0].max_pool2d_scatter(&winners, pool, [shape[2], shape[3]])?.square()
        });
        let g = cases.any(&shape);
        cases.add(format!("gather {name}"), vec![g], move |g| {
            g[0].max_pool2d_gather(&taps, pool)?.square()
        });
    }
}
