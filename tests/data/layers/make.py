"""Makes layers.safetensors: losses with margins, attention, and layers that move or compare elements, by PyTorch in f64.

    python make.py             # needs torch, numpy, safetensors

`<case>/in<i>`: inputs; `<case>/out`: the output; `<case>/grad<i>`: the gradients of sum(out * out) by the floating inputs; `<case>/state/..`: the
state dict of a layer, `<case>/grad/..`: the gradients by it.
"""

import os

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(11)
out = {}


def case(name, f, *inputs):
    inputs = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    if isinstance(f, nn.Module):
        f.double()
        out.update({f"{name}/state/{k}": v.detach().numpy().copy() for k, v in f.state_dict().items()})
    y = f(*inputs)
    (y * y).sum().backward()
    out[f"{name}/out"] = y.detach().numpy().copy()
    for i, x in enumerate(inputs):
        out[f"{name}/in{i}"] = x.detach().numpy().copy()
        if x.is_floating_point() and x.grad is not None:
            out[f"{name}/grad{i}"] = x.grad.numpy().copy()
    if isinstance(f, nn.Module):
        out.update({f"{name}/grad/{k}": p.grad.numpy().copy() for k, p in f.named_parameters()})


a, b, c = (torch.randn(5, 4) for _ in range(3))
sign = torch.tensor([1.0, -1, -1, 1, -1])
signs = torch.where(torch.randn(5, 4) > 0, 1.0, -1.0)
classes = torch.tensor([0, 3, 1, 1, 2])
weight = torch.rand(4) + 0.5
reductions = ["none", "mean", "sum"]
for r in reductions:
    case(f"cosine_embedding/{r}", lambda a, b: F.cosine_embedding_loss(a, b, sign, margin=0.1, reduction=r), a, b)
    case(f"margin_ranking/{r}", lambda a, b: F.margin_ranking_loss(a, b, signs, margin=0.3, reduction=r), a, b)
    case(f"triplet/{r}", lambda a, b, c: F.triplet_margin_loss(a, b, c, margin=1.5, reduction=r), a, b, c)
    case(f"triplet_swap/{r}", lambda a, b, c: F.triplet_margin_loss(a, b, c, p=3.0, swap=True, reduction=r), a, b, c)
    case(f"multi_margin/{r}", lambda a: F.multi_margin_loss(a, classes, reduction=r), a)
    case(f"multi_margin_two/{r}", lambda a: F.multi_margin_loss(a, classes, p=2, margin=0.7, weight=weight, reduction=r), a)
    labels = torch.tensor([[0, 2, -1, 1], [-1, 0, 0, 0], [3, -1, -1, -1], [0, 1, 2, 3], [1, 3, -1, 0]])
    case(f"multilabel_margin/{r}", lambda a: F.multilabel_margin_loss(a, labels, reduction=r), a)
    case(f"soft_margin/{r}", lambda a: F.soft_margin_loss(a, signs, reduction=r), a)
    zeros_ones = (signs + 1) / 2
    case(f"multilabel_soft_margin/{r}", lambda a: F.multilabel_soft_margin_loss(a, zeros_ones, weight=weight, reduction=r), a)
    small = torch.cat([torch.rand(5, 3), torch.full((5, 1), 1e-8)], 1)
    case(f"gaussian/{r}", lambda a, b, v: F.gaussian_nll_loss(a, b, v, full=True, eps=1e-3, reduction=r), a, b, small)
    case(f"gaussian_rows/{r}", lambda a, b, v: F.gaussian_nll_loss(a, b, v, reduction=r), a, b, torch.rand(5) + 0.1)
case("multi_margin_one", lambda x: F.multi_margin_loss(x, torch.tensor(2)), a[0])
case("multilabel_margin_one", lambda x: F.multilabel_margin_loss(x, torch.tensor([1, 3, -1, -1])), a[0])
case("cosine_embedding_one", lambda x, y: F.cosine_embedding_loss(x, y, torch.tensor(-1.0)), a[0], a[0] + 0.1)
out |= {"sign": sign.numpy(), "signs": signs.numpy(), "zeros_ones": zeros_ones.numpy(), "classes": classes.numpy(), "labels": labels.numpy(), "weight": weight.numpy()}

image = torch.randn(2, 3, 4, 5)
case("bilinear", nn.Bilinear(4, 4, 3), a, b)
case("cosine", nn.CosineSimilarity(), a, b)
case("distance", nn.PairwiseDistance(p=3.0, keepdim=True), a, b)
case("shuffle", nn.PixelShuffle(2), torch.randn(2, 8, 2, 3))
case("unshuffle", nn.PixelUnshuffle(2), torch.randn(2, 2, 4, 6))
case("channel_shuffle", lambda x: nn.ChannelShuffle(3)(x), torch.randn(2, 6, 2, 1))
case("unfold", nn.Unfold((2, 3), dilation=(1, 2), padding=(1, 2), stride=(2, 1)), image)
case("fold", nn.Fold((4, 5), (2, 3), dilation=(1, 2), padding=(1, 2), stride=(2, 1)), torch.randn(2, 12, 15))
case("fold_one", nn.Fold((3, 3), (2, 2)), torch.randn(8, 4))
case("unflatten", nn.Unflatten(1, (2, -1)), torch.randn(2, 6))
case("zero2", nn.ZeroPad2d((1, 0, 2, 1)), image)
case("constant1", nn.ConstantPad1d((2, 1), 3.5), torch.randn(2, 3, 4))
case("reflection2", nn.ReflectionPad2d((1, 2, 3, 0)), image)
case("replication3", nn.ReplicationPad3d((1, 2, 0, 1, 3, 0)), torch.randn(1, 2, 2, 3, 2))
case("circular2", nn.CircularPad2d((1, 2, 3, 0)), image)
case("max1", nn.AdaptiveMaxPool1d(3), torch.randn(2, 3, 7))
case("conv3", nn.Conv3d(2, 4, (2, 1, 3), stride=(1, 2, 1), padding=(0, 1, 1), groups=2), torch.randn(1, 2, 3, 4, 3))
case("local", nn.LocalResponseNorm(3, alpha=0.5), torch.randn(2, 5, 3))
case("group", nn.GroupNorm(2, 4), torch.randn(3, 4, 5))
case("instance", nn.InstanceNorm1d(4, affine=True), torch.randn(3, 4, 5))

query, key, value = torch.randn(3, 2, 6), torch.randn(4, 2, 6), torch.randn(4, 2, 6)
padding = torch.tensor([[False, False, True, True], [False, True, False, False]])
forbidden = torch.tensor([[False, True, False, False], [False, False, True, False], [True, False, False, False]])
added = torch.randn(2 * 2, 3, 4)


class Attention(nn.Module):
    def __init__(self, which, masks=lambda: {}, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, **options)
        for p in self.attention.parameters():
            p.data += 0.1 * torch.randn(p.shape)
        self.which, self.masks = which, masks

    def forward(self, *inputs):
        return self.attention(*inputs, **self.masks())[self.which]


case("attention", Attention(0), query, key, value)
case("attention_masks", Attention(0, lambda: dict(key_padding_mask=padding, attn_mask=forbidden)), query, key, value)
case("attention_added", Attention(0, lambda: dict(attn_mask=added), bias=False), query, key, value)
sizes = Attention(0, kdim=5, vdim=4, batch_first=True)
case("attention_sizes", sizes, torch.randn(2, 3, 6), torch.randn(2, 4, 5), torch.randn(2, 4, 4))
case("attention_alone", Attention(0, lambda: dict(key_padding_mask=padding[0])), torch.randn(3, 6), torch.randn(4, 6), torch.randn(4, 6))
out |= {"padding": padding.numpy(), "forbidden": forbidden.numpy(), "added": added.numpy()}
save_file({k: np.array(v, order="C") for k, v in out.items()}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers.safetensors"))
