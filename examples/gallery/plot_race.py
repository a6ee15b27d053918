"""
A race, and how sure its winner is
==================================

Three optimizers on handwritten digits with a linear model, each at the best of two learning rates and from three
fresh seeds. The verdict says how easily luck alone would have done the same.
"""

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

from adamas.race import race

with TemporaryDirectory() as folder:
    result = race(
        "digits-softmax",
        ["sgd", "adam", "adagrad"],
        lrs=[0.03, 0.3],
        seeds=3,
        steps=60,
        jobs=1,
        output=folder,
    )
print(result.table.verdict)

figure, axes = plt.subplots(figsize=(8, 4.2))
figure.subplots_adjust(right=0.86)
result.plot(axes)
