"""An update rule of one's own: Adam with |m| clipped.

adamas race --optimizers adam,examples/my_rule.py:my_rule
"""

from adamas import maximum, minimum, rule, sqrt


@rule
def my_rule(g, exp_avg, exp_avg_sq, *, lr=1e-3, beta1=0.9, beta2=0.999, clip=1.0, eps=1e-8, t):
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg = maximum(-clip, minimum(clip, exp_avg))
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g * g
    return lr * (exp_avg / (1 - beta1**t)) / (sqrt(exp_avg_sq / (1 - beta2**t)) + eps), exp_avg, exp_avg_sq
