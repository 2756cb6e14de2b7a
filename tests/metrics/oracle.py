"""Every number again, naively and without the package: written from the description of the rules, for comparison.

A side is a list of picks: (run, object, (x, y, z)) or (run, object, (x, y, z), score). Everything is loops over these.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment


def gap(one, other):
    """Euclidean distance."""
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other)))


def within(one, other, distance):
    """The ball is closed; squares, so that 3-4-5 triangles are exact."""
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2 <= distance**2


def cells(picks):
    """(run, object) -> positions, in their order."""
    found = defaultdict(list)
    for run, name, position, *_ in picks:
        found[run, name].append(tuple(position))
    return found


def czii_counts(reference, prediction, distance):
    """tp, fp, fn of one cell: distinct reference points in reach of any prediction; predictions minus these; the rest."""
    tp = sum(any(within(point, guess, distance) for guess in prediction) for point in reference)
    return tp, len(prediction) - tp, len(reference) - tp


def assignment(reference, prediction, distance):
    """Pairs of a maximum matching of least total distance: a dense assignment where pairs out of reach cost a fortune."""
    if not reference or not prediction:
        return []
    near = np.array([[within(point, guess, distance) for guess in prediction] for point in reference])
    gaps = np.array([[gap(point, guess) for guess in prediction] for point in reference])
    fortune = 1e3 * (1 + distance) * (len(reference) + len(prediction))
    rows, columns = linear_sum_assignment(np.where(near, gaps, fortune))
    return [(int(i), int(j)) for i, j in zip(rows, columns) if near[i, j]]


def one_to_one_counts(reference, prediction, distance):
    """tp, fp, fn of one cell under a maximum matching."""
    tp = len(assignment(reference, prediction, distance))
    return tp, len(prediction) - tp, len(reference) - tp


def every_assignment(reference, prediction, distance):
    """Most pairs, and the least total distance of so many, over all assignments: for a handful of points."""
    short, long = sorted((reference, prediction), key=len)
    best = (0, 0.0)
    for chosen in permutations(range(len(long)), len(short)):
        gaps = [gap(point, long[j]) for point, j in zip(short, chosen) if within(point, long[j], distance)]
        best = max(best, (len(gaps), -sum(gaps)))
    return best[0], -best[1]


def counts(reference, prediction, rule, distances, runs):
    """(run, object) -> (tp, fp, fn), for all runs and all objects of ``distances``."""
    count = {"czii": czii_counts, "one-to-one": one_to_one_counts}[rule]
    here, there = cells(reference), cells(prediction)
    return {
        (run, name): count(here.get((run, name), []), there.get((run, name), []), distance)
        for run in runs
        for name, distance in distances.items()
    }


def totals(by_cell):
    """object -> (tp, fp, fn) over all runs."""
    names = dict.fromkeys(name for _, name in by_cell)
    return {name: tuple(sum(c[k] for (_, n), c in by_cell.items() if n == name) for k in range(3)) for name in names}


def fbeta(tp, fp, fn, beta):
    """(1 + b^2) P R / (b^2 P + R), any of them 0 where its denominator is."""
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / below if below else 0.0


def aggregate(by_object, weights, beta, absent="zero"):
    """Weighted mean of F-beta. absent: what an object without any count does, ``zero`` or ``skip``. None without weight."""
    used = {name: weights[name] for name, c in by_object.items() if absent == "zero" or any(c)}
    if sum(used.values()) == 0:
        return None
    return sum(weight * fbeta(*by_object[name], beta) for name, weight in used.items()) / sum(used.values())


def byu_counts(reference, prediction, min_radius):
    """tomogram -> (tp, fp, fn). reference: tomogram -> (z, y, x in voxels, spacing, has motor). prediction: z, y, x.

    A motor that is predicted too far away becomes the label "none": one fn and no fp.
    """
    found = {}
    for tomogram, (*motor, spacing, exists) in reference.items():
        guess = prediction[tomogram]
        said = -1 not in guess
        if exists and said and gap(motor, guess) > min_radius / spacing:
            said = False
        found[tomogram] = (int(exists and said), int(said and not exists), int(exists and not said))
    return found


def byu_one_to_one(reference, prediction, min_radius):
    """tp, fp, fn over all tomograms, where a misplaced motor is a false positive, too."""
    total = np.zeros(3, int)
    for tomogram, (*motor, spacing, exists) in reference.items():
        guess = prediction[tomogram]
        guesses = [] if -1 in guess else [tuple(guess)]
        total += one_to_one_counts([tuple(motor)] if exists else [], guesses, min_radius / spacing)
    return tuple(total.tolist())


def curve(reference, prediction, distance, name):
    """(threshold, precision, recall) of every distinct score of an object, by falling score, each matched anew."""
    rows = []
    truths = sum(pick[1] == name for pick in reference)
    runs = {pick[0] for pick in (*reference, *prediction)}
    for threshold in sorted({pick[3] for pick in prediction if pick[1] == name}, reverse=True):
        kept = [pick for pick in prediction if pick[1] == name and pick[3] >= threshold]
        tp, fp, _ = totals(counts(reference, kept, "one-to-one", {name: distance}, runs))[name]
        rows.append((threshold, tp / (tp + fp), tp / truths))
    return rows


def average_precision(rows):
    """Sum of the gains of recall, each times the precision there."""
    total, before = 0.0, 0.0
    for _, precision, recall in rows:
        total += (recall - before) * precision
        before = recall
    return total


def true_picks(reference, prediction, distances):
    """Whether each prediction is one that its run's and object's largest matching gains by, taken by falling score."""
    true = [False] * len(prediction)
    order = sorted(range(len(prediction)), key=lambda row: -prediction[row][3])
    here = cells(reference)
    taken = defaultdict(list)
    for row in order:
        run, name, position, _ = prediction[row]
        distance, points = distances[name], here.get((run, name), [])
        before = len(assignment(points, taken[run, name], distance))
        taken[run, name].append(tuple(position))
        true[row] = len(assignment(points, taken[run, name], distance)) > before
    return true


def reliability(scores, true, bins=10):
    """(low, high, picks, mean score, precision) of every bin (low, high] that holds a pick; 0 is in the first."""
    rows = []
    for k in range(bins):
        low, high = k / bins, (k + 1) / bins
        inside = [i for i, s in enumerate(scores) if low < s <= high or (k == 0 and s == 0)]
        if inside:
            mean = sum(scores[i] for i in inside) / len(inside)
            rows.append((low, high, len(inside), mean, sum(true[i] for i in inside) / len(inside)))
    return rows


def calibration_error(rows):
    """Distance of score and precision, weighted by the picks of the bins."""
    return sum(n * abs(mean - precision) for _, _, n, mean, precision in rows) / sum(row[2] for row in rows)


def quantile(values, level):
    """Linear between the order statistics."""
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def localization(reference, prediction, distances, name):
    """Pairs of an object, and its errors by name as `median`, `z.p90`, `x.bias`; prediction minus reference."""
    here, there = cells(reference), cells(prediction)
    offsets = []
    for run in sorted({pick[0] for pick in reference}):
        points, guesses = here.get((run, name), []), there.get((run, name), [])
        for i, j in assignment(points, guesses, distances[name]):
            offsets.append([b - a for a, b in zip(points[i], guesses[j])])
    if not offsets:
        return 0, {}
    lengths = [gap(offset, (0, 0, 0)) for offset in offsets]
    numbers = {"median": quantile(lengths, 0.5), "p90": quantile(lengths, 0.9)}
    for k, axis in enumerate("xyz"):
        along = [offset[k] for offset in offsets]
        numbers[f"{axis}.median"] = quantile([abs(value) for value in along], 0.5)
        numbers[f"{axis}.p90"] = quantile([abs(value) for value in along], 0.9)
        numbers[f"{axis}.bias"] = sum(along) / len(along)
    return len(offsets), numbers


def leftovers(reference, prediction, distances, left, right):
    """Rows of what matches across kinds, of the rows that are left of either side."""
    pairs, fortune = [], 1e9
    for run in {pick[0] for pick in reference}:
        i = sorted(r for r in left if reference[r][0] == run)
        j = sorted(s for s in right if prediction[s][0] == run)
        if not i or not j:
            continue
        cost = np.full((len(i), len(j)), fortune)
        for a, r in enumerate(i):
            for b, s in enumerate(j):
                if within(reference[r][2], prediction[s][2], distances[reference[r][1]]):
                    cost[a, b] = gap(reference[r][2], prediction[s][2])
        pairs += [(i[a], j[b]) for a, b in zip(*linear_sum_assignment(cost)) if cost[a, b] < fortune]
    return pairs


def confusion(reference, prediction, distances):
    """Reference object by predicted object, the last of both nothing: own kind first, what is left across kinds.

    Rows of picks; a reference point reaches as far as its object's distance.
    """
    names = list(distances)
    table = np.zeros((len(names) + 1, len(names) + 1), int)
    left, right = set(range(len(reference))), set(range(len(prediction)))
    runs = {pick[0] for pick in (*reference, *prediction)}
    for run in runs:
        for k, name in enumerate(names):
            i, j = ([r for r, pick in enumerate(side) if pick[:2] == (run, name)] for side in (reference, prediction))
            for a, b in assignment([reference[r][2] for r in i], [prediction[r][2] for r in j], distances[name]):
                table[k, k] += 1
                left.discard(i[a])
                right.discard(j[b])
    for r, s in leftovers(reference, prediction, distances, left, right):
        table[names.index(reference[r][1]), names.index(prediction[s][1])] += 1
        left.discard(r)
        right.discard(s)
    for r in left:
        table[names.index(reference[r][1]), -1] += 1
    for s in right:
        table[-1, names.index(prediction[s][1])] += 1
    return table


def bootstrap(runs, number, draws):
    """``number`` of a list of runs, for every draw: how often each run is taken. Repeats are repeated."""
    return [number([run for run, times in zip(runs, draw) for _ in range(int(times))]) for draw in draws]


def percentile_interval(values, level=0.95):
    """Lower and upper percentile of what is defined (not None)."""
    defined = [value for value in values if value is not None]
    return quantile(defined, (1 - level) / 2), quantile(defined, (1 + level) / 2)
