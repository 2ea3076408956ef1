//! Cases of what is made of convolution and its adjoint, of pools of every kind, of interpolation.

use ferrotape::prelude::*;
use ferrotape::{Divisor, WindowsOp};

use super::Cases;

pub(super) fn cases(cases: &mut Cases) {
    convolutions(cases);
    transposed(cases);
    maxima(cases);
    means(cases);
    interpolations(cases);
    let x = cases.signed(&[2, 5, 3]);
    for size in [1, 2, 5] {
        cases.add(format!("local_response_norm {size}"), vec![x.clone()], move |x| {
            x[0].local_response_norm(size, 0.3, 0.75, 1.5)?.square()
        });
    }
}

fn convolutions(cases: &mut Cases) {
    let mut add = |name: &str, x: &[usize], w: &[usize], f: fn(&[Tensor]) -> Result<Tensor>| {
        let inputs = vec![cases.any(x), cases.any(w), cases.any(&w[..1])];
        cases.add(name, inputs, move |x| f(x)?.square());
    };
    add("conv1d", &[2, 4, 7], &[6, 2, 3], |x| {
        let settings = Conv1dOp::default().stride([2]).padding([1]).dilation([2]).groups(2);
        x[0].conv1d(&x[1], Some(&x[2]), settings)
    });
    add("conv1d same, one sequence", &[2, 5], &[3, 2, 4], |x| {
        x[0].conv1d_same(&x[1], Some(&x[2]), Conv1dOp::default())
    });
    add("conv2d same", &[1, 2, 4, 5], &[2, 2, 2, 3], |x| {
        x[0].conv2d_same(&x[1], Some(&x[2]), Conv2dOp::default().dilation([3, 1]))
    });
    add("conv3d", &[2, 2, 4, 3, 3], &[2, 1, 3, 2, 2], |x| {
        let settings = Conv3dOp::default().stride([2, 1, 1]).padding([1, 0, 1]).groups(2);
        x[0].conv3d(&x[1], Some(&x[2]), settings)
    });
    add("conv3d same, one volume", &[1, 3, 2, 2], &[2, 1, 2, 2, 1], |x| {
        x[0].conv3d_same(&x[1], Some(&x[2]), Conv3dOp::default())
    });
}

fn transposed(cases: &mut Cases) {
    let plain = ConvTranspose2dOp::default();
    for (settings, x, w) in [
        (plain, [2, 2, 2, 3], [2, 3, 2, 2]),
        (plain.stride([2, 3]).padding([1, 0]).output_padding([1, 2]), [1, 2, 3, 2], [2, 2, 3, 2]),
        (plain.groups(2).dilation([2, 1]), [1, 4, 2, 2], [4, 1, 2, 3]),
        // More added at the end than a stride.
        (plain.dilation([3, 1]).output_padding([2, 0]).padding([1, 1]), [1, 1, 3, 3], [1, 2, 2, 2]),
        (plain.dilation([4, 1]).output_padding([3, 0]), [1, 1, 2, 2], [1, 1, 1, 1]),
    ] {
        let bias = w[1] * settings.groups;
        let inputs = vec![cases.any(&x), cases.any(&w), cases.any(&[bias])];
        cases.add(format!("conv_transpose2d {settings:?}"), inputs, move |x| {
            x[0].conv_transpose2d(&x[1], Some(&x[2]), settings)?.square()
        });
    }
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[2, 2, 3]), cases.any(&[2])];
    cases.add("conv_transpose1d", inputs, |x| {
        let settings = ConvTranspose1dOp::default().stride([2]).padding([1]).output_padding([1]);
        x[0].conv_transpose1d(&x[1], Some(&x[2]), settings)?.square()
    });
}

fn maxima(cases: &mut Cases) {
    for pool in [
        Pool2dOp::new([3, 2]).stride([2, 2]).ceil_mode(true),
        Pool2dOp::new([2, 2]).ceil_mode(true),
        Pool2dOp::new([2, 3]).dilation([2, 1]).padding([1, 1]),
        Pool2dOp::new([17, 16]).stride([1, 1]).padding([8, 8]),
    ] {
        let x = cases.any(&[2, 1, 5, 5]);
        cases.add(format!("{pool:?}"), vec![x], move |x| x[0].max_pool2d(pool)?.square());
    }
    let x = cases.any(&[2, 5, 4]);
    cases.add("max_pool2d with indices", vec![x.clone()], |x| {
        x[0].max_pool2d_with_indices(Pool2dOp::new([2, 2]))?.0.square()
    });
    cases.add("max_pool1d", vec![x.clone()], |x| {
        x[0].max_pool1d(Pool1dOp::new([2]).stride([1]))?.square()
    });
    cases.add("adaptive_max_pool2d", vec![x], |x| x[0].adaptive_max_pool2d([2, 3])?.square());
}

fn means(cases: &mut Cases) {
    let plain = AvgPool2dOp::new([3, 2]);
    for pool in [
        plain,
        plain.stride([1, 1]).padding([1, 1]),
        plain.stride([2, 2]).padding([1, 0]).ceil_mode(true).count_include_pad(false),
        plain.divisor_override(Some(-3)).ceil_mode(true),
    ] {
        let x = cases.any(&[2, 2, 5, 4]);
        cases.add(format!("{pool:?}"), vec![x], move |x| x[0].avg_pool2d(pool)?.square());
    }
    for windows in [WindowsOp::Adaptive([2, 3]), WindowsOp::Sliding(Pool2dOp::new([2, 2]))] {
        let x = cases.any(&[1, 2, 2, if windows == WindowsOp::Adaptive([2, 3]) { 3 } else { 2 }]);
        cases.add(format!("mean's adjoint {windows:?}"), vec![x], move |x| {
            x[0].window_mean_input(windows, Divisor::Elements, [5, 4])?.square()
        });
    }
    let x = cases.any(&[2, 5]);
    cases.add("avg_pool1d", vec![x.clone()], |x| {
        x[0].avg_pool1d(AvgPool1dOp::new([2]).padding([1]))?.square()
    });
    cases.add("adaptive_avg_pool1d", vec![x], |x| x[0].adaptive_avg_pool1d(3)?.square());
}

fn interpolations(cases: &mut Cases) {
    use InterpolateMode::*;
    for (mode, shape) in [
        (Nearest, &[1, 2, 3, 4][..]),
        (NearestExact, &[2, 1, 3]),
        (Linear, &[1, 2, 4]),
        (Bilinear, &[1, 2, 3, 4]),
        (Trilinear, &[1, 1, 2, 3, 2]),
        (Bicubic, &[1, 2, 3, 4]),
        (Area, &[1, 1, 3, 2, 4]),
    ] {
        for (scale, align) in [(1.7, false), (1.7, true), (0.6, false)] {
            if align && matches!(mode, Nearest | NearestExact | Area) {
                continue;
            }
            let settings = Interpolate::scale_factor(&[scale]).mode(mode).align_corners(align);
            let name = format!("{settings:?}");
            let x = cases.any(shape);
            cases.add(name, vec![x], move |x| x[0].interpolate(&settings)?.square());
        }
    }
}
