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
    assert list(rows_in("c")) == ["dt_c", "nn_q16_c", "nn_fused_c", "nn_float_c"]
    assert list(rows_in("c", optimise="-O0")) == ["dt_c_O0", "nn_q16_c_O0"]


def test_a_kernel_row_has_a_row_in_c_with_its_struct():
    assert {row: row_in_c(row) for row in rows_in("kernel")} == {
        "dt_kernel": "dt_c",
        "nn_q16_kernel": "nn_q16_c",
        "nn_fused_kernel": "nn_fused_c",
    }
