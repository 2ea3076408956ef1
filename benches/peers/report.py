"""The Markdown table and the plots beside a record."""

import math
import pathlib

import matplotlib.pyplot as plt

from cases import CASES

SECTIONS = {
    "GFLOP/s of products": lambda case: case.name.startswith("sgemm/"),
    "Elementwise operations, rows": lambda case: case.unit == "GB/s",
    "One operation": lambda case: case.unit == "ns",
    "Convolution and pooling": lambda case: case.name.startswith(("conv_", "maxpool2_")),
    "Networks": lambda case: "_b" in case.name and case.unit == "us",
    "Heap allocations of a step": lambda case: case.unit == "allocations",
}


def cpu():
    """The name of this machine's folder below record/."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    # A virtual machine may hide the rest of the name; AVX-512 VNNI in it is Zen 4's or later.
    return "amd-epyc-zen4" if model == "AMD EPYC" else "-".join(model.lower().replace("(r)", "").split())


def is_peer(row):
    """Held to nothing, and no peak: what `best` is chosen from."""
    return not any(mark in row["rival"] for mark in ("fma_peak", "-avx2", "-default", "@out", "operations", "system"))


def best(rows):
    return min(filter(is_peer, rows), key=lambda row: float(row["ratio"]), default=None)


def verdicts(case, threads, rows):
    """For each ratio that is to be reached: the rival, that ratio and the row that says what was."""
    for rival, least in case.reach[threads].items():
        found = best(rows) if rival == "best" else next((row for row in rows if row["rival"] == rival), None)
        if found:
            yield rival, least, found


def holds(least, row):
    return float(row["low"]) >= least


def of_case(rows, case, threads):
    return [row for row in rows if row["case"] == case.name and row["threads"] == str(threads)]


def geometric_mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def cell(row):
    return f"{row['ratio']} ({row['low']} to {row['high']})" if row else ""


def line(case, threads, rows, rivals):
    """A row of a table: ours, each rival's ratio, what was to be reached."""
    ours = next((row for row in rows if "-avx2" not in row["rival"]), rows[0])["ours"]
    ratios = [cell(next((row for row in rows if row["rival"] == rival), None)) for rival in rivals]
    reached = [f"{'yes' if holds(least, row) else '**no**'}: {rival} {least:g}" for rival, least, row in verdicts(case, threads, rows)]
    return f"| {' | '.join([case.name, f'{ours} {case.unit}', *ratios, ', '.join(reached)])} |"


def section(title, cases, threads, rows):
    found = [(case, of_case(rows, case, threads)) for case in cases]
    found = [(case, rows) for case, rows in found if rows]
    measured = {row["rival"] for _, rows in found for row in rows}
    rivals = [rival for rival in dict.fromkeys(rival for case, _ in found for rival in case.rivals) if rival in measured]
    if found:
        yield from ["", f"## {title}, {threads} thread{'s' * (threads > 1)}", ""]
        yield from [f"| case | ours | {' | '.join(rivals)} | reached |", "|---|---:|" + "---|" * (len(rivals) + 1)]
        yield from (line(case, threads, rows, rivals) for case, rows in found)


def missed(rows):
    for threads in (1, 2):
        for case in CASES:
            for rival, least, row in verdicts(case, threads, of_case(rows, case, threads)):
                if not holds(least, row):
                    yield f"- {case.name}, {threads} thread{'s' * (threads > 1)}: {cell(row)} of {least:g} over {row['rival']}"


def markdown(rows):
    versions = {row[side] for row in rows if row["unit"] != "allocations" for side in ("ours_version", "rival_version")}
    yield from ["# Ours and the peers, in turns", "", f"Versions: {', '.join(sorted(filter(None, versions)))}.", ""]
    yield from ["A ratio over 1: ours is faster. In brackets: the interval that holds the median in 95 of 100 cases. `yes` in the last"]
    yield from ["column: its lower end reaches what was aimed at. `best`: the rival with the smallest ratio."]
    yield from ["", "Not reached:", "", *missed(rows)]
    for threads in (1, 2):
        for title, belongs in SECTIONS.items():
            yield from section(title, filter(belongs, CASES), threads, rows)
        mkl = [float(row["ratio"]) for row in rows if row["rival"] == "mkl" and row["threads"] == str(threads) and square(row)]
        if mkl:
            yield from ["", f"Geometric mean over MKL, {threads} thread{'s' * (threads > 1)}, {len(mkl)} square cases: {geometric_mean(mkl):.3f}."]


def square(row):
    """Counts for the geometric mean: n >= 64, or 256 of two threads."""
    size = row["case"].split("/")[-1].split("x")
    return len(set(size)) == 1 and int(size[0]) >= (64 if row["threads"] == "1" else 256)


def plot_products(rows, path):
    """GFLOP/s over n, under the peak that was measured beside."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharex=True)
    for threads, panel in enumerate(panels, 1):
        lines = {}
        for row in rows:
            if row["threads"] == str(threads) and row["case"].startswith("sgemm/NN/") and len(set(row["case"][9:].split("x"))) == 1:
                n = int(row["case"].split("x")[-1])
                lines.setdefault(row["rival"], {})[n] = float(row["theirs"])
                if row["rival"] == "mkl":
                    lines.setdefault("ferrotape", {})[n] = float(row["ours"])
        for peak in [lines.pop(name) for name in list(lines) if name.startswith("fma_peak")]:
            panel.axhline(max(peak.values()) * threads, color="gray", linewidth=0.8, linestyle="--")
        for name, values in sorted(lines.items()):
            panel.plot(*zip(*sorted(values.items())), label=name, marker=".", linewidth=2.2 if name == "ferrotape" else 1)
        panel.set(xscale="log", xlabel="n", ylabel="GFLOP/s", title=f"n x n x n, {threads} thread{'s' * (threads > 1)}", ylim=(0, None))
        panel.set_xscale("log", base=2)
        if lines:
            panel.legend(fontsize=8)
    save(figure, path)


def plot_ratios(rows, path):
    """Each case's ratio to its best rival, with its interval."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 14), sharex=True)
    for threads, panel in enumerate(panels, 1):
        found = [(case.name, best(of_case(rows, case, threads))) for case in CASES]
        found = [(name, row) for name, row in found if row][::-1]
        for place, (name, row) in enumerate(found):
            low, ratio, high = (float(row[key]) for key in ("low", "ratio", "high"))
            color = "tab:green" if low >= 1 else "tab:red" if high < 1 else "tab:gray"
            panel.plot([low, high], [place, place], color=color, linewidth=1)
            panel.plot(ratio, place, ".", color=color)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set_yticks(range(len(found)), [f"{name} ({row['rival']})" for name, row in found], fontsize=6)
        panel.set_xscale("log")
        panel.set(title=f"best rival / ours, {threads} thread{'s' * (threads > 1)}")
    save(figure, path)


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def write(path, rows):
    rows = list(rows)
    path.with_suffix(".md").write_text("\n".join(markdown(rows)) + "\n")
    plot_products(rows, path.with_name(f"{path.stem}-sgemm.png"))
    plot_ratios(rows, path.with_name(f"{path.stem}-ratios.png"))
