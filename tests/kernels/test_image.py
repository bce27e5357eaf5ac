"""What the virtual machines are built from: packages of a kernel, and lines of the lock file."""

import pytest
from kernels import image

from ids_repro.config import ROOT, UserError

# As `apt-cache show` prints it, shortened: Debian's kernel was one package, and is three now.
OLD = """\
Package: linux-image-cloud-amd64
Version: 6.1.176-1
Depends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)

Package: linux-image-6.1.0-50-cloud-amd64
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool

Package: linux-image-6.1.0-47-cloud-amd64
Depends: kmod
"""
NEW = """\
Package: linux-image-cloud-amd64
Depends: linux-base-cloud-amd64 (= 7.3.4-1), linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), linux-modules-cloud-amd64

Package: linux-image-7.3.4+deb13-cloud-amd64
Depends: dracut, linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), linux-modules-7.3.4+deb13-cloud-amd64

Package: linux-base-cloud-amd64

Package: linux-modules-7.3.4+deb13-cloud-amd64

Package: linux-binary-7.3.4+deb13-cloud-amd64
Depends: linux-image-7.3.4+deb13-cloud-amd64
"""


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (OLD, {"image-6.1.0-50"}),
        (NEW, {"base", *(f"{kind}-7.3.4+deb13" for kind in ("image", "binary", "modules"))}),
    ],
)
def test_a_kernel_is_its_image_and_what_that_depends_on(shown, names):
    assert set(image.closure(shown)) == {image.META, *(f"linux-{name}-cloud-amd64" for name in names)}


def test_the_disks_python_packages_are_those_of_the_lock_file_with_their_hashes():
    lock = (ROOT / "requirements.lock").read_text()
    part = image.locked(lock, image.WHEELS)
    entries = [line for line in part.splitlines() if not line.startswith(" ")]
    assert {entry.split("==")[0] for entry in entries} == set(image.WHEELS)
    assert part in lock or all(line in lock for line in part.splitlines())
    assert part.count("--hash=sha256:") >= len(entries) and not part.rstrip().endswith("\\")
    with pytest.raises(UserError, match="has no nothing-like-it"):
        image.locked(lock, ["nothing-like-it"])
