"""The flags under which the method's programs were published, one table: what each means here.

`utils.config.published` reads it. docs/voc.md shows it. A flag that is missing here means the option of its own name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """A published flag: another name of an option, or what it sets, or why it has no effect here."""

    name: str
    option: str = ""  # the option that it is another name of
    sets: str = ""  # `option=value`: what the flag without a value sets, and a flag with `folder` in any case
    folder: str = ""  # its value must be this folder of the run, which `sets` makes
    rule: str = ""  # a function of utils.config.published_rules: what depends on other options
    note: str = ""  # why it has no effect here; shown when it is given
    bare: bool = False  # it never takes a value
    empty: str = ""  # what an empty value stands for
    names_run: bool = False  # the folder behind runs/ in its value is the experiment, where none is named

    @property
    def meaning(self) -> str:
        """What it means here, in a few words."""
        alias = f"`--{self.option}`" if self.option and f"--{self.option}" != self.name else ""
        sets = f"`--{self.sets}`" if self.sets else ""
        run = "names the run by the folder behind `runs/`" if self.names_run else ""
        folder = f"only `runs/EXP/{self.folder}`" if self.folder else ""
        empty = "empty: none" if self.empty else ""
        note = f"no effect: {self.note}" if self.note else ""
        return "; ".join(filter(None, (alias, sets, folder, run, empty, RULES.get(self.rule, ""), note)))


# what the functions of utils.config.published_rules do
RULES = {
    "poly_optimizer": "COCO: the optimiser of `configs/coco14_published_optimiser.yaml`; VOC: a constant learning rate",
    "num_classes": "accepted if it is the dataset's number of classes",
    "coco_preset": "`mscoco`: a line names the preset `configs/coco14.yaml`",
    "dataset_of_run": "a published name gives way to the run's own dataset, and a line reports it",
    "highest_threshold": "`--thresholds` up to this one",
}

_NOT_READ = "the published program does not read it"
_LOG = "scores and options are stored with the run"
_LABELS = "gen_gt.py --threshold makes labels"
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
        Flag("--multi_scale", note="CAMs are always made at several scales", bare=True),
        Flag("--input_size", note="images keep their size times --scales"),
        Flag("--arch", note="the network is the run's"),
        Flag("--DRS_stage", note="the network is the run's"),
        Flag("--resume_from", note="CAMs that exist are kept"),
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
