"""The table of implementations agrees with itself and with the kernel program's variants."""

from ids_repro.implementations import IMPLEMENTATIONS, label, row_in_c, rows_in
from ids_repro.kernel.variants import VARIANTS


def test_every_implementation_refers_to_what_there_is():
    for row, one in IMPLEMENTATIONS.items():
        assert IMPLEMENTATIONS[one.reference].reference == one.reference, row
        assert (one.where == "python") == (one.struct == ""), row
        assert (one.variant in VARIANTS) == (one.where == "kernel"), row


def test_labels_are_unlike_each_other_and_a_row_that_is_not_known_is_its_own_label():
    assert len({label(row) for row in IMPLEMENTATIONS}) == len(IMPLEMENTATIONS)
    assert label("nn_fused_c") == "NN (C, fused)"
    assert label("as_released") == "as_released"


def test_rows_of_a_place_leave_out_other_optimisations():
    assert list(rows_in("python")) == ["dt_sklearn", "nn_pytorch"]
    assert {"dt_c", "nn_q16_c"} <= set(rows_in("c")) and {"dt_c_O0", "nn_q16_c_O0"} == set(rows_in("c", optimise="-O0"))
    parts = [rows_in(place, optimise=level) for place in ("python", "c", "kernel") for level in ("-O2", "-O0")]
    assert sorted(row for part in parts for row in part) == sorted(IMPLEMENTATIONS)


def test_a_kernel_row_has_a_row_in_c_with_its_struct():
    assert row_in_c("nn_q16_kernel") == "nn_q16_c"
    for row, one in rows_in("kernel").items():
        in_c = IMPLEMENTATIONS[row_in_c(row)]
        assert (in_c.struct, in_c.where, in_c.optimise) == (one.struct, "c", "-O2")
