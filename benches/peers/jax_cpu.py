"""JAX on the CPU as a peer (cases.py): jitted functions as its users write them, optimizers by hand."""

import os

from protocol import THREADS, serve

if THREADS == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
from jax import lax, nn

from cases import parts

KEYS = iter(jax.random.split(jax.random.key(0), 100_000))
OPS = {
    "add": jnp.add,
    "mul": jnp.multiply,
    "relu": nn.relu,
    "exp": jnp.exp,
    "tanh": jnp.tanh,
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "sigmoid": nn.sigmoid,
    "chain_tanh_xwb": lambda x, w, b: jnp.tanh(x * w + b),
    "sum": jnp.sum,
    "softmax": lambda x: nn.softmax(x, -1),
    "transpose": lambda x: jnp.copy(x.T),
    "matmul_4x4": jnp.matmul,
}


def random(*shape):
    return jax.random.normal(next(KEYS), shape)


def jitted(f, *inputs):
    f = jax.jit(f)
    return lambda: jax.block_until_ready(f(*inputs))


def elementwise(op, n):
    inputs = {"add": 2, "mul": 2, "chain_tanh_xwb": 3}.get(op, 1)
    return jitted(OPS[op], *(random(n) for _ in range(inputs)))


def layer_norm(x, w, b):
    mean, variance = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * w + b


def rows(op, r, c):
    if op == "layer_norm":
        return jitted(layer_norm, random(r, c), random(c), random(c))
    return jitted(OPS[op], random(r, c))


def tiny(op, mode):
    if mode != "nograd":
        return None
    shape = {"add_1": [1], "add_16": [16], "matmul_4x4": [4, 4]}[op]
    return jitted(OPS[op.partition("_1")[0]], random(*shape), random(*shape))


def conv(x, w, padding):
    return lax.conv_general_dilated(x, w, (1, 1), [(padding, padding)] * 2)


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def images(op, shape, both):
    forward, inputs = max_pool, [random(*shape[:4])]
    if op == "conv":
        n, c, h, w, o, k, p = shape
        forward, inputs = lambda x, w: conv(x, w, p), [random(n, c, h, w), random(o, c, k, k)]
    if not both:
        return jitted(forward, *inputs)
    seed = jnp.ones_like(forward(*inputs))

    def passes(seed, *inputs):
        y, backward = jax.vjp(forward, *inputs)
        return y, backward(seed)  # XLA leaves out what is not asked for

    return jitted(passes, seed, *inputs)


def linear(p, x):
    return x @ p[0].T + p[1]


def weights(outputs, *inputs):
    return 0.05 * random(outputs, *inputs), jnp.zeros(outputs)


def lstm(hidden):
    def forward(p, x):
        w_ih, w_hh, b = p["lstm"]
        gates_of_x = x @ w_ih.T + b  # of all steps at once

        def cell(state, gates):
            h, c = state
            i, f, g, o = jnp.split(gates + h @ w_hh.T, 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), None

        zero = jnp.zeros((x.shape[1], hidden))
        (h, _), _ = lax.scan(cell, (zero, zero), gates_of_x)
        return linear(p["fc"], h)

    return forward


def cnn(p, x):
    for layer in ["conv1", "conv2"]:
        w, b = p[layer]
        x = max_pool(nn.relu(conv(x, w, 1) + b[None, :, None, None]))
    x = x.reshape(x.shape[0], -1)
    return linear(p["fc2"], nn.relu(linear(p["fc1"], x)))


def mse(y, target):
    return jnp.mean((y - target) ** 2)


def cross_entropy(y, labels):
    return -jnp.mean(jnp.take_along_axis(nn.log_softmax(y), labels[:, None], 1))


def sgd(rate):
    def update(p, g, state):
        return jax.tree.map(lambda p, g: p - rate * g, p, g), state

    return lambda p: (), update


def adam(rate):
    def start(p):
        zero = jax.tree.map(jnp.zeros_like, p)
        return zero, zero, jnp.zeros(())

    def update(p, g, state):
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = 1 - 0.9**t, 1 - 0.999**t
        return jax.tree.map(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + 1e-8), p, m, v), (m, v, t)

    return start, update


def network(name, batch):
    """Forward, parameters, a batch, what it is to give, loss and optimizer."""
    if name == "xor":
        p = {"fc1": weights(2, 2), "fc2": weights(1, 2)}
        x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        forward = lambda p, x: nn.sigmoid(linear(p["fc2"], nn.sigmoid(linear(p["fc1"], x))))
        return forward, p, x, jnp.array([[0.0], [1.0], [1.0], [0.0]]), mse, sgd(0.5)
    labels = jnp.arange(batch) * 7 % 10
    if name == "mlp":
        p = {"fc1": weights(128, 784), "fc2": weights(10, 128)}
        forward = lambda p, x: linear(p["fc2"], nn.relu(linear(p["fc1"], x)))
        return forward, p, random(batch, 784), labels, cross_entropy, sgd(0.01)
    if name == "mnist_cnn":
        p = {"conv1": weights(32, 1, 3, 3), "conv2": weights(64, 32, 3, 3), "fc1": weights(128, 3136), "fc2": weights(10, 128)}
        return cnn, p, random(batch, 1, 28, 28), labels, cross_entropy, adam(1e-3)
    steps, features, hidden = {"lstm_flights": (12, 1, 32), "lstm_big": (32, 128, 256)}[name]
    p = {"lstm": (weights(4 * hidden, features)[0], *weights(4 * hidden, hidden)), "fc": weights(1, hidden)}
    return lstm(hidden), p, random(steps, batch, features), random(batch, 1), mse, adam(1e-3)


def step(name, what, batch):
    forward, p, x, y, loss, (start, update) = network(name, batch)
    if what == "infer":
        return jitted(forward, p, x)
    state = start(p)

    @jax.jit
    def train(p, state, x, y):
        value, g = jax.value_and_grad(lambda p: loss(forward(p, x), y))(p)
        return value, *update(p, g, state)

    def run():
        nonlocal p, state
        value, p, state = train(p, state, x, y)
        jax.block_until_ready((value, p, state))

    return run


serve(f"jax {jax.__version__}", lambda case: parts(case, elementwise, rows, tiny, images, step))
