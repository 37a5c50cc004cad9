"""Reads the checkpoint of python_test.cpp with h5py alone; exits with an AssertionError where a value differs."""
import sys

import h5py
import numpy as np

ramp = 0.5 * np.arange(6) - 3.0


def check(dataset, dtype, values):
    assert dataset.dtype == dtype, (dataset.name, dataset.dtype)
    assert dataset.shape == np.shape(values), (dataset.name, dataset.shape)
    assert np.array_equal(dataset[()], values), (dataset.name, dataset[()])


with h5py.File(sys.argv[1], "r") as f:
    assert sorted(f["parameters"]) == ["embedding.weight", "layers.0.attention.q.weight"], list(f["parameters"])
    check(f["/parameters/layers.0.attention.q.weight"], "f4", ramp.reshape(2, 3))
    check(f["optimizer/master/embedding.weight"], "f8", ramp.reshape(3, 2))
    check(f["other/f16"], "f2", [1, -2.5])
    check(f["other/i32"], "i4", [-1, 0, 7])
    check(f["other/i64"], "i8", [1 << 40])
    check(f["other/u8"], "u1", [0, 255])
    check(f["other/scalar"], "f4", np.float32(0.25))
    bf16 = f["parameters/embedding.weight"]
    assert bf16.attrs["dtype"] == "bf16"
    assert bf16.dtype == "u2" and bf16.chunks is None
    assert np.array_equal((bf16[()].astype("u4") << 16).view("f4"), ramp.reshape(3, 2))
    assert f.attrs["step"] == 200 and f.attrs["loss_scale"] == 0.5 and f.attrs["plugins"] == '["gpt"]'
