"""Measure, and print a table: ``python -m benchmarks [--json PATH]``."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import speed
from rukh.modeling.text_encoder import TextEncoder
from rukh.utils.files import write_json
from rukh.utils.markdown import markdown_table


def machine() -> dict[str, Any]:
    """The machine, on which the figures depend."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        cpu = next((value.strip() for key, _, value in lines if "model name" in key), cpu)
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def table(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    lines = [f"{result['text']} and {result['vision']}, {result['posts']} posts"]
    lines += [", ".join(f"{key} {value}" for key, value in result["machine"].items())]
    rows = [
        (row["what"], row["pairs"], f"{row['ratio']:.3f}", f"{1000 * row['seconds']:.2f}")
        for row in result["rows"]
    ]
    lines += ["", markdown_table(("what", "pairs per post", "ratio", "ms"), rows)]
    lines += ["", f"Peak memory: {result['peak_mb']:,} MB. Ratios are taken within one run."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", help="write the figures here; - is standard output")
    parser.add_argument("--text", default="all-MiniLM-L6-v2", help="the text encoder")
    parser.add_argument("--vision", default="efficientnet-lite0", help="the vision encoder")
    parser.add_argument("--posts", type=int, default=16, help="posts of each measurement")
    parser.add_argument(
        "--repeats", type=int, default=5, help="the best of so many repetitions is reported"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    text = TextEncoder.load(options.text).eval()
    size = (options.posts, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            *speed.marker_schemes(text, *size),
            *speed.large_banks(text, *size),
            *speed.images(text, options.vision, *size, Path(folder)),
        ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on a Mac
    result = {
        "text": options.text,
        "vision": options.vision,
        "posts": options.posts,
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "peak_mb": peak // (1 << 20 if sys.platform == "darwin" else 1 << 10),
    }
    if options.json != "-":
        print(table(result))
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    main()
