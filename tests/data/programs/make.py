"""Makes programs.safetensors: five small programs in PyTorch, 20 steps each, in f64.

    python make.py             # needs torch, numpy, safetensors

`<program>/init/<name>`: the state dict before, in f32; `<program>/final/<name>`: after, in f64; `<program>/loss`: the losses of the steps;
`<program>/eval`: what the model says in evaluation at last; the rest are inputs. Dropout draws from this library's generator, seed 7.
"""

import os
import warnings

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim import lr_scheduler as S

warnings.filterwarnings("ignore")
STEPS = 20
torch.set_num_threads(1)
torch.set_default_dtype(torch.float32)
out = {}


class Philox:
    """Uniforms in f64 from Philox4x32-10, two a block, from block 0 of stream 0."""

    def __init__(self, seed):
        self.seed, self.block = seed, 0

    def uniform(self, count):
        blocks = -(-count // 2)
        at = np.arange(self.block, self.block + blocks, dtype=np.uint64)
        self.block += blocks
        low = np.uint64(0xFFFFFFFF)
        c = [at & low, at >> np.uint64(32), np.zeros_like(at), np.zeros_like(at)]
        key = [self.seed & 0xFFFFFFFF, self.seed >> 32]
        for _ in range(10):
            even, odd = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
            c = [
                (odd >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]),
                odd & low,
                (even >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]),
                even & low,
            ]
            key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
        pair = lambda a, b: ((b << np.uint64(21)) | (a >> np.uint64(11))).astype(np.float64) * 2.0**-53
        return np.stack([pair(c[0], c[1]), pair(c[2], c[3])], 1).reshape(-1)[:count]


philox = None


def dropout(x, p, training=True, inplace=False):
    if not training or p == 0:
        return x
    kept = philox.uniform(x.numel()).reshape(x.shape) < 1 - p
    return x * torch.tensor(kept * (1 / (1 - p)))


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return dropout(x, self.p, self.training)


def begin(name, model):
    global philox
    philox = Philox(7)
    out.update({f"{name}/init/{k}": v.detach().numpy().copy() for k, v in model.state_dict().items()})
    return model.double()


def end(name, model, losses, said):
    out.update({f"{name}/final/{k}": v.detach().numpy().copy() for k, v in model.state_dict().items()})
    out[f"{name}/loss"] = np.array(losses)
    out[f"{name}/eval"] = said.detach().numpy().copy()


def given(name, value):
    out[name] = value.numpy().copy()
    return value.double() if value.is_floating_point() else value


# A classifier of rows: dropout, Adam with a group without weight decay, StepLR, clipping.
torch.manual_seed(1)
model = begin("mlp", nn.Sequential(nn.Linear(10, 24), nn.ReLU(), Dropout(0.25), nn.Linear(24, 16), nn.Tanh(), Dropout(0.1), nn.Linear(16, 3)))
x, y = given("mlp/x", torch.randn(40, 10)), given("mlp/y", torch.randint(0, 3, (40,)))
weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
optimizer = Adam([{"params": weights}, {"params": biases, "weight_decay": 0.0, "lr": 0.02}], lr=0.01, weight_decay=0.1)
schedule = S.StepLR(optimizer, 5, 0.5)
losses = []
for _ in range(STEPS):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
    loss.backward()
    clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
end("mlp", model, losses, model.eval()(x))


# A small residual network: batch norm, strides, pools, SGD with Nesterov's momentum, OneCycleLR.
class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)
        self.downsample = nn.Sequential(nn.Conv2d(a, b, 1, stride=2, bias=False), nn.BatchNorm2d(b))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.avgpool, self.fc = Block(6, 8), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


torch.manual_seed(2)
model = begin("resnet", ResNet())
x, y = given("resnet/x", torch.randn(6, 3, 11, 11)), given("resnet/y", torch.randint(0, 5, (6,)))
optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
schedule = S.OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS)
losses = []
for t in range(STEPS):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    if t + 1 < STEPS:
        schedule.step()
    losses.append(loss.item())
end("resnet", model, losses, model.eval()(x))


# A classifier of texts: an embedding with padding, a packed LSTM of two layers and directions, RMSprop, CosineAnnealingLR.
class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(16, 4)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.fc(torch.cat([h[-2], h[-1]], 1))


torch.manual_seed(3)
model = begin("text", Text())
lengths = torch.tensor([5, 9, 1, 7, 9, 3])
x = torch.randint(1, 30, (6, 9))
x[torch.arange(9)[None] >= lengths[:, None]] = 0
x, lengths, y = given("text/x", x), given("text/lengths", lengths), given("text/y", torch.randint(0, 4, (6,)))
optimizer = RMSprop(model.parameters(), lr=3e-3, momentum=0.5)
schedule = S.CosineAnnealingLR(optimizer, STEPS, eta_min=1e-4)
losses = []
for _ in range(STEPS):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x, lengths), y)
    loss.backward()
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
end("text", model, losses, model.eval()(x, lengths))


# A language model: a causal transformer with padding, its head tied to the embedding, AdamW, warm-up and a cosine, clipping.
class Language(nn.Module):
    def __init__(self, norm_first, activation):
        super().__init__()
        self.embedding, self.position = nn.Embedding(20, 12), nn.Parameter(torch.randn(8, 12) * 0.1)
        layer = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(12) if norm_first else None, enable_nested_tensor=False)
        self.head = nn.Linear(12, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x, padding):
        mask = torch.triu(torch.ones(8, 8, dtype=torch.bool), 1)
        return self.head(self.encoder(self.embedding(x) + self.position, mask, padding))


for name, norm_first, activation in [("pre_norm", True, "gelu"), ("post_norm", False, "relu")]:
    torch.manual_seed(4)
    model = begin(name, Language(norm_first, activation))
    for layer in model.encoder.layers:
        layer.self_attn.in_proj_bias.data += torch.arange(36) * 0.01
    out.update({f"{name}/init/{k}": v.detach().numpy().astype(np.float32) for k, v in model.state_dict().items()})
    model.load_state_dict({k: torch.tensor(out[f"{name}/init/{k}"]) for k in model.state_dict()})
    tokens = torch.randint(1, 20, (4, 9))
    tokens[1, 6:], tokens[3, 4:] = 0, 0
    tokens = given(f"{name}/tokens", tokens)
    x, y = tokens[:, :-1], tokens[:, 1:]
    optimizer = AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    warm = S.LinearLR(optimizer, 0.1, 1.0, 4)
    schedule = S.SequentialLR(optimizer, [warm, S.CosineAnnealingLR(optimizer, STEPS - 4, 1e-4)], [4])
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x, x == 0).flatten(0, 1), y.flatten(), ignore_index=0)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        end(name, model, losses, model.eval()(x, x == 0))


# Two networks against each other: two optimizers, parts frozen in turn, one layer frozen for good.
torch.manual_seed(5)
model = nn.ModuleDict({
    "g": nn.Sequential(nn.Linear(3, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 2)),
    "d": nn.Sequential(nn.Linear(2, 10), nn.LeakyReLU(0.2), nn.Linear(10, 10), nn.LeakyReLU(0.2), nn.Linear(10, 1)),
})
model = begin("gan", model)
g, d = model["g"], model["d"]
for p in d[0].parameters():
    p.requires_grad = False
learnt = [p for p in d.parameters() if p.requires_grad]
of_d, of_g = Adam(learnt, lr=5e-3, betas=(0.5, 0.999)), Adam(g.parameters(), lr=5e-3, betas=(0.5, 0.999))
real, noise = given("gan/real", torch.randn(STEPS, 8, 2) + 1), given("gan/noise", torch.randn(STEPS, 2, 8, 3))
one, zero = torch.ones(8, 1, dtype=torch.float64), torch.zeros(8, 1, dtype=torch.float64)
losses = []
for t in range(STEPS):
    of_d.zero_grad()
    bad = F.binary_cross_entropy_with_logits
    loss_d = bad(d(real[t]), one) + bad(d(g(noise[t, 0]).detach()), zero)
    loss_d.backward()
    of_d.step()
    of_g.zero_grad()
    loss_g = bad(d(g(noise[t, 1])), one)
    loss_g.backward()
    of_g.step()
    losses += [loss_d.item(), loss_g.item()]
model.eval()
end("gan", model, losses, d(g(noise[0, 0])))

save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs.safetensors"))
