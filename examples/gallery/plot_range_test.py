"""
Finding a learning rate
=======================

The sweep raises η until the loss diverges; then the best-looking rates are tried, each from the same start. The
trials decide, since at what η the sweep is lowest is not the η to train at.
"""

import matplotlib.pyplot as plt

from adamas.race.rate import find_lr

found = find_lr("digits-softmax", "adamw", trial=100)
print(found.test.sentence)

figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
found.test.plot(axes)
