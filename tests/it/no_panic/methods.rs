//! The same for the methods: each with settings drawn at random, and its backward pass.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use ferrotape::autograd::Tape;
use ferrotape::prelude::*;
use ferrotape::*;

use super::{Rng, pool, windows};

/// What a call gives.
trait Given {
    fn tensors(self) -> Vec<Tensor>;
}
impl Given for Tensor {
    fn tensors(self) -> Vec<Tensor> {
        vec![self]
    }
}
impl Given for (Tensor, Tensor) {
    fn tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1]
    }
}
impl Given for (Tensor, Tensor, Tensor) {
    fn tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1, self.2]
    }
}
impl Given for Vec<Tensor> {
    fn tensors(self) -> Vec<Tensor> {
        self
    }
}

/// Operands beside the first, which mostly broadcast with it.
struct Tensors {
    other: Tensor,
    more: Tensor,
    index: Tensor,
    mask: Tensor,
}

/// Settings of a call for an operand of so many dims, drawn.
struct Draw<'a> {
    rng: &'a mut Rng,
    rank: usize,
}

impl Draw<'_> {
    fn dim(&mut self) -> i64 {
        let rank = self.rank.max(1) as i64;
        let odd = [i64::MIN, i64::MAX, -rank - 1, rank];
        if self.rng.chance(12) {
            self.rng.pick(&odd)
        } else {
            self.rng.below(2 * rank as usize) as i64 - rank
        }
    }
    fn dims(&mut self) -> Vec<i64> {
        (0..self.rng.below(4)).map(|_| self.dim()).collect()
    }
    fn place(&mut self) -> i64 {
        let odd = [i64::MIN, i64::MAX, i64::MIN + 1, 1 << 40, -(1 << 40)];
        if self.rng.chance(10) { self.rng.pick(&odd) } else { self.rng.below(9) as i64 - 4 }
    }
    fn places(&mut self) -> Vec<i64> {
        (0..self.rng.below(6)).map(|_| self.place()).collect()
    }
    fn perhaps(&mut self) -> Option<i64> {
        if self.rng.chance(3) { None } else { Some(self.dim()) }
    }
    fn number(&mut self) -> f64 {
        self.rng.number()
    }
    fn setting(&mut self) -> usize {
        self.rng.setting()
    }
    fn settings(&mut self) -> Vec<usize> {
        (0..self.rng.below(5)).map(|_| self.setting()).collect()
    }
    fn flag(&mut self) -> bool {
        self.rng.chance(2)
    }
    fn reduction(&mut self) -> Reduction {
        self.rng.pick(&[Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::BatchMean])
    }
}

type Call = Box<dyn Fn(&mut Draw<'_>, &Tensors, &Tensor) -> Result<Vec<Tensor>>>;

/// Out of line: the compiler must not meet three hundred copies of it in one function.
#[inline(never)]
fn add(table: &mut BTreeMap<&'static str, Call>, name: &'static str, call: Call) {
    assert!(table.insert(name, call).is_none(), "{name} twice");
}

/// Every method by name.
fn methods() -> BTreeMap<&'static str, Call> {
    let mut table: BTreeMap<&'static str, Call> = BTreeMap::new();
    macro_rules! calls {
        ($($name:ident: |$d:ident, $t:ident, $x:ident| $call:expr;)*) => { $(
            let call = |$d: &mut Draw<'_>, $t: &Tensors, $x: &Tensor| {
                let _ = (&$d, $t);
                Ok($call?.tensors())
            };
            add(&mut table, stringify!($name), Box::new(call));
        )* };
    }
    macro_rules! plain {
        ($($name:ident)*) => { calls! { $($name: |_d, _t, x| x.$name();)* } };
    }
    macro_rules! binary {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| match d.rng.below(6) {
            0 => x.$name(d.number()),
            1 => t.other.$name(x),
            _ => x.$name(&t.other),
        };)* } };
    }
    macro_rules! reduced {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| match d.rng.chance(4) {
            true => x.$name(..).map(Given::tensors),
            false => x.$name(&d.dims()[..]).map(Given::tensors),
        };)* } };
    }
    macro_rules! corrected {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| {
            let by = if d.flag() { 1.0 } else { d.number() };
            match d.rng.chance(4) {
                true => x.$name(.., by).map(Given::tensors),
                false => x.$name(&d.dims()[..], by).map(Given::tensors),
            }
        };)* } };
    }
    macro_rules! along {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| x.$name(d.dim());)* } };
    }
    macro_rules! numbers {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| x.$name(d.number());)* } };
    }
    macro_rules! pairs {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| x.$name(d.number(), d.number());)* } };
    }
    macro_rules! losses {
        ($($name:ident)*) => { calls! { $($name: |d, t, x| x.$name(&t.other);)* } };
    }
    plain! {
        neg abs sign reciprocal square sqrt rsqrt exp expm1 log log1p sin cos tanh sigmoid erf relu gelu floor ceil round silu
        softplus detach tan asin acos atan sinh cosh asinh acosh atanh exp2 log2 log10 erfc trunc sinc isnan isinf isfinite
        logical_not selu gelu_tanh mish logsigmoid relu6 hardsigmoid hardswish softsign tanhshrink t nonzero trace msort
        contiguous copy svd
    }
    binary! {
        add sub mul div pow maximum minimum relu_grad tanh_grad sigmoid_grad eq ne lt le gt ge logical_and logical_or
        logical_xor floor_divide trunc_divide fmod remainder atan2 hypot rsub float_power logaddexp xlogy clamp_min clamp_max
        mse_loss l1_loss smooth_l1_loss huber_loss matmul
    }
    reduced! {
        sum sum_keep mean mean_keep prod prod_keep amax amin max max_keep min min_keep max_with_indices max_with_indices_keep
        min_with_indices min_with_indices_keep argmax argmax_keep argmin argmin_keep nansum nansum_keep nanmean nanmean_keep
        any any_keep all all_keep count_nonzero logsumexp logsumexp_keep median median_keep squeeze flip
    }
    corrected! { var var_keep var_mean var_mean_keep std std_keep std_mean std_mean_keep }
    along! { softmax log_softmax softmin glu cumsum cumprod cummax cummin logcumsumexp unbind unsqueeze }
    numbers! { elu celu hardshrink softshrink leaky_relu full_like }
    pairs! { softplus_with hardtanh threshold clamp }
    losses! {
        cross_entropy cross_entropy_rows nll_loss binary_cross_entropy bce_with_logits kl_div poisson_nll_loss
        soft_margin_loss multilabel_soft_margin_loss hinge_embedding_loss mm bmm mv dot outer kron
    }
    calls! {
        select: |d, t, x| match d.rng.below(4) {
            0 => t.mask.select(x, d.number()),
            1 => t.mask.select(d.number(), d.number()),
            2 => x.select(&t.mask, &t.other),
            _ => t.mask.select(x, &t.other),
        };
        prelu: |d, t, x| x.prelu(&t.more);
        round_decimals: |d, t, x| x.round_decimals(d.place() as i32);
        lerp: |d, t, x| if d.flag() { x.lerp(&t.other, d.number()) } else { x.lerp(&t.other, &t.more) };
        addcmul: |d, t, x| x.addcmul(&t.other, &t.more, d.number());
        addcdiv: |d, t, x| x.addcdiv(&t.other, &t.more, d.number());
        masked_fill: |d, t, x| x.masked_fill(&t.mask, d.number());
        new_full: |d, t, x| x.new_full(d.settings(), d.number());
        to_dtype: |d, t, x| x.to_dtype(d.rng.pick(&DType::ALL));
        to_device: |d, t, x| x.to_device(Device::best());
        sum_with: |d, t, x| x.sum_with(&d.dims()[..], d.flag());
        norm: |d, t, x| x.norm(d.number(), &d.dims()[..]);
        norm_keep: |d, t, x| x.norm_keep(d.rng.pick(&[0., 1., 2., -1., f64::INFINITY]), &d.dims()[..]);
        matrix_norm: |d, t, x| x.matrix_norm(matrix(d), [d.dim(), d.dim()]);
        matrix_norm_keep: |d, t, x| x.matrix_norm_keep(matrix(d), [d.dim(), d.dim()]);
        normalize: |d, t, x| x.normalize(2.0, d.dim(), d.number());
        cosine_similarity: |d, t, x| x.cosine_similarity(&t.other, d.dim(), 1e-8);
        pairwise_distance: |d, t, x| x.pairwise_distance(&t.other, d.number(), 1e-6);
        pairwise_distance_keep: |d, t, x| x.pairwise_distance_keep(&t.other, 2.0, d.number());
        sort: |d, t, x| x.sort(d.dim(), d.flag());
        argsort: |d, t, x| x.argsort(d.dim(), d.flag());
        topk: |d, t, x| x.topk(d.setting(), d.dim(), d.flag());
        kthvalue: |d, t, x| x.kthvalue(d.setting(), d.dim());
        kthvalue_keep: |d, t, x| x.kthvalue_keep(d.setting(), d.dim());
        searchsorted: |d, t, x| x.searchsorted(&t.other, d.flag());
        bucketize: |d, t, x| x.bucketize(&t.more, d.flag());
        linear_scan: |d, t, x| x.linear_scan(&t.other, d.dim());
        diff: |d, t, x| x.diff(d.setting().min(4), d.dim(), Some(&t.other).filter(|_| d.rng.chance(2)), None);
        trapezoid: |d, t, x| x.trapezoid(d.number(), d.dim());
        trapezoid_at: |d, t, x| x.trapezoid_at(&t.other, d.dim());
        reshape: |d, t, x| if d.flag() { x.reshape(d.places()) } else { x.reshape([-1, 1]) };
        flatten: |d, t, x| x.flatten(d.dim(), d.dim());
        permute: |d, t, x| x.permute(&d.dims()[..]);
        transpose: |d, t, x| x.transpose(d.dim(), d.dim());
        expand: |d, t, x| x.expand(d.places());
        sum_to: |d, t, x| x.sum_to(t.other.shape());
        narrow: |d, t, x| x.narrow(d.dim(), d.setting(), d.setting());
        diagonal: |d, t, x| x.diagonal(d.place(), d.dim(), d.dim());
        diag_embed: |d, t, x| x.diag_embed(d.place(), d.dim(), d.dim());
        unfold: |d, t, x| x.unfold(d.dim(), d.setting(), d.setting());
        movedim: |d, t, x| x.movedim(&d.dims()[..], &d.dims()[..]);
        select_at: |d, t, x| x.select_at(d.dim(), d.place());
        slice: |d, t, x| {
            let [start, end] = [d.place(), d.place()].map(|at| Some(at).filter(|_| d.rng.chance(2)));
            x.slice(d.dim(), start, end, d.place())
        };
        unflatten: |d, t, x| x.unflatten(d.dim(), d.places());
        repeat: |d, t, x| x.repeat(&d.settings());
        tile: |d, t, x| x.tile(&d.settings());
        repeat_interleave: |d, t, x| x.repeat_interleave(d.setting(), d.perhaps());
        repeat_interleave_by: |d, t, x| {
            let dim = d.perhaps();
            let count = dim.map_or(Ok(x.len()), |dim| x.size(dim))?;
            let times = if d.flag() { d.rng.tensor(&[count.min(5000)], DType::I64) } else { Tensor::from(d.place()) };
            x.repeat_interleave_by(&times, dim)
        };
        roll: |d, t, x| if d.flag() { x.roll(d.place(), ..) } else { x.roll(&d.places()[..], &d.dims()[..]) };
        rot90: |d, t, x| x.rot90(d.place(), [d.dim(), d.dim()]);
        tril: |d, t, x| x.tril(d.place());
        triu: |d, t, x| x.triu(d.place());
        pixel_shuffle: |d, t, x| x.pixel_shuffle(d.setting());
        pixel_unshuffle: |d, t, x| x.pixel_unshuffle(d.setting());
        im2col: |d, t, x| x.im2col([d.setting(), d.setting()], super::conv(d.rng));
        chunk: |d, t, x| x.chunk(d.setting(), d.dim());
        split: |d, t, x| x.split(d.setting(), d.dim());
        split_with_sizes: |d, t, x| x.split_with_sizes(&d.settings(), d.dim());
        tensor_split: |d, t, x| x.tensor_split(d.rng.below(9), d.dim());
        tensor_split_at: |d, t, x| x.tensor_split_at(&d.places(), d.dim());
        pad: |d, t, x| {
            let mode = d.rng.pick(&[PadMode::Constant(0.), PadMode::Constant(f64::NAN), PadMode::Reflect,
                PadMode::Replicate, PadMode::Circular]);
            x.pad(&d.places(), mode)
        };
        gather: |d, t, x| x.gather(d.dim(), &t.index);
        index_select: |d, t, x| {
            let flat = t.index.flatten(0, -1);
            x.index_select(d.dim(), if d.flag() { flat.as_ref().unwrap_or(&t.index) } else { &t.index })
        };
        scatter: |d, t, x| if d.flag() { x.scatter(d.dim(), &t.index, d.number()) } else { x.scatter(d.dim(), &t.index, &t.other) };
        scatter_add: |d, t, x| x.scatter_add(d.dim(), &t.index, &t.other);
        scatter_reduce: |d, t, x| {
            use ScatterReduce::*;
            let how = d.rng.pick(&[Sum, Prod, Mean, Amax, Amin]);
            x.scatter_reduce(d.dim(), &t.index, &t.other, how, d.flag())
        };
        index_add: |d, t, x| x.index_add(d.dim(), &t.index, &t.other);
        index_copy: |d, t, x| x.index_copy(d.dim(), &t.index, &t.other);
        index_fill: |d, t, x| x.index_fill(d.dim(), &t.index, d.number());
        select_scatter: |d, t, x| x.select_scatter(&t.other, d.dim(), d.place());
        take: |d, t, x| x.take(&t.index);
        take_along_dim: |d, t, x| x.take_along_dim(&t.index, d.perhaps());
        masked_select: |d, t, x| x.masked_select(&t.mask);
        embedding: |d, t, x| x.embedding(&t.index, d.perhaps());
        cross: |d, t, x| x.cross(&t.other, d.perhaps());
        addmm: |d, t, x| x.addmm(&t.other, &t.more, d.number(), d.number());
        addmv: |d, t, x| x.addmv(&t.other, &t.more, d.number(), d.number());
        baddbmm: |d, t, x| x.baddbmm(&t.other, &t.more, d.number(), d.number());
        tensordot: |d, t, x| x.tensordot(&t.other, &d.dims()[..], &d.dims()[..]);
        bilinear: |d, t, x| x.bilinear(&t.other, &t.more, None);
        linear_with: |d, t, x| {
            let then = d.rng.pick(&[LinearActivation::None, LinearActivation::Relu, LinearActivation::Tanh]);
            x.linear_with(&t.other, Some(&t.more).filter(|_| d.rng.chance(2)), then)
        };
        linear: |d, t, x| x.linear(&t.other, Some(&t.more).filter(|_| d.rng.chance(2)));
        layer_norm: |d, t, x| x.layer_norm(trailing(d, x), None, None, d.number());
        rms_norm: |d, t, x| x.rms_norm(trailing(d, x), None, Some(d.number()));
        group_norm: |d, t, x| x.group_norm(d.setting(), None, Some(&t.more).filter(|_| d.rng.chance(2)), 1e-5);
        instance_norm: |d, t, x| x.instance_norm(Some(&t.more).filter(|_| d.rng.chance(2)), None, d.number());
        batch_norm: |d, t, x| x.batch_norm(&t.more, &t.more, None, None, d.number());
        batch_norm_train: |d, t, x| x.batch_norm_train(Some(&t.more).filter(|_| d.rng.chance(2)), None, d.number());
        scaled_dot_product_attention: |d, t, x| {
            let settings = AttentionOp { mask: Some(&t.mask).filter(|_| d.rng.chance(2)), is_causal: d.flag(),
                scale: Some(d.number()), enable_gqa: d.flag() };
            x.scaled_dot_product_attention(&t.other, &t.more, settings)
        };
        cross_entropy_with: |d, t, x| {
            let settings = CrossEntropyLoss::default().reduction(d.reduction()).ignore_index(d.place());
            let target = if d.flag() { &t.other } else { &t.index };
            x.cross_entropy_with(target, settings.label_smoothing(d.rng.pick(&[0., 0.1, 2., f64::NAN])))
        };
        nll_loss_with: |d, t, x| x.nll_loss_with(&t.index, NLLLoss::default().weight(&t.more).ignore_index(d.place()));
        mse_loss_with: |d, t, x| x.mse_loss_with(&t.other, MSELoss::default().reduction(d.reduction()));
        l1_loss_with: |d, t, x| x.l1_loss_with(&t.other, L1Loss::default().reduction(d.reduction()));
        smooth_l1_loss_with: |d, t, x| x.smooth_l1_loss_with(&t.other, SmoothL1Loss::default().beta(d.number()));
        huber_loss_with: |d, t, x| x.huber_loss_with(&t.other, HuberLoss::default().delta(d.number()));
        binary_cross_entropy_with: |d, t, x| x.binary_cross_entropy_with(&t.other, BCELoss::default().weight(&t.more));
        bce_with_logits_with: |d, t, x| {
            let settings = BCEWithLogitsLoss::default().pos_weight(&t.more).reduction(d.reduction());
            x.bce_with_logits_with(&t.other, settings)
        };
        kl_div_with: |d, t, x| x.kl_div_with(&t.other, KLDivLoss::default().log_target(d.flag()).reduction(d.reduction()));
        poisson_nll_loss_with: |d, t, x| {
            x.poisson_nll_loss_with(&t.other, PoissonNLLLoss::default().log_input(d.flag()).full(d.flag()).eps(d.number()))
        };
        hinge_embedding_loss_with: |d, t, x| {
            x.hinge_embedding_loss_with(&t.other, HingeEmbeddingLoss::default().margin(d.number()))
        };
        cosine_embedding_loss: |d, t, x| x.cosine_embedding_loss(&t.other, &t.more.amax(-1)?);
        cosine_embedding_loss_with: |d, t, x| {
            let settings = CosineEmbeddingLoss::default().margin(d.number()).reduction(d.reduction());
            x.cosine_embedding_loss_with(&t.other, &x.amax(-1)?, settings)
        };
        margin_ranking_loss: |d, t, x| x.margin_ranking_loss(&t.other, &t.more);
        margin_ranking_loss_with: |d, t, x| {
            let settings = MarginRankingLoss::default().margin(d.number()).reduction(d.reduction());
            x.margin_ranking_loss_with(&t.other, x, settings)
        };
        triplet_margin_loss: |d, t, x| x.triplet_margin_loss(&t.other, &t.more);
        triplet_margin_loss_with: |d, t, x| {
            let settings = TripletMarginLoss::default().margin(d.number()).p(d.number()).eps(d.number());
            x.triplet_margin_loss_with(&t.other, x, settings.swap(d.flag()).reduction(d.reduction()))
        };
        multi_margin_loss: |d, t, x| x.multi_margin_loss(&t.index.amax(-1)?);
        multi_margin_loss_with: |d, t, x| {
            let settings = MultiMarginLoss::default().p(d.rng.below(4) as u32).margin(d.number());
            let settings = if d.flag() { settings } else { settings.weight(&t.other) };
            x.multi_margin_loss_with(&t.index.amax(-1)?, settings.reduction(d.reduction()))
        };
        multilabel_margin_loss: |d, t, x| x.multilabel_margin_loss(&t.index);
        multilabel_margin_loss_with: |d, t, x| {
            x.multilabel_margin_loss_with(&t.index, MultiLabelMarginLoss::default().reduction(d.reduction()))
        };
        soft_margin_loss_with: |d, t, x| {
            x.soft_margin_loss_with(&t.other, SoftMarginLoss::default().reduction(d.reduction()))
        };
        multilabel_soft_margin_loss_with: |d, t, x| {
            let settings = MultiLabelSoftMarginLoss::default().weight(&t.more).reduction(d.reduction());
            x.multilabel_soft_margin_loss_with(&t.other, settings)
        };
        gaussian_nll_loss: |d, t, x| x.gaussian_nll_loss(&t.other, &t.more);
        gaussian_nll_loss_with: |d, t, x| {
            let settings = GaussianNLLLoss::default().full(d.flag()).eps(d.number()).reduction(d.reduction());
            x.gaussian_nll_loss_with(&t.other, &x.square()?, settings)
        };
        col2im: |d, t, x| {
            let sizes = [d.setting(), d.setting(), d.setting(), d.setting()];
            let by = if d.flag() { [1, 1] } else { [sizes[1], 1] };
            match d.flag() {
                true => x.col2im([sizes[0], sizes[1]], [sizes[2], sizes[3]], super::conv(d.rng)),
                false => x.col2im([1, 1], by, Conv2dOp::default()),
            }
        };
        quantize: |d, t, x| match d.rng.below(4) {
            0 => x.quantize(&t.other, &t.index, codes(d)),
            1 => x.to_dtype(DType::F32)?.quantize(d.number(), d.number(), codes(d)),
            2 => x.quantize(0.25, 3.0, QuantizeOp::new(d.rng.pick(&DType::ALL))),
            _ => x.to_dtype(DType::F32).quantize(t.other.abs()?.amax(..)?.clamp(0.1, 9.0)?, d.place() as f64, codes(d)),
        };
        dequantize: |d, t, x| match d.rng.below(3) {
            0 => x.to_dtype(DType::U8)?.dequantize(t.other.abs()?.clamp(0.1, 9.0)?, &t.index, axis(d)),
            1 => x.to_dtype(DType::I8).dequantize(d.number(), 3.0, None),
            _ => x.to_dtype(DType::I32).dequantize(&t.more, &t.index, axis(d)),
        };
        fake_quantize: |d, t, x| match d.rng.below(3) {
            0 => x.fake_quantize(t.other.abs()?.clamp(0.1, 9.0)?, &t.index, FakeQuantizeOp { axis: axis(d), low: -8, high: 7 }),
            1 => x.fake_quantize(0.1, 3.0, FakeQuantizeOp::new(-8, 7)),
            _ => x.fake_quantize(d.number(), d.place() as f64, FakeQuantizeOp::new(d.place() as i32, d.place() as i32)),
        };
        requantize: |d, t, x| match d.flag() {
            true => x.requantize(&t.other, &t.index, codes(d)),
            false => x.to_dtype(DType::I32).requantize(d.number(), 3.0, codes(d)),
        };
        matmul_integer: |d, t, x| {
            let zero = t.index.narrow(-1, 0, 1);
            let zero = zero.as_ref().ok().filter(|_| d.rng.chance(2));
            let other = if d.flag() { t.other.clone() } else { x.transpose(-1, -2)? }.to_dtype(DType::I8)?;
            x.to_dtype(DType::U8).matmul_integer(&other, zero, Some(&t.index).filter(|_| d.rng.chance(3)))
        };
        conv_integer: |d, t, x| {
            let zero = Some(&t.index).filter(|_| d.rng.chance(2));
            x.to_dtype(DType::I8).conv_integer(&t.other.to_dtype(DType::U8)?, zero, zero, super::conv(d.rng))
        };
        conv1d: |d, t, x| x.conv1d(&t.other, None, Conv1dOp::default().stride([d.setting()]).padding([d.setting()]));
        conv1d_same: |d, t, x| x.conv1d_same(&t.other, None, Conv1dOp::default().dilation([d.setting()]));
        conv2d: |d, t, x| x.conv2d(&t.other, None, super::conv(d.rng));
        conv2d_relu: |d, t, x| x.conv2d_relu(&t.other, None, super::conv(d.rng));
        conv2d_max_pool2d: |d, t, x| x.conv2d_max_pool2d(&t.other, None, super::conv(d.rng), pool(d.rng));
        conv2d_same: |d, t, x| x.conv2d_same(&t.other, Some(&t.more), super::conv(d.rng));
        conv3d: |d, t, x| x.conv3d(&t.other, None, Conv3dOp::default().stride([1, d.setting(), 1]).padding([d.setting(), 0, 1]));
        conv3d_same: |d, t, x| x.conv3d_same(&t.other, None, Conv3dOp::default().dilation([d.setting(), 1, 1]));
        conv_transpose1d: |d, t, x| {
            let settings = ConvTranspose1dOp::default().stride([d.setting()]).padding([d.setting()]);
            x.conv_transpose1d(&t.other, None, settings.output_padding([d.setting()]))
        };
        conv_transpose2d: |d, t, x| {
            let settings = ConvTranspose2dOp::default().stride(d.rng.pair()).padding(d.rng.pair()).dilation(d.rng.pair());
            x.conv_transpose2d(&t.other, None, settings.groups(d.rng.pick(&[1, 1, 2, 0])))
        };
        conv2d_input: |d, t, x| x.conv2d_input(&t.other, super::conv(d.rng), d.rng.pair());
        conv2d_weight: |d, t, x| x.conv2d_weight(&t.other, super::conv(d.rng), d.rng.pair());
        max_pool2d: |d, t, x| x.max_pool2d(pool(d.rng));
        max_pool2d_with_indices: |d, t, x| x.max_pool2d_with_indices(pool(d.rng));
        max_pool2d_with_taps: |d, t, x| x.max_pool2d_with_taps(pool(d.rng));
        max_pool2d_scatter: |d, t, x| x.max_pool2d_scatter(&t.index, pool(d.rng), d.rng.pair());
        max_pool2d_gather: |d, t, x| x.max_pool2d_gather(&t.index, pool(d.rng));
        max_pool2d_index: |d, t, x| x.max_pool2d_index(windows(d.rng));
        max_pool1d: |d, t, x| x.max_pool1d(Pool1dOp::new([d.setting()]).stride([d.setting()]).ceil_mode(d.flag()));
        max_pool1d_with_indices: |d, t, x| x.max_pool1d_with_indices(Pool1dOp::new([d.setting()]).padding([d.setting()]));
        window_mean: |d, t, x| x.window_mean(windows(d.rng), ferrotape_kernels::cpu::pool::Divisor::Elements);
        window_mean_input: |d, t, x| {
            x.window_mean_input(windows(d.rng), ferrotape_kernels::cpu::pool::Divisor::Padded, d.rng.pair())
        };
        avg_pool2d: |d, t, x| {
            let settings = AvgPool2dOp::new(d.rng.pair()).stride(d.rng.pair()).padding(d.rng.pair());
            x.avg_pool2d(settings.ceil_mode(d.flag()).divisor_override(Some(d.place())))
        };
        avg_pool1d: |d, t, x| x.avg_pool1d(AvgPool1dOp::new([d.setting()]).padding([d.setting()]).ceil_mode(d.flag()));
        adaptive_avg_pool2d: |d, t, x| x.adaptive_avg_pool2d(d.rng.pair());
        adaptive_avg_pool1d: |d, t, x| x.adaptive_avg_pool1d(d.setting());
        adaptive_max_pool2d: |d, t, x| x.adaptive_max_pool2d(d.rng.pair());
        adaptive_max_pool2d_with_indices: |d, t, x| x.adaptive_max_pool2d_with_indices(d.rng.pair());
        local_response_norm: |d, t, x| x.local_response_norm(d.setting(), d.number(), d.number(), d.number());
        interpolate: |d, t, x| x.interpolate(&interpolated(d));
        upsample_nearest: |d, t, x| x.upsample_nearest(interpolated(d));
        upsample_bilinear: |d, t, x| x.upsample_bilinear(interpolated(d));
    }
    table
}

fn axis(d: &mut Draw<'_>) -> Option<usize> {
    if d.flag() { None } else { Some(d.rng.dim(d.rank)) }
}

fn codes(d: &mut Draw<'_>) -> QuantizeOp {
    let rule = d.rng.pick(&[QuantizeRule::Reciprocal, QuantizeRule::Divide]);
    QuantizeOp { axis: axis(d), dtype: d.rng.pick(&[DType::I8, DType::U8]), rule }
}

fn matrix(d: &mut Draw<'_>) -> MatrixNorm {
    use MatrixNorm::*;
    d.rng.pick(&[Frobenius, One, MinusOne, Infinity, MinusInfinity, Nuclear, Two, MinusTwo])
}

fn interpolated(d: &mut Draw<'_>) -> Interpolate {
    use InterpolateMode::*;
    let sizes = d.settings();
    let settings = match d.flag() {
        true => Interpolate::size(&sizes),
        false => Interpolate::scale_factor(&[d.number(), 1.5][..1 + sizes.len() % 2]),
    };
    let mode = d.rng.pick(&[Nearest, Linear, Bilinear, Bicubic, Area]);
    settings.mode(mode).align_corners(d.flag())
}

/// The last sizes of x, or any.
fn trailing(d: &mut Draw<'_>, x: &Tensor) -> Vec<usize> {
    if d.rng.chance(4) { d.settings() } else { x.shape()[d.rng.below(x.rank() + 1)..].to_vec() }
}

fn draw(rng: &mut Rng) -> (Tensor, [Tensor; 4]) {
    let rank = rng.below(6);
    let dtype = if rng.chance(2) { DType::F64 } else { rng.dtype() };
    let shape = rng.shape(rank);
    let x = rng.tensor(&shape, dtype);
    let near = |rng: &mut Rng, dtype: DType| match rng.below(8) {
        0 => rng.any(),
        1 => rng.tensor(&shape[rank.saturating_sub(1)..], dtype),
        2 if rank > 1 => rng.tensor(&shape[1..2], dtype),
        3 if rank > 1 => {
            let mut turned = shape.clone();
            turned.swap(rank - 1, rank - 2);
            rng.tensor(&turned, dtype)
        }
        4 => {
            let shape: Vec<usize> =
                shape.iter().map(|&s| if rng.chance(3) { 1 } else { s }).collect();
            rng.tensor(&shape, dtype)
        }
        _ => rng.tensor(&shape, dtype),
    };
    let types = if rng.chance(4) { [rng.dtype(), rng.dtype()] } else { [dtype; 2] };
    let [other, more] = types.map(|dtype| near(rng, dtype));
    let number = if rng.chance(8) { rng.dtype() } else { rng.pick(&[DType::I64, DType::I32]) };
    let (index, mask) = (near(rng, number), near(rng, DType::Bool));
    (x, [other, more, index, mask])
}

/// The methods as the source has them.
pub(crate) fn in_source() -> BTreeSet<String> {
    let folder = crate::root().join("tensor/src/ops");
    let inside = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let files = inside(folder.as_ref()).into_iter().flat_map(|path| match path.is_dir() {
        true => inside(&path),
        false => vec![path],
    });
    let mut names = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("\nmethods! {\n").skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            let lines = block.lines().filter_map(|line| line.strip_prefix("    fn "));
            names.extend(lines.map(|line| line.split(['(', '<']).next().unwrap().to_string()));
        }
    }
    names
}

#[test]
fn every_method_is_drawn() {
    let (table, source) = (methods(), in_source());
    let drawn: BTreeSet<String> = table.keys().map(|name| name.to_string()).collect();
    assert!(source.len() > 250, "{source:?}");
    assert_eq!(source.difference(&drawn).collect::<Vec<_>>(), Vec::<&String>::new(), "not drawn");
    assert_eq!(drawn.difference(&source).collect::<Vec<_>>(), Vec::<&String>::new(), "not there");
}

/// Methods whose operands seldom fit here; their operations are drawn with fitting ones beside this.
const RARE: &[&str] = &[
    "addmm",
    "addmv",
    "baddbmm",
    "bilinear",
    "bmm",
    "conv1d",
    "conv1d_same",
    "conv2d",
    "conv2d_relu",
    "conv2d_max_pool2d",
    "max_pool1d_with_indices",
    "conv2d_same",
    "conv2d_input",
    "conv2d_weight",
    "conv3d",
    "conv3d_same",
    "conv_integer",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "cross_entropy_rows",
    "cross_entropy_with",
    "linear",
    "linear_with",
    "max_pool2d_gather",
    "max_pool2d_scatter",
    "nll_loss",
    "nll_loss_with",
    "tensordot",
    "window_mean_input",
    "interpolate",
    "upsample_nearest",
    "upsample_bilinear",
    "dot",
    "mv",
    "mm",
    "outer",
    "multi_margin_loss",
    "multi_margin_loss_with",
    "col2im",
    "pixel_shuffle",
    "pixel_unshuffle",
    "batch_norm",
    "embedding",
    "scaled_dot_product_attention",
    "svd",
    "trace",
    "cross",
    "unflatten",
    "movedim",
    "permute",
    "im2col",
    "select_scatter",
];

#[test]
fn no_method_panics() {
    const CASES: usize = 60;
    Device::Cpu.set_memory_limit(Some(1 << 28));
    static PLACE: Mutex<String> = Mutex::new(String::new());
    std::panic::set_hook(Box::new(|panic| {
        *PLACE.lock().unwrap() = panic.location().map_or(String::new(), ToString::to_string);
    }));
    let mut rng = Rng::new(0x2545_f491_4f6c_dd1d, Device::Cpu);
    let (mut panics, mut never) = (BTreeMap::new(), Vec::new());
    for (name, call) in methods() {
        let mut right = 0;
        for _ in 0..CASES {
            let (x, [other, more, index, mask]) = draw(&mut rng);
            let said = format!("{x:?} {other:?} {more:?} {index:?} {mask:?}");
            let told = catch_unwind(AssertUnwindSafe(|| {
                let rank = x.rank();
                let leaves = [x.clone(), other.clone(), more.clone()];
                let (mut draw, tensors) =
                    (Draw { rng: &mut rng, rank }, Tensors { other, more, index, mask });
                let (given, tape) = Tape::record(|tape| {
                    leaves.iter().for_each(|leaf| tape.watch(leaf));
                    let given = call(&mut draw, &tensors, &x)?;
                    let floats = given.iter().filter(|y| y.dtype().is_float() && y.len() < 10_000);
                    let sums = floats.map(|y| y.to_dtype(DType::F64).sum(..));
                    let sum = sums.reduce(|a, b| a.add(b));
                    Ok((sum.transpose()?, given))
                })?;
                if let Some(sum) = given.0 {
                    tape.gradient_or_none(&sum, &leaves.each_ref())?;
                }
                Ok::<_, Error>(given.1)
            }));
            match told {
                Ok(Ok(_)) => right += 1,
                Ok(Err(error)) => {
                    let message = error.to_string();
                    let ours = ["internal", "operand is missing", "nowhere to write"];
                    assert!(!ours.iter().any(|fault| message.contains(fault)), "{name}: {message}");
                }
                Err(_) => {
                    let place = PLACE.lock().unwrap().clone();
                    panics.entry(format!("{name} at {place}")).or_insert(said);
                }
            }
        }
        if right == 0 {
            never.push(name);
        }
    }
    let _ = std::panic::take_hook();
    Device::Cpu.set_memory_limit(None);
    assert!(panics.is_empty(), "{} panics: {panics:#?}", panics.len());
    never.retain(|name| !RARE.contains(name));
    assert!(never.is_empty(), "never right, so hardly tried: {never:?}");
}
