"""Times our process and a rival's in turns, case by case, and writes the record: see ../README.md. Started by scripts/bench-peers."""

import argparse
import csv
import datetime
import importlib.metadata
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import report
from cases import CASES

HERE = pathlib.Path(__file__).parent
FIELDS = "case threads rival unit ours theirs ratio low high pairs ours_version rival_version".split()
TURN = 10e6  # nanoseconds that a turn is to take at least
SLOW = 2e9  # a rival whose run takes longer is left out
AVX2 = {"torch": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
# Without these glibc gives large blocks back to the system at each free, or not, as the heap happens to lie: up to 8 times the time.
KEEP = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1099511627776"}
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PYTHON = {"torch": "pytorch.py", "jax": "jax_cpu.py"}
OURS = {"ours": "ferrotape-benches", "sgemm": "ferrotape-peer-sgemm"}  # the others are crates of their own


def program(name, heap):
    """The command of a peer, built as it is now; of one that counts its allocations."""
    if name in PYTHON:
        return [sys.executable, HERE / PYTHON[name]]
    if name in OURS:
        place, chosen = TARGET, ["-p", OURS[name]]
    else:
        place = TARGET / "peers" / name
        chosen = ["--manifest-path", HERE / name / "Cargo.toml", "--target-dir", place]
    # The rivals' crates ask for the machine's own instructions; we choose ours when we run.
    flags = {} if name in OURS else {"RUSTFLAGS": "-C target-cpu=native"}
    binary = f"peer-{name}" + "-heap" * heap
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "--bin", binary, *chosen], cwd=ROOT, check=True, env=os.environ | flags)
    return [place / "release" / binary]


class Process:
    """A peer, started at its first question. `NAME-avx2` is held to AVX2, `NAME-heap` counts its allocations; all but `NAME-default` keep the memory that they free."""

    def __init__(self, name, threads):
        self.name, self.threads, self.child = name, threads, None

    def start(self):
        name, _, variant = self.name.partition("-")
        environment = os.environ | {f"{pool}_NUM_THREADS": str(self.threads) for pool in ["OMP", "MKL", "RAYON", "MATMUL"]}
        if variant != "default":
            environment |= KEEP
        if variant == "avx2":
            environment |= AVX2.get(name, {"FERROTAPE_ISA": "avx2"})
        # One thread has one CPU: helpers of a runtime can't run beside it.
        hold = None if self.threads > 1 else lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        self.child = subprocess.Popen(
            [*program(name, variant == "heap"), str(self.threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=hold,
        )  # fmt: skip

    def ask(self, *words):
        """The answer, or None if the peer doesn't know or has died."""
        if not self.child:
            self.start()
        try:
            print(*words, file=self.child.stdin, flush=True)
            answer = self.child.stdout.readline().strip()
        except BrokenPipeError:
            answer = ""
        return answer if answer not in ("", "unknown") else None

    def time(self, case, count):
        answer = self.ask("time", case, count)
        return float(answer) if answer else None

    def count(self, case):
        """How many runs fill a turn; None if the peer doesn't have the case or takes too long."""
        # The first run sets things up.
        count, time = 1, self.time(case, 1) and self.time(case, 1)
        while time and time * count < TURN / 4 and count < 1e6:
            count = min(4 * count, 10**6)
            time = self.time(case, count)
        return max(1, math.ceil(TURN / max(time, 1))) if time and time < SLOW else None


class Peers(dict):
    def __init__(self, threads):
        self.threads = threads

    def __missing__(self, name):
        self[name] = Process(name, self.threads)
        return self[name]

    def sides(self, case, rival):
        """Our process and case, and the rival's: one process for products, one each for the rest."""
        contender, _, variant = rival.partition("-")
        ours, held = ("ours-avx2", "-avx2") if variant == "avx2" else ("ours", "-" * bool(variant) + variant)
        if case.name.startswith("sgemm/"):
            process = self["sgemm" + held]
            return (process, case.name), (process, f"{case.name}@{contender}")
        if rival in ("operations", "system"):
            return (self["ours-heap"], case.name), (self["ours-heap"], case.name)
        if case.unit == "allocations":
            return (self["ours-heap"], case.name), (self[f"{rival}-heap"], case.name)
        contender, _, kept = contender.partition("@")
        return (self[ours], case.name), (self[contender + held], case.name + f"@{kept}" * bool(kept))


def interval(ratios):
    """The order statistics that hold the median in 95 of 100 cases."""
    ordered, n = sorted(ratios), len(ratios)
    below, rank = 0.0, 0
    while (below := below + math.comb(n, rank) / 2**n) <= 0.025:
        rank += 1
    return ordered[max(rank - 1, 0)], ordered[n - max(rank, 1)]


def version(process, contender):
    """Of a rival: what it says itself, or what a package or our lock file says of a library beside us."""
    wheel = {"mkl": "mkl", "openblas": "scipy-openblas32"}.get(contender)
    if wheel:
        return f"{contender} {importlib.metadata.version(wheel)}"
    if contender in ("gemm", "matrixmultiply"):
        return f"{contender} " + re.search(rf'name = "{contender}"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text())[1]
    return process.ask("facts") or ""


def row_of(case, rival, peers, values, ratios, pairs):
    ours, theirs = peers.sides(case, rival)
    numbers = [f"{value:.4g}" for value in (*values, *ratios)]
    versions = [version(ours[0], ""), version(theirs[0], rival)]
    return dict(zip(FIELDS, [case.name, str(peers.threads), rival, case.unit, *numbers, str(pairs), *versions]))


def count(case, rival, peers):
    """Heap allocations of a step beside a rival's, or beside what they are to be no more than."""
    (ours, name), (theirs, _) = peers.sides(case, rival)
    name = name.removeprefix("allocations/")
    allocations, _, operations, requests = map(int, ours.ask("allocations", name).split())
    if rival == "system":
        return row_of(case, rival, peers, (requests, 0), [float(requests == 0)] * 3, 1)
    others = operations if rival == "operations" else int((theirs.ask("allocations", name) or "0").split()[0])
    return row_of(case, rival, peers, (allocations, others), [others / allocations] * 3, 1) if others else None


def measure(case, rival, peers, pairs):
    sides = peers.sides(case, rival)
    counts = [process.count(name) for process, name in sides]
    if None in counts:
        return None
    times = []
    for turn in range(pairs):
        order = [0, 1] if turn % 2 else [1, 0]  # neither is always the one that comes second
        pair = [0, 0]
        for side in order:
            process, name = sides[side]
            if peers.threads > 1:
                # The threads of MKL and PyTorch look for work for 0.2 s after each turn, on the CPUs of ours. Those of this turn
                # must wake then: a virtual machine may take 10 ms to give them a CPU.
                time.sleep(0.25)
                process.time(name, 3 * counts[side])
            pair[side] = process.time(name, counts[side])
        if None in pair:
            return None
        times.append(pair)
    ratios = [b / a for a, b in times]
    medians = [statistics.median(side) for side in zip(*times)]
    values = [case.value(time) for time in medians]
    low, high = interval(ratios)
    return row_of(case, rival, peers, values, (statistics.median(ratios), low, high), pairs)


def key(row):
    return row["case"], row["threads"], row["rival"]


def load(path):
    return {key(row): row for row in csv.DictReader(path.open())} if path.exists() else {}


def save(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


def run(wanted, threads, pairs):
    """The rows of all cases whose `NAME RIVAL` is wanted, as they come."""
    peers = Peers(threads)
    for case in CASES:
        for rival in case.rivals:
            if not wanted.search(f"{case.name} {rival}"):
                continue
            row = count(case, rival, peers) if case.unit == "allocations" else measure(case, rival, peers, pairs)
            if row:
                print(f"{case.name:40} {threads} {rival:16}", "{ours:>9} {theirs:>9} {unit:8} {ratio:>7} ({low} to {high})".format(**row), flush=True)
                yield row
            else:
                print(f"{case.name:40} {threads} {rival:16} not measured", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filter", nargs="?", default="", help="a regular expression over `CASE RIVAL`")
    parser.add_argument("--threads", type=int, choices=[1, 2], help="both unless given")
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--quick", action="store_true", help="5 pairs, nothing recorded")
    parser.add_argument("--record", help="CPU/DATE below record/, if not this machine's and today's")
    arguments = parser.parse_args()
    if "avx512f" not in pathlib.Path("/proc/cpuinfo").read_text():
        print("this machine has no AVX-512: the figures are AVX2's")
    path = HERE.parent / "record" / f"{arguments.record or f'{report.cpu()}/{datetime.date.today()}'}-peers.csv"
    for threads in [arguments.threads] if arguments.threads else [1, 2]:
        for row in run(re.compile(arguments.filter), threads, 5 if arguments.quick else arguments.pairs):
            if not arguments.quick:
                save(path, load(path) | {key(row): row})
    if path.exists() and not arguments.quick:
        report.write(path, load(path).values())


if __name__ == "__main__":
    main()
