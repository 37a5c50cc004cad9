"""Reads the event files of tensorboard_test.cpp with TensorBoard's own reader; exits with an AssertionError where a point differs."""
import math
import sys

from tensorboard.backend.event_processing import event_accumulator

events = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
assert sorted(events.Tags()["scalars"]) == ["loss", "lr", "nan"], events.Tags()
assert events.file_version == 2.0, events.file_version
loss = [(point.step, point.value) for point in events.Scalars("loss")]
assert loss == [(step, 10.0 - step) for step in range(1, 8)] + [(step, 100.0 + step) for step in range(8, 13)], loss
assert [point.step for point in events.Scalars("lr")] == list(range(1, 8))
assert all(math.isnan(point.value) for point in events.Scalars("nan"))
assert all(point.wall_time > 1.7e9 for point in events.Scalars("loss"))
