"""
Three optimizers down one valley
================================

Rosenbrock's valley is easy to enter and slow to follow. Within 400 steps momentum swings from wall to wall and then
comes farthest; Adam finds the floor sooner and follows it more slowly; plain gradient descent has hardly set out, at an
η near the largest that it bears.
"""

import matplotlib.pyplot as plt
import numpy as np

from adamas.numpy import optimizer
from adamas.problems.surfaces import SURFACES

surface = SURFACES["rosenbrock"]
(left, right), (low, high) = surface.domain
x, y = np.meshgrid(np.linspace(left, right, 200), np.linspace(low, high, 200))

figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
axes.contour(x, y, np.log1p(surface.value(np.stack([x, y]))), 16, colors="0.75", linewidths=0.6)
for name, lr, colour in (("sgd", 1e-3, "#0072B2"), ("momentum", 5e-4, "#D55E00"), ("adam", 0.05, "#009E73")):
    point = np.array(surface.start)
    opt = optimizer(name)(point, lr=lr)
    path = [point.copy()]
    for _ in range(400):
        opt.step(surface.gradient(point))
        path.append(point.copy())
    axes.plot(*np.array(path).T, color=colour, label=f"{name}, η = {lr:g}")
axes.plot(*surface.minima[0], "k*", markersize=12)
axes.set(xlim=(left, right), ylim=(low, high), xlabel="x", ylabel="y")
axes.legend(frameon=False)
