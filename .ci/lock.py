"""Write the lock files: each package with its version and the SHA-256 of its files. `make lock` runs this.

requirements.lock has everything but torch. requirements-torch.lock has torch without CUDA, which PyPI does not have;
requirements-cuda.lock has PyPI's torch, with CUDA. Versions that are in a file already stay, unless pyproject.toml says
otherwise.
"""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

UV = (str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal", "--python-version", "3.10")
FORM = ("--generate-hashes", "--no-annotate", "--custom-compile-command", "make lock")
LOCK, TORCH, CUDA = (Path(f"requirements{name}.lock") for name in ("", "-torch", "-cuda"))


def main(index: str) -> None:
    """Write the three files; `index` has torch without CUDA."""
    version = re.search(r'^    "torch==(\S+)",$', Path("pyproject.toml").read_text(), re.MULTILINE)[1]
    options = ("pyproject.toml", "--extra", "dev", "--no-emit-package=torch", "-o", LOCK)
    subprocess.run([*UV, *FORM, *options], check=True)
    without = [f"--no-emit-package={name}" for name in re.findall(r"^([a-z0-9-]+)==", LOCK.read_text(), re.MULTILINE)]
    options = ("--no-config", "--constraint", LOCK, *without, "-o", CUDA)
    subprocess.run([*UV, *FORM, *options, "-"], input=f"torch=={version}", text=True, check=True)
    wheel = rf"torch-{re.escape(version)}(?:%2B|\+)cpu-cp31[0-4]-[^\"#]*linux[^\"#]*\.whl"
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=20) as page:
            hashes = set(re.findall(rf"{wheel}#sha256=([0-9a-f]{{64}})", page.read().decode()))
    except OSError as error:
        if f"torch=={version}+cpu" not in TORCH.read_text():
            raise
        print(f"{index}: {error}; {TORCH} stays as it is")
        return
    lines = ("# As the index of torch's wheels without CUDA has them.", f"torch=={version}+cpu", *sorted(hashes))
    TORCH.write_text(lines[0] + "\n" + " \\\n    --hash=sha256:".join(lines[1:]) + "\n")


main(sys.argv[1])
