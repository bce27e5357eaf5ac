"""Min-max normalisation: it maps what it was fitted on to [0, 1]."""

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data import dataset
from ids_repro.data.features import FEATURES
from ids_repro.models.scaling import MinMax
from ids_repro.native.layouts import Q


def test_scaling_knows_the_training_part_only(flows):
    train, _, test = dataset.split(flows, 0)
    scaler = MinMax.fit(flows.x[train])
    scaled = scaler.transform(flows.x[train])
    assert (scaled.min(axis=0) == 0).all() and (scaled.max(axis=0) == 1).all()
    extreme = flows.x[test].copy()
    extreme[0] = 2 * flows.x.max(axis=0)
    assert (scaler.transform(extreme)[0] > 1).all()
    np.testing.assert_allclose(scaler.transform(scaler.min_ + scaler.range_ // 2), 0.5, atol=2.0**-15)


def test_a_constant_feature_is_named(flows):
    x = flows.x.copy()
    x[:, FEATURES.index("proto")] = 6 << Q
    with pytest.raises(config.UserError, match="'proto' is constant .* leave it out"):
        MinMax.fit(x)
