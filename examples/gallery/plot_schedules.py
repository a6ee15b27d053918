"""
Schedules, composed
===================

A schedule is a value: it is multiplied, put behind another one, and drawn on any axes.
"""

import matplotlib.pyplot as plt

from adamas.schedules import constant, cosine, linear, one_cycle, warmup

figure, panels = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
for axes, schedule in zip(
    panels,
    (
        warmup(100) >> cosine(900, floor=0.1),
        warmup(50) >> constant(1)[:650] >> linear(300),
        one_cycle(1000),
    ),
    strict=True,
):
    schedule.plot(axes)
    axes.set_title(repr(schedule), fontsize=8)
