"""Python repeats layouts and constants from the C headers in bpf/; the C compiler says whether they are equal."""

import os
import subprocess

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data import flow
from ids_repro.data.features import FEATURES
from ids_repro.kernel.variants import ACTIONS
from ids_repro.models import fixed, int_mlp, int_mlp_fused
from ids_repro.native import layouts

HEADERS = ("probe.h", "user/capture.h", "user/float_mlp.h", "user/sampler.h")
OTHERS = ("ROW", "VECTOR", "COUNTS", "VERDICTS", "FLOOD", "PROBE", "REPLAYED", "SUSPECT", "FLOW", "BUCKET", "ENTRY")
STRUCTS = {f"ids_{name}": struct.dtype for name, struct in layouts.STRUCTS.items()}
STRUCTS |= {f"ids_{name.lower()}": getattr(layouts, name) for name in OTHERS}
# ROW has the fields of struct ids_packet, which is a member of struct ids_row.
INSIDE = {("ids_row", name): f"packet.{name}" for name, _ in layouts.PACKET}
# C's name of a constant: the module that repeats it, and its name there.
CONSTANTS = {
    "IDS_Q": (layouts, "Q"),
    "IDS_N_FEATURES": (layouts, "N_FEATURES"),
    "IDS_X_SIZE": (layouts, "X_SIZE"),
    "IDS_DAMAGED": (layouts, "DAMAGED"),
    "IDS_FIRST_PACKETS": (layouts, "FIRST_PACKETS"),
    "IDS_MAX_CLASSES": (layouts, "MAX_CLASSES"),
    "IDS_LANE": (layouts, "LANE_BITS"),
    "IDS_LANES": (layouts, "LANES"),
    "IDS_TREE_DEPTH": (layouts, "TREE_DEPTH"),
    "IDS_TREE_NODES": (layouts, "TREE_NODES"),
    "IDS_TREE_LEAF": (layouts, "TREE_LEAF"),
    "IDS_REASONS_SIZE": (layouts, "REASONS_SIZE"),
    "IDS_FOUND_SIZE": (layouts, "FOUND_SIZE"),
    "IDS_WAYS": (layouts, "WAYS"),
    "IDS_LEAST_FLOWS": (layouts, "LEAST_FLOWS"),
    "IDS_MOST_FLOWS": (layouts, "MOST_FLOWS"),
    "IDS_GENERATIONS": (layouts, "GENERATIONS"),
    "IDS_SLOTS": (layouts, "SLOTS"),
    "IDS_NORMAL": (config, "NORMAL"),
    "IDS_IDLE_US": (flow, "IDLE_US"),
    "IDS_ACTIVE_US": (flow, "ACTIVE_US"),
    "IDS_FIN": (flow, "FIN"),
    "IDS_RST": (flow, "RST"),
    "IDS_ACK": (flow, "ACK"),
    "IDS_TCP": (flow, "TCP"),
    "IDS_ICMP": (flow, "ICMP"),
    "IDS_ICMP6": (flow, "ICMP6"),
    "IDS_STRANGE": (layouts, "STRANGE"),
    "IDS_INT8_MAX": (fixed, "INT8_MAX"),
    "IDS_S_BITS": (int_mlp, "S_BITS"),
    "IDS_DEQUANT_BITS": (int_mlp, "DEQUANT_BITS"),
    "IDS_INPUT_MAX": (int_mlp_fused, "INPUT_MAX"),
    "IDS_SHIFT": (int_mlp_fused, "SHIFT"),
    "IDS_HALF": (int_mlp_fused, "HALF"),
    "IDS_LANE_MAX": (int_mlp_fused, "LANE_MAX"),
}
# Names of one enumeration, in its order; the last entry is the C name of their number.
ENUMERATIONS = {
    "ids_feature": (*FEATURES, "n_features"),
    "ids_reason": (*layouts.REASONS, "n_reasons"),
    "ids_found": (*layouts.FOUND, "n_found"),
    "ids_outcome": (*layouts.OUTCOMES, "n_outcomes"),
    "ids_rules": (*layouts.RULES, "n_rules"),
}
# C's name, where it is not Python's in capitals.
SPELT = {"no_timestamp": "NO_TIME", "fragment": "IN_PIECES", "go-flows": "GO_FLOWS"}


def compiled(expressions: list[str], folder, *more: str) -> list[int]:
    """Return the values of C expressions that may use everything in HEADERS, compiled with more flags."""
    before = ("stddef.h", "stdio.h", "stdlib.h", "string.h", "linux/bpf.h")
    lines = [f"#include <{header}>" for header in (*before, *HEADERS)]
    prints = "".join(f'printf("%lld\\n", (long long)({one}));' for one in expressions)
    (folder / "values.c").write_text("\n".join([*lines, f"int main(void) {{ {prints} }}"]) + "\n")
    # With IDS_PROBE the headers call nothing of the kernel; a call of an unknown function is an error since GCC 14.
    flags = ("-Werror=implicit", "-DIDS_PROBE", f"-DIDS_CLASSES={len(config.CLASSES)}", f"-I{config.BPF}")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, *flags, *more, "values.c", "-o", "values"], cwd=folder, check=True)
    return [int(line) for line in subprocess.check_output([folder / "values"], text=True).split()]


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_dtype_has_the_size_and_the_fields_of_its_struct(struct, tmp_path):
    dtype, expressions, expected = STRUCTS[struct], [f"sizeof(struct {struct})"], [STRUCTS[struct].itemsize]
    for name in dtype.names:
        member = INSIDE.get((struct, name), name)
        size, offset = dtype.fields[name]
        expressions += [f"offsetof(struct {struct}, {member})", f"sizeof(((struct {struct} *)0)->{member})"]
        expected += [offset, size.itemsize]
    found = compiled(expressions, tmp_path)
    assert dict(zip(expressions, found, strict=True)) == dict(zip(expressions, expected, strict=True))
    # Neither gaps nor fields that Python does not name: the sizes of the fields add up to that of the struct.
    assert sum(dtype.fields[name][0].itemsize for name in dtype.names) == found[0]


@pytest.mark.parametrize("hidden", [(16, 16), (8,), (64, 64, 64), (9, 40), (33, 8, 17)])
def test_the_structs_of_nets_have_the_room_that_their_shape_needs(hidden, tmp_path):
    layers, rows, columns = layouts.room(hidden)
    expected = {"IDS_LAYERS": layers, "IDS_ROWS": rows, "IDS_HIDDEN": columns, "IDS_WORDS": columns // layouts.LANES}
    expected |= {"IDS_LAST_WIDTH": hidden[-1]}
    expected |= {f"IDS_WIDTH({layer})": width for layer, width in enumerate(hidden)}
    for name, struct in layouts.STRUCTS.items():
        dtype = struct.layout(hidden)
        expected |= {f"sizeof(struct ids_{name})": dtype.itemsize}
        expected |= {f"offsetof(struct ids_{name}, {field})": dtype.fields[field][1] for field in dtype.names}
    found = compiled(list(expected), tmp_path, *layouts.net_flags(hidden))
    assert dict(zip(expected, found, strict=True)) == expected
    shapes = layouts.layer_shapes(7, hidden)
    assert len(shapes) == layers and all(n_in <= rows and n_out <= columns for n_in, n_out in shapes)


def test_the_papers_net_is_compiled_without_flags_of_its_shape():
    """So its programs do not depend on what other shapes need."""
    assert layouts.net_flags(layouts.PAPER_NET) == []


def test_every_dtype_is_compared():
    ours = {name: value for name, value in vars(layouts).items() if isinstance(value, np.dtype)}
    assert [name for name, dtype in ours.items() if dtype not in STRUCTS.values()] == []


def test_constants_are_those_of_the_headers(tmp_path):
    expected = {c_name: getattr(module, name) for c_name, (module, name) in CONSTANTS.items()}
    assert dict(zip(expected, compiled(list(expected), tmp_path), strict=True)) == expected
    ours = {name for name, value in vars(layouts).items() if isinstance(value, int)}
    assert ours == {name for module, name in CONSTANTS.values() if module is layouts}


@pytest.mark.parametrize("enumeration", ENUMERATIONS)
def test_names_are_in_the_order_of_the_enumeration(enumeration, tmp_path):
    names = ENUMERATIONS[enumeration]
    found = compiled([f"IDS_{SPELT.get(name, name.upper())}" for name in names], tmp_path)
    assert dict(zip(names, found, strict=True)) == {name: i for i, name in enumerate(names)}


def test_numbers_that_the_kernel_program_gets_and_counts_by_are_those_of_the_headers(tmp_path):
    numbers = ACTIONS | {name: i for i, name in enumerate(layouts.KERNEL_REASONS)}
    found = compiled([f"IDS_{name.upper()}" for name in numbers], tmp_path)
    assert dict(zip(numbers, found, strict=True)) == numbers
