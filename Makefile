# Each target first installs what it needs and the machine does not have. A second run calls neither apt nor pip.
# On a machine without apt, install PACKAGES in your own way, then run `make venv` (or use environment.yml).
PROFILE ?= smoke
FRESH ?=
PYTHON ?= /usr/bin/python3
SUITE ?= trixie
N ?= 1000000
SEED ?= 1
TRIES ?= 30
DISTRO := $(shell . /etc/os-release 2>/dev/null && echo $$ID $$ID_LIKE)
PACKAGES := python3-bpfcc python3-venv clang clang-format gcc libc6-dev make hping3 iproute2 ethtool util-linux git
# A browser opens the report in a test. Ubuntu has it as a snap only, so the test is skipped there.
CHROMIUM := $(if $(filter ubuntu,$(DISTRO)),,chromium)
# Without these nothing can be reproduced; the others are for measuring as root.
NEEDED := python3-venv|gcc|libc6-dev|make
ONLY_NEEDED = missing=$$(tr ' ' '\n' <<< "$$missing" | grep -xE '$(NEEDED)' | sed 's/^/ /' | tr -d '\n' || true)
# None of these packages has a service, so installing them starts no daemon (tests/test_setup.py checks this).
LAB_PACKAGES := apache2-bin bind9-dnsutils curl dnsmasq-base dropbear-bin hydra iputils-ping ncrack nmap openssh-client \
	libclang-rt-dev openssl python3-pyftpdlib slowhttptest sshpass tcpdump wget $(CHROMIUM)
ifneq ($(filter system-lab test test-faults record fuzz,$(MAKECMDGOALS)),)
PACKAGES += $(LAB_PACKAGES)
endif
# DPDK's libraries and its driver for a kernel's interface, by their names in this release, such as librte-net-af-xdp23.
# libdpdk-dev needs 220 packages with the drivers of all cards, and daemons. Only its headers are unpacked.
DPDK_PACKAGES := libbsd-dev|librte-(mempool-ring|net-af-xdp)[0-9]+
DPDK := build/dpdk
# make test-kernels boots other kernels with these.
KERNEL_PACKAGES := qemu-system-x86 mmdebstrap debian-archive-keyring openssh-client
ifneq ($(filter system-kernels test-kernels,$(MAKECMDGOALS)),)
PACKAGES += $(KERNEL_PACKAGES)
endif
ifneq ($(filter test-debian,$(MAKECMDGOALS)),)
PACKAGES += mmdebstrap
endif
# Without headers for the running kernel, HEADERS is installed: packet programs need only the UAPI headers.
KERNEL := $(shell uname -r)
HEADERS := linux-headers-$(if $(filter ubuntu,$(DISTRO)),generic,$(shell dpkg --print-architecture 2>/dev/null))
# PyPI's torch needs 2.5 GB of CUDA, which is not used here. If this index answers, its smaller torch is installed.
CPU_WHEELS := https://download.pytorch.org/whl/cpu
LOCKS := requirements.lock requirements-torch.lock requirements-cuda.lock

SHELL := /bin/bash
.SHELLFLAGS := -euc
.ONESHELL .NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help system system-lab system-kernels system-dpdk venv lock sbom reproduce record test test-debian test-kernels test-faults fuzz bench-extract example example-smoke readme lint format lab clean distclean
export LC_ALL := C
export PATH := $(PATH):/usr/sbin:/sbin

C_FILES := $(wildcard bpf/*.[ch] bpf/user/*.[ch] tests/*/*.c)
BOOKS := $(wildcard notebooks/*.ipynb)
STRIP := .venv/bin/python -m nbstripout --extra-keys metadata.language_info
REPRODUCE = .venv/bin/python -m ids_repro reproduce --profile $(PROFILE)$(if $(FRESH), --fresh)
# This checkout's git. Under sudo the checkout belongs to somebody else.
GIT := git -c safe.directory='$(CURDIR)'
SUDO := $(if $(filter 0,$(shell id -u)),,$(if $(shell command -v sudo),sudo -EH,false))
# Not empty if this user is root or may become root. That may need a password: it is asked once, and for `reproduce` only.
ROOTED = $(eval ROOTED := $(or $(filter 0,$(shell id -u)),$(shell $(SUDO) true && echo sudo)))$(ROOTED)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -o DPkg::Lock::Timeout=120
# What commands write that run as root.
WRITTEN := .venv build data figures notebooks ids_repro tests .hypothesis .pytest_cache .ruff_cache
INSTALLED := installed() { dpkg-query -Wf '$${Status}\n' "$$1" 2>/dev/null | grep -q ' installed$$'; }
# $(TIED) COMMAND runs a command that gets SIGTERM when its parent ends, by kill -9 too.
TIED := setpriv --pdeathsig TERM
# $(call as_root,COMMAND) runs a command as root and then, also after a signal, gives what it wrote to the owner of the
# checkout. It must be the last line of a recipe, because it takes the shell's place. chown has -h because build/ has
# links into /usr/src. The shell waits with `wait`, because only then it heeds a signal at once and can pass it on. To a
# command in the background, SIGINT is ignored unless `env` says otherwise.
define as_root
@$(SUDO) true || { echo "'make $@' needs root or sudo (network namespaces and BPF)." >&2; exit 1; }
echo '$(1)'
exec $(TIED) $(SUDO) bash -c '
trap "chown -fhR --reference=Makefile $(WRITTEN)" EXIT
[ -n "$$(trap -p INT)" ] || heed=--default-signal=INT
$(TIED) env $$heed $(1) <&0 &
trap "kill $$!" TERM HUP
trap : INT
while wait $$!; code=$$?; kill -0 $$! 2>/dev/null; do :; done
exit $$code'
endef

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 16

reproduce: rights system venv ## data, models, measurements, tables, figures, report (PROFILE=smoke, evening or paper; FRESH=1 runs all again)
	$(if $(ROOTED),$(call as_root,$(REPRODUCE)),exec $(TIED) $(REPRODUCE))

.PHONY: rights
# What an ordinary user without sudo does not get is said before anything is installed.
rights:
	@$(if $(ROOTED),,echo "Without root or sudo this is left out: $$(sed -n 's/^LEFT_OUT = "\(.*\)"$$/\1/p' ids_repro/stages.py)")

record: system-lab venv ## record the lab capture again
	$(call as_root,.venv/bin/python -m ids_repro record)

test: system-lab system-dpdk venv test-beside test-apart test-quiet ## all tests, as root: one a CPU, then those that measure one after another

.PHONY: test-beside test-apart test-quiet
test-beside:
	$(call as_root,.venv/bin/python -m pytest -m "not root or beside" -n logical --dist loadfile)
# Each worker has a network, mounts and processes of its own.
test-apart:
	$(call as_root,.venv/bin/python -m pytest -m "root and not (beside or quiet)" --dist loadfile --tx "$(shell nproc)*popen//python=tests/apart.sh .venv/bin/python")
test-quiet:
	$(call as_root,.venv/bin/python -m pytest -m quiet)

test-faults: system-lab venv ## disturb every command (kill -9, full disk, ...) TRIES times a signal (30; hours); it resumes: figures/robustness.md
	$(call as_root,IDS_FAULTS_TRIES=$(TRIES) IDS_FAULTS_SEED=$(SEED) .venv/bin/python -m pytest -s tests/test_faults.py)

test-debian: system ## both of the README's commands in another release of Debian or Ubuntu (SUITE=trixie), made in .cache/
	$(call as_root,.ci/release.sh $(SUITE) "make reproduce PROFILE=smoke" "make test")

fuzz: system-lab venv ## parse N random and changed frames (1,000,000) in the kernel and in user space, compare, and run the sanitizers
	$(call as_root,N=$(N) SEED=$(SEED) .venv/bin/python -m pytest -s tests/kernel/test_fuzz.py)

test-kernels: system-kernels venv ## boot Debian's kernels in QEMU (no KVM needed); each judges every variant of the program, in about two hours
	$(call as_root,PYTHONPATH=tests .venv/bin/python -m kernels.run)

bench-extract: system venv ## measure packets a second and memory of 'extract' on 5 and 20 million packets (8 GB of disk)
	exec $(TIED) .venv/bin/python tests/data/bench_extract.py

lab: system venv ## open the notebooks in JupyterLab (04, 05 and 07 need root: sudo make lab)
	$(if $(filter 0,$(shell id -u)),$(call as_root,.venv/bin/python -m jupyterlab --allow-root notebooks),exec $(TIED) .venv/bin/python -m jupyterlab notebooks)

example: venv ## keep the last run as the one that the README shows: its records, figures, report and notebooks
	cp data/results/*.jsonl data/example/
	.venv/bin/python -m ids_repro figures --results data/example --figures figures/example
	.venv/bin/python -m nbconvert --to html --HTMLExporter.require_js_url= --output-dir figures/example/notebooks notebooks/executed/*.ipynb
	$(MAKE) readme

example-smoke: ## keep the kernel's rows of the last run with PROFILE=smoke, for the report of who has no root
	mkdir -p data/example/smoke
	for kind in accuracy inference; do grep -E '"row": "[a-z0-9_]+_kernel"' data/results/$$kind.jsonl > data/example/smoke/$$kind.jsonl; done

readme: venv ## write the README's numbers again from the records in data/example
	.venv/bin/python -c 'from ids_repro.report import readme; readme.write()'

lint: system venv ## check style: Python, C, notebooks
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	$(if $(C_FILES),clang-format --dry-run -Werror $(C_FILES))
	[ ! -e .git ] || for book in $$($(GIT) ls-files 'notebooks/*.ipynb'); do $(GIT) show ":$$book" | $(STRIP) --verify; done

format: system venv ## apply the style that lint checks
	.venv/bin/python -m ruff check --fix --exit-zero -q .
	.venv/bin/python -m ruff format .
	$(if $(C_FILES),clang-format -i $(C_FILES))
	$(if $(BOOKS),$(STRIP) $(BOOKS))

system: ## install Debian's or Ubuntu's packages (apt)
	@$(INSTALLED)
	missing=
	for package in $(PACKAGES); do installed $$package || missing+=" $$package"; done
	[ -d /lib/modules/$(KERNEL)/build/include ] || installed $(HEADERS) || missing+=" $(HEADERS)"
	$(if $(filter reproduce,$(MAKECMDGOALS)),$(if $(ROOTED),,$(ONLY_NEEDED)))
	[ -n "$$missing" ] || exit 0
	{ $(SUDO) true && command -v apt-get >/dev/null; } ||
		{ echo "These packages are missing, and installing them needs apt and root or sudo:$$missing" >&2; exit 1; }
	$(APT) update
	if apt-cache show linux-headers-$(KERNEL) >/dev/null 2>&1; then missing=$${missing/$(HEADERS)/linux-headers-$(KERNEL)}; fi
	$(APT) install -y --no-install-recommends $$missing

system-lab: system ## the same, and the packages that only record, test and fuzz need

system-dpdk: system ## install DPDK's libraries and put its headers into build/dpdk, for the method dpdk_nn_fused
	@$(INSTALLED)
	! installed libdpdk-dev || exit 0
	missing=$$([ -e $(DPDK)/packages ] || echo libdpdk-dev)
	for package in $$(cat $(DPDK)/packages 2>/dev/null); do installed $$package || missing+=" $$package"; done
	[ -n "$$missing" ] || exit 0
	{ $(SUDO) true && command -v apt-get >/dev/null; } ||
		{ echo "DPDK is missing, and installing it needs apt and root or sudo:$$missing" >&2; exit 1; }
	$(APT) update
	packages=$$(apt-cache depends libdpdk-dev | grep -oE '\<($(DPDK_PACKAGES))$$')
	$(APT) install -y --no-install-recommends $$packages
	rm -rf $(DPDK)
	mkdir -p $(DPDK)
	(cd $(DPDK); apt-get -q download libdpdk-dev)
	dpkg-deb --fsys-tarfile $(DPDK)/*.deb | tar -xC $(DPDK) --wildcards './usr/include/*' '*/librte_*.so' '*/libdpdk-libs.pc'
	rm $(DPDK)/*.deb
	echo $$packages > $(DPDK)/packages
	chown -fhR --reference=Makefile build || true

system-kernels: system ## the same, and the packages that boot other kernels (QEMU)

venv: .venv/.stamp ## install the pinned Python packages into .venv (pip checks their SHA-256); git then keeps notebooks without outputs
	@[ -e .git ] && command -v git >/dev/null && [ "$$($(GIT) config filter.nbstripout.clean)" != '$(STRIP)' ] || exit 0
	$(GIT) config filter.nbstripout.clean '$(STRIP)'
	chown -fh --reference=Makefile .git/config || true

# A .venv is made again from nothing if its set-up did not end, or if its Python has gone or become another version.
WHOLE := $(shell [ -e .venv/.stamp ] && .venv/bin/python -c 'import pip' 2>/dev/null && echo yes)
ifndef WHOLE
.PHONY: .venv/.stamp
endif
.venv/.stamp: pyproject.toml $(LOCKS)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: run 'make system'." >&2; exit 1; }
	echo "Installing the pinned Python packages into .venv ..."
	$(PYTHON) -m venv $(if $(WHOLE),,--clear) .venv
	rm -f $@
	cpu_wheels=$$($(PYTHON) -c 'import urllib.request as r; r.urlopen("$(CPU_WHEELS)/torch/", timeout=5)' 2>/dev/null && echo --extra-index-url $(CPU_WHEELS) || true)
	install="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install -q --no-deps"
	$$install --require-hashes -r requirements.lock
	$$install --require-hashes $$cpu_wheels -r requirements-torch.lock 2>/dev/null || {
		echo "PyTorch without CUDA cannot be had here for this Python: PyPI's is installed, with some 5 GB of CUDA ..."
		$$install --require-hashes -r requirements-cuda.lock
	}
	$$install --no-build-isolation -e .
	.venv/bin/python -m pip check >/dev/null || { .venv/bin/python -m pip check >&2; exit 1; }
	touch $@
	chown -fhR --reference=Makefile .venv *.egg-info || true

lock: system venv ## write the lock files again, after a version in pyproject.toml has changed
	.venv/bin/python .ci/lock.py $(CPU_WHEELS)

sbom: system venv ## list what is in .venv, with licences, as a CycloneDX file: build/sbom.json
	mkdir -p build
	.venv/bin/python -m cyclonedx_py environment --output-reproducible --pyproject pyproject.toml -o build/sbom.json .venv

clean: ## remove generated files, except data/raw, .venv and .cache
	find . '(' -path ./.venv -o -path ./.cache ')' -prune -o -name __pycache__ -prune -exec rm -rf {} +
	[ ! -d figures ] || find figures -type f ! -name README.md ! -path 'figures/example/*' -delete
	rm -rf build data/interim data/models data/results notebooks/executed notebooks/.ipynb_checkpoints .pytest_cache .ruff_cache .hypothesis

distclean: clean ## the same, .venv, and the releases of test-debian
	rm -rf .venv *.egg-info
	[ ! -e .cache ] || $(SUDO) rm -rf .cache
