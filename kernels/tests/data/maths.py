"""Makes maths.bin: values of the mathematical functions to 106 bits, by mpmath (1.3.0), which knows nothing of ours.

For each function, in the order of `FUNCTIONS`, `ROWS` rows of four little-endian f64: a, b (0 for functions of one
operand), and high + low, the function's value. Every second a and b is an f32.

    python maths.py        # writes maths.bin beside itself
"""

import os

import mpmath as m
import numpy as np
from mpmath import mpf

ROWS = 160
m.mp.prec = 400
rng = np.random.default_rng(2024)


def spread(low, high):
    """Both signs, exponents even between two."""
    return lambda n: np.exp2(rng.uniform(low, high, n)) * rng.choice([-1, 1], n)


def even(low, high):
    return lambda n: rng.uniform(low, high, n)


def above(base, numbers, sign=1):
    return lambda n: base + sign * np.abs(numbers(n))


def quarter_turns(n):
    return np.round(rng.uniform(0, 60000, n)) * np.pi / 2


ANY = spread(-1070, 1020)
LOG = [above(0, ANY), even(0.5, 2), even(0, 100), above(1, spread(-50, -1))]
TURNS = [ANY, even(-10, 10), even(-1e5, 1e5), quarter_turns]
PLANE = [ANY, even(-3, 3), spread(-20, 20)]


def pow_pairs(n):
    a = np.concatenate([np.abs(ANY(n // 2)), even(0.5, 2)(n - n // 2)])
    log = np.log(a)
    return a, rng.uniform(-740, 700, n) / np.where(np.abs(log) < 1e-3, 1, log)


# Name, function, and how the operands are drawn.
FUNCTIONS = [
    ("exp", m.exp, [even(-740, 709), even(-87, 88), even(-2, 2), spread(-50, 3)]),
    ("expm1", m.expm1, [even(-40, 709), even(-20, 88), even(-2, 2), spread(-50, 3)]),
    ("exp2", lambda x: mpf(2) ** x, [even(-1070, 1023), even(-125, 127), even(-2, 2), spread(-50, 3)]),
    ("log", m.log, LOG),
    ("log1p", m.log1p, [above(0, ANY), even(-0.99, 3), even(0, 100), spread(-50, -1)]),
    ("log2", lambda x: m.log(x) / m.log(2), LOG),
    ("log10", lambda x: m.log(x) / m.log(10), LOG),
    ("sin", m.sin, TURNS),
    ("cos", m.cos, TURNS),
    ("tan", m.tan, TURNS),
    ("asin", m.asin, [even(-1, 1), spread(-300, 0), above(1, spread(-50, -1), -1)]),
    ("acos", m.acos, [even(-1, 1), spread(-60, 0), above(1, spread(-50, -1), -1), above(-1, spread(-50, -1))]),
    ("atan", m.atan, PLANE),
    ("sinh", m.sinh, [even(-710, 710), even(-88, 88), even(-3, 3), spread(-50, 3)]),
    ("cosh", m.cosh, [even(-710, 710), even(-88, 88), even(-3, 3), spread(-50, 3)]),
    ("tanh", m.tanh, [even(-20, 20), even(-2, 2), spread(-50, 5)]),
    ("asinh", m.asinh, PLANE),
    ("acosh", m.acosh, [above(1, ANY), even(1, 3), above(1, spread(-50, 60))]),
    ("atanh", m.atanh, [even(-1, 1), spread(-50, 0), above(1, spread(-50, -1), -1)]),
    ("sigmoid", lambda x: 1 / (1 + m.exp(-x)), [even(-740, 40), even(-87, 17), even(-10, 10), spread(-50, 5)]),
    ("erf", m.erf, [even(-6, 6), even(-1.5, 1.5), spread(-50, 2)]),
    ("erfc", m.erfc, [even(-6, 26.5), even(0, 9), even(-1.5, 1.5), even(0.45, 3), spread(-50, 2)]),
    ("gelu", lambda x: x * m.erfc(-x / m.sqrt(2)) / 2, [even(-37, 6), even(-12, 6), even(-3, 3), spread(-50, 2)]),
    ("pow", lambda a, b: m.exp(b * m.log(a)), pow_pairs),
    ("atan2", m.atan2, PLANE),
    ("hypot", lambda a, b: m.sqrt(a * a + b * b), PLANE),
]


def operands(draw, arity):
    if callable(draw):
        return draw(ROWS)
    share = -(-ROWS // len(draw))
    draws = [np.concatenate([d(share) for d in draw])[:ROWS] for _ in range(arity)]
    return draws if arity == 2 else (draws[0], None)


def rounded(x):
    """Every second one as f32, where that is neither 0 nor infinite."""
    with np.errstate(all="ignore"):
        single = x.astype("f4").astype("f8")
    keep = (np.arange(len(x)) % 2 == 0) | ~np.isfinite(single) | (np.abs(single) < 2.0**-120)
    return np.where(keep, x, single)


def value(f, *args):
    exact = f(*[mpf(float(x)) for x in args])
    high = float(exact)
    assert not isinstance(exact, m.mpc) and np.isfinite(high), (f, args, exact)
    return high, float(exact - mpf(high))


def main():
    rows = []
    for name, f, draw in FUNCTIONS:
        two = f.__code__.co_argcount == 2 if name in ("pow", "hypot") else name == "atan2"
        a, b = operands(draw, 2 if two else 1)
        a = rounded(a)
        if name in ("log", "log2", "log10", "pow"):
            a = np.abs(a)
        if name in ("asin", "acos", "atanh"):
            a = np.clip(a, -1 + 2.0**-24, 1 - 2.0**-24) if name == "atanh" else np.clip(a, -1, 1)
        if name == "acosh":
            a = np.maximum(a, 1)
        b = rounded(b) if two else np.zeros(ROWS)
        for x, y in zip(a, b):
            rows.append((x, y, *(value(f, x, y) if two else value(f, x))))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "maths.bin")
    np.array(rows, dtype="<f8").tofile(path)


main()
