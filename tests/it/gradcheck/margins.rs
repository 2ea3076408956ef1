//! Cases of the losses with margins, of columns back to an image, and of attention with masks.

use ferrotape::nn::{AttentionMasks, MultiheadAttention};
use ferrotape::prelude::*;

use super::Cases;

pub(super) fn cases(cases: &mut Cases) {
    let sign = Tensor::from([1.0, -1.0, -1.0]);
    let (a, b) = (cases.any(&[3, 4]), cases.positive(&[3, 4]));
    cases.add("cosine_embedding_loss", vec![a, b], move |x| {
        let settings = CosineEmbeddingLoss::default().margin(-2.0).reduction(Reduction::None);
        x[0].cosine_embedding_loss_with(&x[1], &sign, settings)?.square()
    });
    let signs = Tensor::from([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]);
    let (a, b) = (cases.any(&[2, 3]), cases.positive(&[2, 3]));
    cases.add("margin_ranking_loss", vec![a, b], move |x| {
        let settings = MarginRankingLoss::default().margin(9.0).reduction(Reduction::None);
        x[0].margin_ranking_loss_with(&x[1], &signs, settings)?.square()
    });
    let inputs = vec![cases.any(&[3, 4]), cases.positive(&[3, 4]), cases.signed(&[3, 4])];
    cases.add("triplet_margin_loss", inputs, |x| {
        let settings = TripletMarginLoss::default().margin(9.0).reduction(Reduction::None);
        x[0].triplet_margin_loss_with(&x[1], &x[2], settings)?.square()
    });
    let classes = Tensor::from([1i64, 0]);
    let (x, weight) = (cases.any(&[2, 3]), cases.positive(&[3]));
    cases.add("multi_margin_loss", vec![x, weight], move |x| {
        let settings = MultiMarginLoss::default().p(2).margin(9.0).weight(&x[1]);
        x[0].multi_margin_loss_with(&classes, settings.reduction(Reduction::None))?.square()
    });
    let labels = Tensor::from([[1i64, -1, 0], [2, 0, -1]]);
    let x = cases.any(&[2, 3]).mul(0.1).unwrap();
    cases.add("multilabel_margin_loss", vec![x], move |x| {
        let settings = MultiLabelMarginLoss::default().reduction(Reduction::None);
        x[0].multilabel_margin_loss_with(&labels, settings)?.square()
    });
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[2, 3])];
    cases.add("soft_margin_loss", inputs.clone(), |x| x[0].soft_margin_loss(&x[1])?.square());
    cases.add("soft_margin_loss, summed", inputs, |x| {
        let settings = SoftMarginLoss::default().reduction(Reduction::Sum);
        x[0].soft_margin_loss_with(&x[1], settings)?.square()
    });
    let inputs = vec![cases.any(&[2, 3]), cases.positive(&[2, 3]), cases.positive(&[3])];
    cases.add("multilabel_soft_margin_loss", inputs, |x| {
        let settings = MultiLabelSoftMarginLoss::default().weight(&x[2]);
        x[0].multilabel_soft_margin_loss_with(&x[1], settings)?.square()
    });
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[2, 3]), cases.positive(&[2])];
    cases.add("gaussian_nll_loss", inputs, |x| {
        let settings = GaussianNLLLoss::default().full(true).reduction(Reduction::None);
        x[0].gaussian_nll_loss_with(&x[1], &x[2], settings)?.square()
    });
    let (target, numbers) = (Tensor::from([1.0, -1.0]), Tensor::from([2i64, 0]));
    let labels = Tensor::from([[1i64, -1, 0], [2, 0, -1]]);
    let inputs = vec![cases.any(&[2, 3]).mul(0.1).unwrap(), cases.positive(&[2, 3])];
    cases.add("losses with margins at their defaults", inputs, move |x| {
        let [a, b] = [&x[0], &x[1]];
        let sums = [
            a.cosine_embedding_loss(b, &target)?,
            a.margin_ranking_loss(b, &Tensor::ones([2, 3], DType::F64)?)?,
            a.triplet_margin_loss(b, &a.mul(b)?)?,
            a.multi_margin_loss(&numbers)?,
            a.multilabel_margin_loss(&labels)?,
            a.multilabel_soft_margin_loss(b)?,
            a.gaussian_nll_loss(&a.square()?, b)?,
        ];
        Tensor::stack(&sums.iter().collect::<Vec<_>>(), 0)?.square()
    });
    let columns = cases.any(&[1, 8, 6]);
    cases.add("col2im", vec![columns], |x| {
        let settings = Conv2dOp::default().stride([2, 1]).padding([1, 0]);
        x[0].col2im([3, 4], [2, 2], settings)?.square()
    });
    let attention = MultiheadAttention::new(4, 2, &mut Generator::new(0)).unwrap();
    let mut attention = attention;
    ferrotape::nn::to_dtype(&mut attention, DType::F64).unwrap();
    let padding = Tensor::from([[false, true, false]]);
    let inputs = vec![cases.any(&[2, 1, 4]), cases.any(&[3, 1, 4]), cases.any(&[3, 1, 4])];
    cases.add("multihead_attention", inputs, move |x| {
        let masks = AttentionMasks::default().key_padding_mask(&padding).is_causal(true);
        attention.forward(&x[0], &x[1], &x[2], masks, &mut Ctx::eval())?.square()
    });
}
