"""Divide groups of runs into splits so that each split gets its share of every label.

A start by iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML
PKDD 2011: the rarest label first, to the split that lacks most of it), then a local search that lowers `imbalance`.
The same seed gives the same splits, whatever the order of the groups (which of several equal groups goes where apart).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from copick_tools.metrics.reachable import Room, Unreachable
from copick_tools.types import Floats, Integers

__all__ = ["Unreachable", "by_shares", "by_sizes", "imbalance", "rounded"]

GAIN = 1e-10  # of the imbalance; less is rounding
DEALS = 1024  # ways to divide a few groups that are tried at once
ROUNDS, SWEEPS, STARTS = 100, 10, 4
MANY = 300  # groups; beyond that one start is enough


def by_shares(counts: Floats, sizes: Integers, shares: Sequence[float], seed: int = 0) -> Integers:
    """Divide groups in given proportions; where each is one run, the sizes are exact (`rounded`).

    counts: (G, K) amount of each label in each group. sizes: (G,) runs of each group. shares: (S,), sum 1.

    Returns (G,) the split of each group; every split with a share above 0 gets one. Raises ValueError.

    >>> import numpy as np
    >>> rare = np.array([[1.0], [0], [0], [1], [0], [0]])
    >>> found = by_shares(rare, np.ones(6, int), [0.5, 0.5])
    >>> sorted(found[rare[:, 0] == 1].tolist()), np.bincount(found).tolist()
    ([0, 1], [3, 3])
    """
    parts = np.asarray(shares, dtype=float)
    if not (np.isfinite(parts).all() and (parts >= 0).all() and abs(parts.sum() - 1) < 1e-6):
        raise ValueError(f"Expected shares that aren't negative and sum to 1, but got {parts.tolist()}")
    amounts, runs = _validated(counts, sizes)
    if (runs == 1).all():
        return by_sizes(amounts, runs, rounded(parts, len(runs)), seed)
    _require_groups(len(runs), parts)
    active = np.flatnonzero(parts)
    problem = _Problem.of(amounts, runs, parts[active] / parts[active].sum(), exact=False)
    return np.asarray(active[_solve(problem, runs, seed)])


def by_sizes(counts: Floats, sizes: Integers, wanted: Sequence[int] | Integers, seed: int = 0) -> Integers:
    """Divide groups into splits of exact sizes.

    counts: (G, K) amount of each label in each group. sizes: (G,) runs of each group. wanted: (S,) runs of each split.

    Returns (G,) the split of each group. Raises Unreachable where no division has these sizes, ValueError.
    """
    amounts, runs = _validated(counts, sizes)
    target = np.asarray(wanted, dtype=int)
    if (target < 0).any() or target.sum() != runs.sum():
        raise ValueError(f"Expected sizes that sum to {int(runs.sum())}, but got {target.tolist()}")
    active = np.flatnonzero(target)
    problem = _Problem.of(amounts, runs, target[active] / target.sum(), exact=True)
    return np.asarray(active[_solve(problem, runs, seed, target[active])])


def imbalance(counts: Floats, sizes: Integers, split_of: Integers, shares: Sequence[float] | Floats) -> float:
    """What the search lowers; 0 where each split has exactly its share of the runs and of every label.

    counts: (G, K). sizes: (G,). split_of: (G,). shares: (S,), sum 1.

    Sum over splits of [(n - f)^2 + mean over labels of (p - f)^2] / f: f is the split's share, n its part of the runs, p its
    part of a label. Chi-square distances, in which the same difference weighs more in a smaller split.

    >>> import numpy as np
    >>> imbalance(np.array([[1.0], [1]]), np.array([1, 1]), np.array([0, 1]), [0.5, 0.5])
    0.0
    >>> imbalance(np.array([[2.0], [0]]), np.array([1, 1]), np.array([0, 1]), [0.5, 0.5])
    1.0
    """
    amounts, runs = _validated(counts, sizes)
    parts = np.asarray(shares, dtype=float)
    active = np.flatnonzero(parts)
    problem = _Problem.of(amounts, runs, parts[active], exact=False)
    return problem.cost(problem.deviations(np.searchsorted(active, split_of)))


def rounded(shares: Sequence[float] | Floats, total: int) -> Integers:
    """(S,) whole numbers that sum to ``total``, nearest to its shares (largest remainders), 1 at least where there is a share.

    >>> rounded([0.7, 0.1, 0.2], 8).tolist()
    [5, 1, 2]
    >>> rounded([0.9, 0.05, 0.05], 3).tolist()
    [1, 1, 1]
    """
    parts = np.asarray(shares, dtype=float)
    _require_groups(total, parts)
    quotas = np.round(parts / parts.sum() * total, 9)
    numbers = np.asarray(np.maximum(np.floor(quotas), parts > 0), dtype=int)
    while numbers.sum() < total:
        numbers[np.argmax(np.where(parts > 0, quotas - numbers, -np.inf))] += 1
    while numbers.sum() > total:
        numbers[np.argmax(np.where(numbers > 1, numbers - quotas, -np.inf))] -= 1
    return numbers


def _validated(counts: Floats, sizes: Integers) -> tuple[Floats, Integers]:
    amounts, runs = np.asarray(counts, dtype=float), np.asarray(sizes, dtype=int)
    if runs.ndim != 1 or amounts.ndim != 2 or len(amounts) != len(runs):
        raise ValueError(f"Expected counts (G, K) and sizes (G,), but got {amounts.shape} and {runs.shape}")
    if not (np.isfinite(amounts).all() and (amounts >= 0).all() and (runs > 0).all()):
        raise ValueError("Expected counts that are finite and not negative, and sizes above 0")
    return amounts, runs


def _require_groups(groups: int, shares: Floats) -> None:
    splits = int((shares > 0).sum())
    if groups < splits:
        raise ValueError(f"Expected a group for each of {splits} splits at least, but got {groups}")


@dataclass(frozen=True)
class _Problem:
    """shares: (S,), positive. exact: the sizes of splits stay as they are.

    features: (G, F) the part of all runs, and of each label, that a group holds, times the root of its weight.
    """

    features: Floats
    weights: Floats
    shares: Floats
    exact: bool

    @classmethod
    def of(cls, counts: Floats, sizes: Integers, shares: Floats, *, exact: bool) -> _Problem:
        present = counts[:, counts.sum(axis=0) > 0]
        columns = np.column_stack([sizes.astype(float), present])
        weights = np.array([1.0, *[1 / max(present.shape[1], 1)] * present.shape[1]])
        features = columns / columns.sum(axis=0) * np.sqrt(weights)
        return cls(np.asarray(features), weights, shares, exact)

    def ordered(self, order: Integers) -> _Problem:
        """The same groups in another order."""
        return _Problem(self.features[order], self.weights, self.shares, self.exact)

    def deviations(self, split_of: Integers) -> Floats:
        """(S, F) what each split has beyond its share."""
        dealt = np.eye(len(self.shares))[split_of].T @ self.features
        return np.asarray(dealt - self.shares[:, None] * np.sqrt(self.weights))

    def cost(self, deviations: Floats) -> float:
        """The imbalance of (S, F) deviations."""
        return float((np.square(deviations).sum(axis=1) / self.shares).sum())


def _solve(problem: _Problem, sizes: Integers, seed: int, wanted: Integers | None = None) -> Integers:
    """(G,) the best of a few local optima."""
    canonical = np.lexsort((*problem.features.T[::-1],))
    problem, sizes = problem.ordered(canonical), sizes[canonical]
    rng = np.random.default_rng(seed)
    best, least = np.zeros(0, int), np.inf
    for _ in range(STARTS if len(sizes) <= MANY else 1):
        order = _order(problem, sizes, rng)
        room = None if wanted is None else Room.of(sizes[order], wanted)
        split_of = _start(problem, sizes, order, room, rng)
        for _ in range(SWEEPS):
            if not _sweep(problem, sizes, split_of, rng):
                break
        _redeal(problem, sizes, split_of, rng)
        cost = problem.cost(problem.deviations(split_of))
        if cost < least - GAIN:
            best, least = split_of, cost
    found = np.empty(len(best), dtype=int)
    found[canonical] = best
    return found


def _order(problem: _Problem, sizes: Integers, rng: np.random.Generator) -> Integers:
    """Groups of several runs first; then those of the rarest label, the richest in it first."""
    rarest = _rarest(problem.features)
    rarity = (problem.features > 0).sum(axis=0)[rarest]
    amount = problem.features[np.arange(len(sizes)), rarest]
    return np.lexsort((rng.random(len(sizes)), -amount, rarity, sizes == 1))


def _rarest(features: Floats) -> Integers:
    """(G,) the column that fewest groups have, among those that a group has; 0, the runs, where it has no label."""
    held = features > 0
    holders = np.where(held, held.sum(axis=0), len(features) + 1)
    last = features.shape[1] - 1
    return np.asarray(last - holders[:, ::-1].argmin(axis=1), dtype=int)


def _start(
    problem: _Problem, sizes: Integers, order: Integers, room: Room | None, rng: np.random.Generator
) -> Integers:
    """(G,) by iterative stratification: each group to the split that lacks most of the group's rarest label, then of runs."""
    rarest, count = _rarest(problem.features), len(problem.shares)
    lacks = problem.shares[:, None] * np.sqrt(problem.weights)
    left = room.wanted.copy() if room else np.zeros(count, int)
    split_of, empty = np.zeros(len(sizes), int), np.ones(count, bool)
    for place, group in enumerate(order.tolist()):
        if room:
            allowed = room.allowed(place, left)
        else:
            allowed = empty if len(order) - place == empty.sum() else np.ones(count, bool)
        keys = np.round([lacks[:, rarest[group]], lacks[:, 0], rng.random(count)], 12)
        chosen = max(np.flatnonzero(allowed).tolist(), key=lambda split: tuple(keys[:, split].tolist()))
        split_of[group] = chosen
        lacks[chosen] -= problem.features[group]
        left[chosen] -= sizes[group]
        empty[chosen] = False
    return split_of


def _sweep(problem: _Problem, sizes: Integers, split_of: Integers, rng: np.random.Generator) -> bool:
    """For each group the best swap with another (of the same size if sizes are exact) or move; in place. Whether any helped."""
    features, shares, helped = problem.features, problem.shares, False
    deviations = problem.deviations(split_of)
    along, norms = features @ deviations.T, np.square(features).sum(axis=1)
    every = np.arange(len(sizes))
    for group in rng.permutation(len(sizes)).tolist():
        home, there = split_of[group], shares[split_of]
        apart = norms + norms[group] - 2 * (features @ features[group])
        change = (2 * (along[:, home] - along[group, home]) + apart) / shares[home]
        change += (2 * (along[group, split_of] - along[every, split_of]) + apart) / there
        change[(split_of == home) | (problem.exact & (sizes != sizes[group]))] = np.inf
        moves = (2 * along[group] + norms[group]) / shares + (norms[group] - 2 * along[group, home]) / shares[home]
        moves[home] = np.inf
        if problem.exact or (split_of == home).sum() == 1:
            moves[:] = np.inf
        options = np.round(np.concatenate([change, moves]), 12)
        choice = int(options.argmin())
        if options[choice] > -GAIN:
            continue
        swapped = choice < len(sizes)
        target = int(split_of[choice]) if swapped else choice - len(sizes)
        step = (features[choice] if swapped else 0.0) - features[group]
        if swapped:
            split_of[choice] = home
        split_of[group] = target
        along[:, home] += features @ step
        along[:, target] -= features @ step
        helped = True
    return helped


def _redeal(problem: _Problem, sizes: Integers, split_of: Integers, rng: np.random.Generator) -> None:
    """Take a few groups at random and divide them among the splits in the best of all ways, again and again; in place."""
    count, groups = len(problem.shares), len(sizes)
    few = min(groups, max(2, int(np.log(DEALS) / np.log(max(count, 2)) + 1e-9)))
    if count**few > 4 * DEALS:
        return
    deals = np.array(list(product(range(count), repeat=few)))
    dealt = np.eye(count)[deals]  # (deals, few, S)
    for _ in range(ROUNDS if few < groups else 1):
        chosen = np.sort(rng.choice(groups, few, replace=False))
        now = np.eye(count)[split_of[chosen]]  # (few, S)
        without = problem.deviations(split_of) - now.T @ problem.features[chosen]
        after = without + np.einsum("dgs,gf->dsf", dealt, problem.features[chosen])
        costs = (np.square(after).sum(axis=2) / problem.shares).sum(axis=1)
        if problem.exact:
            legal = (np.einsum("dgs,g->ds", dealt, sizes[chosen]) == now.T @ sizes[chosen]).all(axis=1)
        else:
            others = np.bincount(np.delete(split_of, chosen), minlength=count)
            legal = (others + dealt.sum(axis=1) > 0).all(axis=1)
        costs[~legal] = np.inf
        best = int(np.round(costs, 12).argmin())
        if costs[best] < problem.cost(without + now.T @ problem.features[chosen]) - GAIN:
            split_of[chosen] = deals[best]
