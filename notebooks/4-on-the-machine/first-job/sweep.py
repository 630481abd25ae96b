"""Gradient descent on a parabola, with one of four learning rates: the smallest training."""

import sys

rate = [0.01, 0.1, 0.5, 1.1][int(sys.argv[1])]
weight = 5.0
for _ in range(20):
    weight -= rate * 2 * weight  # the gradient of weight² is 2 weight
print(f"learning rate {rate}: loss {weight**2:.2g}")
