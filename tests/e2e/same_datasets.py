"""same_datasets.py A B: two checkpoints of the tiny GPT hold the same datasets, read with h5py alone; an AssertionError where not."""
import sys

import h5py


def datasets(file):
    found = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


with h5py.File(sys.argv[1], "r") as a, h5py.File(sys.argv[2], "r") as b:
    first, second = datasets(a), datasets(b)
    assert list(first) == list(second), (list(first), list(second))
    for name, dataset in first.items():
        assert dataset.dtype == second[name].dtype and dataset.shape == second[name].shape, name
        assert dataset[()].tobytes() == second[name][()].tobytes(), name
    assert a["parameters/layers.1.attention.q.weight"].size == 32 * 32
    assert a["optimizer/exp_avg/layers.1.attention.q.weight"].size == 32 * 32
    assert a.attrs["step"] == b.attrs["step"] == 12
