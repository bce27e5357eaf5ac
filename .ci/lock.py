"""Write requirements.lock and requirements-cuda.lock: each package with its version and the SHA-256 of its files.

`make lock` runs this after a version in pyproject.toml has changed. Versions that are in a file already stay, unless
pyproject.toml says otherwise.
"""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

UV = (str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal", "--python-version", "3.10")
FORM = ("--generate-hashes", "--no-annotate", "--custom-compile-command", "make lock")
LOCK, CUDA = Path("requirements.lock"), Path("requirements-cuda.lock")
TORCH = re.compile(r"^torch==(?P<version>\S+).*\n(?P<hashes>(    --hash=sha256:.*\n)+)", re.MULTILINE)
SHA256 = re.compile("[0-9a-f]{64}")


def hashes(text: str) -> set[str]:
    """Return the SHA-256 of torch's files in a lock file."""
    found = TORCH.search(text)
    return set(SHA256.findall(found["hashes"])) if found else set()


def without_cuda(index: str, version: str) -> set[str] | None:
    """Return the SHA-256 of torch's Linux wheels without CUDA, which are not on PyPI; None if the index is silent."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=20) as page:
            text = page.read().decode()
    except OSError:
        return None
    name = rf"torch-{re.escape(version)}(?:%2B|\+)cpu-cp31[0-3]-[^\"#]*linux[^\"#]*\.whl"
    return set(re.findall(rf"{name}#sha256=([0-9a-f]{{64}})", text))


def main(index: str) -> None:
    """Write both files."""
    before = LOCK.read_text() if LOCK.exists() else ""
    subprocess.run([*UV, *FORM, "pyproject.toml", "--extra", "dev", "-o", LOCK], check=True)
    text = LOCK.read_text()
    torch = TORCH.search(text)
    same = f"torch=={torch['version']} " in before
    found = without_cuda(index, torch["version"])
    if found is None:
        found = hashes(before) if same else set()
        print(f"{index} does not answer: torch's hashes without CUDA are those of before ({len(found)} in all)")
    lines = [f"    --hash=sha256:{one}" for one in sorted(hashes(text) | found)]
    LOCK.write_text(text[: torch.start("hashes")] + " \\\n".join(lines) + "\n" + text[torch.end("hashes") :])
    only = [f"--no-emit-package={name}" for name in re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)]
    options = ("--no-config", "--constraint", LOCK, *only, "-o", CUDA)
    subprocess.run([*UV, *FORM, *options, "-"], input=f"torch=={torch['version']}", text=True, check=True)


main(sys.argv[1])
