"""nnU-Net itself, in a process of its own: plans, prepares, trains a few steps, predicts. Makes real results folders.

    python nnunet_training.py FOLDER     with FOLDER/cases.npz: NAME and NAME_labels, and `asked`, a volume to predict

writes FOLDER/nnUNet_results/… and FOLDER/expected.npz: nnU-Net's probabilities of `asked`, by plans and folds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PLANS = ("nnUNetPlans", "nnUNetResEncUNetMPlans")
DATASET = "Dataset001_toy"
STEPS = 8
PATCH = [16, 32, 32]
LABELS = {"background": 0, "Ribosome": 1, "apo_ferritin": 2, "ignore": 3}


def main(folder: Path) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(folder / name)
    os.environ.update(nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1", nnUNet_compile="f", MPLCONFIGDIR=str(folder / "mpl"))
    import numpy as np
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = dict(np.load(folder / "cases.npz"))
    asked = cases.pop("asked")
    names = sorted(name for name in cases if not name.endswith("_labels"))
    described(folder, names, cases)
    expected = {}
    for plans_name, folds in zip(PLANS, ((0, 1), (0,))):
        plans = planned(folder, plans_name)
        if plans_name == PLANS[0]:
            prepared(folder, plans, names, cases)
        os.environ.update(nnUNet_n_proc_DA="0")
        for fold in folds:
            trained(folder, plans, fold, STEPS if plans_name == PLANS[0] and not fold else 0)
            expected[f"{plans_name}_{fold}"] = predicted(folder, plans_name, [fold], asked)
        if len(folds) > 1:
            expected[f"{plans_name}_all"] = predicted(folder, plans_name, list(folds), asked)
        os.environ.update(nnUNet_n_proc_DA="1")
    np.savez(folder / "expected.npz", **expected)


def described(folder: Path, names: list[str], cases: dict) -> None:
    """What nnU-Net's own commands write before it plans, from arrays."""
    import numpy as np
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    dataset = {
        "channel_names": {"0": "cryoET"},
        "labels": LABELS,
        "numTraining": len(names),
        "file_ending": ".none",
        "dataset": {name: {"images": ["none"], "label": "none"} for name in names},
    }
    values = np.concatenate(
        [
            DatasetFingerprintExtractor.collect_foreground_intensities(
                cases[f"{name}_labels"][None].astype(np.int16), cases[name][None], num_samples=1000
            )[0][0]
            for name in names
        ]
    )
    low, high = np.percentile(values, [0.5, 99.5])
    properties = {
        "mean": float(np.mean(values)),
        "median": float(np.median(values)),
        "std": float(np.std(values)),
        "min": float(np.min(values)),
        "max": float(np.max(values)),
        "percentile_00_5": float(low),
        "percentile_99_5": float(high),
    }
    fingerprint = {
        "spacings": [[1.0, 1.0, 1.0]] * len(names),
        "shapes_after_crop": [list(cases[name].shape) for name in names],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {"0": properties},
    }
    splits = [{"train": names[:2], "val": names[2:]}, {"train": names[1:], "val": names[:1]}]
    for root in ("nnUNet_raw", "nnUNet_preprocessed"):
        (folder / root / DATASET).mkdir(parents=True)
        (folder / root / DATASET / "dataset.json").write_text(json.dumps(dataset))
    (folder / "nnUNet_results").mkdir()
    (folder / "nnUNet_preprocessed" / DATASET / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    (folder / "nnUNet_preprocessed" / DATASET / "splits_final.json").write_text(json.dumps(splits))


def planned(folder: Path, name: str) -> dict:
    """nnU-Net's plans, with a small network."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    residual = "ResEnc" in name
    base = (
        residual_encoder_unet_planners.nnUNetPlannerResEncM
        if residual
        else default_experiment_planner.ExperimentPlanner
    )

    class Planner(base):
        def determine_reader_writer(self):
            return SimpleITKIO

    Planner(DATASET, plans_name=name).plan_experiment()
    path = folder / "nnUNet_preprocessed" / DATASET / f"{name}.json"
    plans = json.loads(path.read_text())
    chosen = plans["configurations"]["3d_fullres"]
    chosen |= {"patch_size": PATCH, "batch_size": 2}
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments |= {"n_stages": 3, "features_per_stage": [8, 16, 32], "kernel_sizes": [[3, 3, 3]] * 3}
    arguments |= {
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage_decoder": [1, 1] if residual else [2, 2],
    }
    arguments |= {"n_blocks_per_stage": [1, 2, 2]} if residual else {"n_conv_per_stage": [2, 2, 2]}
    path.write_text(json.dumps(plans))
    return plans


def prepared(folder: Path, plans: dict, names: list[str], cases: dict) -> None:
    """The cases as nnU-Net stores them."""
    import numpy as np
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    dataset = json.loads((folder / "nnUNet_raw" / DATASET / "dataset.json").read_text())
    out = folder / "nnUNet_preprocessed" / DATASET / configuration.data_identifier
    out.mkdir(exist_ok=True)
    preprocessor = configuration.preprocessor_class(verbose=False)
    for name in names:
        labels = cases[f"{name}_labels"][None].astype(np.int16)
        data, seg, properties = preprocessor.run_case_npy(
            cases[name][None].copy(), labels, {"spacing": [1.0, 1.0, 1.0]}, manager, configuration, dataset
        )
        nnUNetDatasetNumpy.save_case(data, seg, properties, str(out / name))


def trained(folder: Path, plans: dict, fold: int, steps: int) -> None:
    """nnU-Net's trainer, for an epoch of a few steps; for none its first weights, as it would write them."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Short(nnUNetTrainer):
        def __init__(self, plans, configuration, fold, dataset_json, device):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, steps, 1

    Short.__name__ = "nnUNetTrainer"
    dataset = json.loads((folder / "nnUNet_preprocessed" / DATASET / "dataset.json").read_text())
    given = {**json.loads(json.dumps(plans)), "continue_training": False}
    trainer = Short(given, "3d_fullres", fold, dataset, torch.device("cpu"))
    if steps:
        trainer.run_training()
        return
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    Path(trainer.output_folder_base, "plans.json").write_text(json.dumps(plans))
    Path(trainer.output_folder_base, "dataset.json").write_text(json.dumps(dataset))


def predicted(folder: Path, plans_name: str, folds: list[int], asked):
    """nnU-Net's probabilities, (C, z, y, x), without mirroring."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    results = folder / "nnUNet_results" / DATASET / f"nnUNetTrainer__{plans_name}__3d_fullres"
    plans = PlansManager(json.loads((results / "plans.json").read_text()))
    configuration = plans.get_configuration("3d_fullres")
    dataset = json.loads((results / "dataset.json").read_text())
    network = nnUNetTrainer.build_network_architecture(plans, configuration, 1, 3, False)
    files = [results / f"fold_{fold}" / "checkpoint_final.pth" for fold in folds]
    weights = [torch.load(file, map_location="cpu", weights_only=False)["network_weights"] for file in files]
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), verbose=False, allow_tqdm=False
    )
    predictor.manual_initialization(network, plans, configuration, weights, dataset, "nnUNetTrainer", None)
    spacing = {"spacing": [1.0, 1.0, 1.0]}
    return predictor.predict_single_npy_array(asked[None].copy(), spacing, None, None, True)[1]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
