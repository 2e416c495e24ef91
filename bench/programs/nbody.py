# SPDX-License-Identifier: GPL-2.0-or-later
"""nbody.py STEPS: a sun and six planets on made-up orbits, leapfrog integration; prints energy and positions."""
import math
import sys

bodies = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1000.0]]
for i in range(1, 7):
    radius = 4.0 * i
    speed = math.sqrt(1000.0 / radius)
    angle = 0.7 * i
    c, s = math.cos(angle), math.sin(angle)
    bodies.append([radius * c, radius * s, 0.1 * i, -speed * s, speed * c, 0.0, 0.3 / i])
pairs = [(a, b) for i, a in enumerate(bodies) for b in bodies[i + 1:]]


def kick(dt):
    for a, b in pairs:
        dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
        d2 = dx * dx + dy * dy + dz * dz
        pull = dt / (d2 * math.sqrt(d2))
        pa, pb = pull * b[6], pull * a[6]
        a[3] -= dx * pa
        a[4] -= dy * pa
        a[5] -= dz * pa
        b[3] += dx * pb
        b[4] += dy * pb
        b[5] += dz * pb


def drift(dt):
    for body in bodies:
        body[0] += dt * body[3]
        body[1] += dt * body[4]
        body[2] += dt * body[5]


def energy():
    e = sum(0.5 * b[6] * (b[3] ** 2 + b[4] ** 2 + b[5] ** 2) for b in bodies)
    return e - sum(a[6] * b[6] / math.dist(a[:3], b[:3]) for a, b in pairs)


for step in range(int(sys.argv[1])):
    drift(0.0005)
    kick(0.001)
    drift(0.0005)
print(repr(energy()))
for body in bodies:
    print(*map(repr, body))
