"""One table of the published programs' flags and what each means here.

`utils.config.published` applies it and docs/voc.md shows it. A flag that is not listed means the option of its name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """A published flag: an alias of an option, what it sets, or why it has no effect here."""

    name: str
    option: str = ""  # the option it is an alias of
    sets: str = ""  # `option=value`, set if the flag has no value, or always if `folder` is given
    folder: str = ""  # the only valid value: the run's folder to which `sets` exports
    rule: str = ""  # a function of utils.config.published_rules, for effects that depend on other options
    note: str = ""  # why it has no effect here; printed when the flag is used
    bare: bool = False  # never takes a value
    empty: str = ""  # the value that an empty one stands for
    names_run: bool = False  # without --experiment_name, the folder after runs/ in its value names the run

    @property
    def meaning(self) -> str:
        """Its meaning here in a few words."""
        alias = f"`--{self.option}`" if self.option and f"--{self.option}" != self.name else ""
        sets = f"`--{self.sets}`" if self.sets else ""
        run = "the folder after `runs/` names the run" if self.names_run else ""
        folder = f"only `runs/EXP/{self.folder}`" if self.folder else ""
        empty = "empty: none" if self.empty else ""
        note = f"no effect: {self.note}" if self.note else ""
        return "; ".join(filter(None, (alias, sets, folder, run, empty, RULES.get(self.rule, ""), note)))


# descriptions of the functions in utils.config.published_rules
RULES = {
    "poly_optimizer": "COCO: the optimiser of `configs/coco14_published_optimiser.yaml`; VOC: a constant learning rate",
    "num_classes": "accepted if it is the dataset's number of classes",
    "coco_preset": "`mscoco`: prints a hint at the preset `configs/coco14.yaml`",
    "dataset_of_run": "a published name is replaced by the run's own dataset, with a note",
    "highest_threshold": "the highest of `--thresholds`",
}

_NOT_READ = "the published program does not read it"
_LOG = "scores and options are stored with the run"
_LABELS = "gen_gt.py --threshold creates labels"
_NUM_CLASSES = Flag("--num_classes", rule="num_classes")
_ATT_DIR = Flag("--att_dir", note=_NOT_READ)

_DEEPLAB = (
    Flag("--config-path", "config"),
    Flag("--config_path", "config"),
    Flag("-c", "config"),
    Flag("--dataset", "DATASET.ROOT"),
    Flag("--resume", "SOLVER.RESUME"),
    Flag("--cuda", sets="SOLVER.DEVICE=cuda", bare=True),
    Flag("--cpu", sets="SOLVER.DEVICE=cpu", bare=True),
)
_DEEPLAB_STEP = (
    *_DEEPLAB,
    Flag("--model-path", "model_path"),
    Flag("-m", "model_path"),
    Flag("--num-workers", "num_workers"),
    Flag("--n-jobs", "num_workers"),
    Flag("-j", "num_workers"),
)

FLAGS_OF: dict[str, tuple[Flag, ...]] = {
    "train_l2g.py": (
        Flag("--img_dir", "image_dir"),
        Flag("--epoch", "epochs"),
        Flag("--current_epoch", "start_epoch"),
        Flag("--iter_size", "accumulate"),
        Flag("--patch_size", "num_patches"),
        Flag("--patch_num", "num_patches"),
        Flag("--kd_weights", "kd_weight"),
        Flag("--bg_thr", "bg_threshold"),
        Flag("--decay_points", "decay_epochs"),
        Flag("--disp_interval", "log_every"),
        Flag("--sem_seg_fg_dir", "cda_bank"),
        Flag("--freeze", "frozen_stages"),  # this project's own short name
        Flag("--cda", "cda", sets="cda=cda+"),
        Flag("--load_checkpoint", "load_checkpoint", empty="null"),
        Flag("--poly_optimizer", rule="poly_optimizer", bare=True),
        Flag("--dataset", "dataset", rule="coco_preset"),
        _NUM_CLASSES,
        Flag("--snapshot_dir", names_run=True),
        Flag("--test_list", note="the published program reads the list and does not use it"),
        Flag("--global_counter", note="a run counts its own steps"),
        Flag("--warmup", note="the published warm-up has no effect; --warmup_steps has"),
        Flag("--warmup_lr", note="the published warm-up has no effect; --warmup_steps has"),
        _ATT_DIR,
    ),
    "test_l2g.py": (
        Flag("--img_dir", "image_dir"),
        Flag("--restore_from", "checkpoint", names_run=True),
        Flag("--save_dir", sets="save_attention=true", folder="ms/attention", names_run=True),
        Flag("--random_walk_dir_irn", sets="save_irn=true", folder="cam_npy_irn"),
        Flag("--random_walk_dir_aff", sets="save_affinity=true", folder="cam_npy_aff"),
        Flag("--cam_npy", sets="save_psa=true", folder="cam_npy"),
        _NUM_CLASSES,
        Flag("--cam_png", note=_LABELS),
        Flag("--thr", note=_LABELS),
        Flag("--multi_scale", note="CAMs always use several scales", bare=True),
        Flag("--input_size", note="images keep their size times --scales"),
        Flag("--arch", note="the run's network is used"),
        Flag("--DRS_stage", note="the run's network is used"),
        Flag("--resume_from", note="existing CAMs are kept"),
    ),
    "gen_gt.py": (
        Flag("--img_dir", "image_dir"),
        Flag("--gt_dir", "image_dir"),
        Flag("--datalist", "image_list"),
        Flag("--save_path", "label_dir"),
        Flag("--thr", "threshold"),
        Flag("--t", "threshold"),
        Flag("--pred_dir", "pred_dir", names_run=True),
        Flag("--dataset", "dataset", rule="dataset_of_run"),
        _NUM_CLASSES,
        _ATT_DIR,
    ),
    "evaluate.py": (
        Flag("--gt_dir", "mask_dir"),
        Flag("--datalist", "mask_list"),
        Flag("--list", "mask_list"),
        Flag("--domain", "mask_list"),
        Flag("--type", "mode"),
        Flag("--threshold", "thresholds"),
        Flag("--thr", "thresholds"),
        Flag("--t", "thresholds"),
        Flag("--max_th", rule="highest_threshold"),
        Flag("--pred_dir", "pred_dir", names_run=True),
        Flag("--predict_dir", "pred_dir", names_run=True),
        Flag("--save_path", note=_LOG),
        Flag("--save_label_path", note=_LABELS),
        Flag("--curve", note="every threshold of --thresholds is scored", bare=True),
        Flag("--logfile", note=_LOG),
        Flag("--comment", note=_LOG),
        _NUM_CLASSES,
        _ATT_DIR,
    ),
    "res.py": (Flag("--img_dir", "image_dir"),),
    "scripts/build_foregrounds.py": (Flag("--img_dir", "image_dir"),),
    "scripts/check_data.py": (
        Flag("--img_dir", "image_dir"),
        Flag("--gt_dir", "mask_dir"),
        Flag("--list", "mask_list"),
    ),
    "deeplabv2/main.py train": _DEEPLAB,
    "deeplabv2/main.py test, crf": _DEEPLAB_STEP,
    "deeplabv2/main.py predict": (*_DEEPLAB_STEP, Flag("--image-dir", "image_dir")),
    "deeplabv2/eval.py": _DEEPLAB_STEP,
}
