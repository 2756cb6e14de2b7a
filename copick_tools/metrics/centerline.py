"""Centerline Dice (clDice): does a filament run where it should, without gaps or branches, whatever its thickness?

Shit et al., "clDice: a novel topology-preserving loss function for tubular structure segmentation", CVPR 2021,
arXiv:2003.07311, with the thinning of Lee et al. (1994) in scikit-image.
"""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from copick_tools.types import Mask


def centerline_dice(reference: Mask, prediction: Mask) -> float:
    """Harmonic mean of the shares of each side's centerline that lie in the other side.

    reference, prediction: zyx, bool, the same shape; the whole object, for centerlines aren't additive.

    Returns NaN where both sides are empty, 0 where one is.

    >>> import numpy as np
    >>> tube = np.zeros((5, 5, 20), bool)
    >>> tube[1:4, 1:4] = True
    >>> half = tube & (np.arange(20) < 10)
    >>> centerline_dice(tube, tube), round(centerline_dice(tube, half), 2)
    (1.0, 0.67)
    """
    if reference.ndim != 3 or reference.shape != prediction.shape:
        raise ValueError(f"Expected two zyx volumes of one shape, but got {reference.shape} and {prediction.shape}")
    for name, volume in (("reference", reference), ("prediction", prediction)):
        if volume.dtype != bool:
            raise ValueError(f"Expected argument `{name}` to be bool, but got {volume.dtype}")
    if not reference.any() or not prediction.any():
        return float("nan") if reference.any() == prediction.any() else 0.0
    precision = float(reference[centerline(prediction)].mean())
    sensitivity = float(prediction[centerline(reference)].mean())
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def centerline(volume: Mask) -> Mask:
    """Centerline of a zyx mask, one voxel thick, a part of it; every connected component keeps some.

    scikit-image's thinning erases components of even width (https://github.com/scikit-image/scikit-image/issues/3757):
    these are thinned again on a grid of half the spacing, where no width is even.

    >>> import numpy as np
    >>> int(centerline(np.ones((4, 4, 20), bool)).sum()) > 15
    True
    """
    found = np.zeros(volume.shape, dtype=bool)
    if not volume.any():
        return found
    box = ndimage.find_objects(volume.view(np.uint8))[0]
    inside = np.ascontiguousarray(volume[box])
    thin = _thinned(inside)
    components, count = cc3d.connected_components(inside, connectivity=26, return_N=True)
    kept = np.zeros(count + 1, dtype=bool)
    kept[components[thin]] = True
    if not kept[1:].all():
        for index, part in enumerate(ndimage.find_objects(components), start=1):
            if not kept[index]:
                thin[part] |= _thinned_finely(components[part] == index)
    found[box] = thin
    return found


def _thinned(volume: Mask) -> Mask:
    return np.asarray(skeletonize(volume), dtype=np.bool_)  # type: ignore[no-untyped-call]


def _thinned_finely(component: Mask) -> Mask:
    """Centerline from a grid that has a voxel between each two; the component itself where that is erased too."""
    fine = component
    for axis in range(3):
        first, second = fine.take(range(fine.shape[axis] - 1), axis), fine.take(range(1, fine.shape[axis]), axis)
        fine = np.insert(fine, range(1, fine.shape[axis]), first & second, axis)
    thin = np.zeros_like(component)
    thin[tuple(np.argwhere(_thinned(fine)).T // 2)] = True
    return thin if thin.any() else component
