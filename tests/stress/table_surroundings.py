"""Rows about the environment: disks, terminals, variables, containers, networks, other processes."""

from pathlib import Path

from tests.stress.case import Case, either, refused, works
from tests.stress.table_tools import IMPORT, SEGMENTS
from tests.stress.worlds import CAMS, LABELS, PREPARE, SCORE, TRAIN, segment

PYTHON = "$PY $ROOT/"


def line(words: list[str], *flags: str) -> str:
    return PYTHON + " ".join([*words, *flags])


TRAIN_TWO = line(TRAIN, "--num_workers=2")
LONG = line(TRAIN, "--num_workers=2", "--epochs=400")
SMALL_SHM = "mount -t tmpfs -o size={size} tmpfs /dev/shm"
FULL = "mkdir full && mount -t tmpfs -o size={size} tmpfs full && "


def apart(commands: str) -> str:
    """A shell line with private mounts."""
    return f"unshare -m bash -c '{commands}'"


def _epochs(count: int):
    def check(folder: Path, printed: str) -> str | None:
        lines = (folder / "runs/exp/metrics.jsonl").read_text().splitlines()
        kept = list((folder / "runs/exp/model").glob("*epoch*.pth"))
        return None if len(lines) == count and kept else f"{len(lines)} epochs, {len(kept)} checkpoints"

    return check


TWO = line(TRAIN, "--epochs=2", "--num_workers=2")
READ_ONLY = "mount --bind $ROOT $ROOT && mount -o remount,ro,bind $ROOT && env -u NUMBA_CACHE_DIR HOME=/proc/none XDG_CACHE_HOME=/proc/none "
# half a core, by the control groups of either version that the system has
GROUP = (
    "G=/sys/fs/cgroup/cpu/stress$$; [ -d /sys/fs/cgroup/cpu ] || G=/sys/fs/cgroup/stress$$; mkdir $G && export G && "
    "(echo 50000 > $G/cpu.cfs_quota_us || echo 50000 100000 > $G/cpu.max) && bash -c 'echo $$ > $G/cgroup.procs; "
)
SURROUNDINGS = (
    Case("shared memory of 64 KB, train", "toy", apart(SMALL_SHM.format(size="64k") + f" && {TRAIN_TWO}"), either(), seconds=40),
    Case("shared memory of 4 KB, train", "toy", apart(SMALL_SHM.format(size="4k") + f" && {TRAIN_TWO}"), either(), seconds=40),
    Case("shared memory of 64 KB, CAMs", "run", apart(SMALL_SHM.format(size="64k") + f" && {line(CAMS, '--update', '--num_workers=2', '--scales=0.5')}"), works(), seconds=40),
    Case("shared memory of 4 KB, labels", "run", apart(SMALL_SHM.format(size="4k") + f" && {line(LABELS, '--threshold=0.3', '--num_workers=2')}"), either(), seconds=40),
    Case("shared memory of 64 KB, segmentation", "segmentation", apart(SMALL_SHM.format(size="64k") + " && " + segment("train", "--DATALOADER.NUM_WORKERS=2").replace("'", "")), either(), seconds=40),
    Case("shared memory of none, labels", "run", apart("mount -t tmpfs -o size=4k,mode=000 tmpfs /dev/shm && " + line(LABELS, "--threshold=0.3", "--num_workers=2")), either(), seconds=40),

    *(Case(f"screen gone: train {how}", "toy", f"set -o pipefail; {TWO} {how}; exit 0", works(check=_epochs(2))) for how in ("| head -1", "> /dev/full", "2> /dev/full", "> /dev/full 2>&1", "2>&1 | head -1", ">&- 2>&-", "2>&1 | true")),
    Case("screen gone: main.py train | head -1", "segmentation", segment("train") + " | head -1; test -f out/models/exp/checkpoint_final.pth", works()),
    Case("screen gone: main.py train 2>&1 | true", "segmentation", segment("train") + " 2>&1 | true; test -f out/models/exp/checkpoint_final.pth", works()),
    Case("screen gone: prepare_own.py | head -1", "photos", line(PREPARE) + " | head -1; test -f mine/train_cls.txt", works()),
    Case("screen gone: evaluate.py | head -1", "run", "rm runs/exp/cam_scores.json; " + line(SCORE) + " | head -1; test -f runs/exp/cam_scores.json", works()),
    Case("screen gone: gen_gt.py > /dev/full", "run", line(LABELS, "--threshold=0.3") + " > /dev/full 2>&1; test -f labels/p7.png", works()),
    Case("screen gone: --help | head -1", "empty", f"{PYTHON}train_l2g.py --help | head -1", works()),
    Case("screen in ASCII", "photos", "mv photos/cat photos/käfer; LC_ALL=C PYTHONIOENCODING=ascii PYTHONUTF8=0 " + line(PREPARE), works()),

    Case("variable MPLBACKEND of a notebook", "run", "MPLBACKEND=module://matplotlib_inline.backend_inline " + line(SCORE), works("mIoU")),
    Case("variable MPLBACKEND nonsense", "run", "MPLBACKEND=nonsense " + line(SCORE), works("mIoU")),
    Case("variable MPLCONFIGDIR not writable", "run", "MPLCONFIGDIR=/proc/x " + line(SCORE), works("mIoU")),
    Case("variable WORLD_SIZE of a cluster", "toy", "WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29123 timeout 20 " + TRAIN_TWO + "; exit 1", refused("WORLD_SIZE"), seconds=45),
    Case("variable WORLD_SIZE empty", "toy", "WORLD_SIZE= " + TRAIN_TWO, either()),
    Case("variable WORLD_SIZE alone", "toy", "WORLD_SIZE=2 " + TRAIN_TWO, refused("WORLD_SIZE")),
    Case("variable WORLD_SIZE text", "toy", "WORLD_SIZE=two RANK=0 " + TRAIN_TWO, refused("WORLD_SIZE")),
    Case("variable RANK text", "toy", "WORLD_SIZE=2 RANK=x MASTER_ADDR=127.0.0.1 MASTER_PORT=29124 " + TRAIN_TWO, refused("RANK")),
    Case("variable PYTHONSAFEPATH, train_l2g.py", "toy", "PYTHONSAFEPATH=1 " + line(TRAIN), works()),
    Case("variable PYTHONSAFEPATH, evaluate.py", "run", "PYTHONSAFEPATH=1 " + line(SCORE), works()),
    Case("variable PYTHONSAFEPATH, res.py --help", "run", f"PYTHONSAFEPATH=1 {PYTHON}res.py --help", works()),
    Case("variable PYTHONOPTIMIZE", "toy", "PYTHONOPTIMIZE=2 " + line(TRAIN), works()),
    Case("variable COLUMNS 0", "toy", "COLUMNS=0 " + line(TRAIN), works()),
    Case("variable OMP_NUM_THREADS text", "toy", "OMP_NUM_THREADS=many " + line(TRAIN), either()),
    Case("variable CUDA_VISIBLE_DEVICES text", "toy", "CUDA_VISIBLE_DEVICES=x " + line(TRAIN), works()),

    Case("disk full at a checkpoint", "toy", apart(FULL.format(size="3m") + line(TRAIN, "--runs_dir=full", "--num_workers=2", "--epochs=40", "--width=0.125")), refused("space", "full/"), seconds=60),
    Case("disk full, labels", "run", apart(FULL.format(size="12k") + line(LABELS, "--threshold=0.3", "--label_dir=full/l")), refused("space")),
    Case("disk full, CAMs", "run", apart("mv runs keep && mkdir runs && mount -t tmpfs -o size=1m tmpfs runs && cp -r keep/exp runs/ && rm -r runs/exp/cam && head -c 1m /dev/zero > runs/fill; " + line(CAMS, "--num_workers=2")), refused("space")),
    Case("disk full, prepare_own", "photos", apart(FULL.format(size="8k") + line(PREPARE, "--copy", "--out=full/mine")), refused("space")),
    Case("disk read-only", "toy", apart("mkdir ro && mount -t tmpfs -o ro tmpfs ro && " + line(TRAIN, "--runs_dir=ro/runs")), refused("read-only", "ro/runs")),
    Case("disk a file where a folder belongs", "toy", "touch runs; " + line(TRAIN), refused("runs", "folder")),
    Case("disk a folder where a file belongs", "run", "rm runs/exp/cam_scores.json; mkdir runs/exp/cam_scores.json; " + line(SCORE), refused("cam_scores.json")),
    *(Case(f"disk no permission, runs of mode {mode}", "toy", f"chmod 755 . ..; mkdir runs; chmod {mode} runs; setpriv --reuid=nobody --clear-groups " + line(TRAIN), refused("/runs", "permission")) for mode in (555, 500)),
    Case("disk a loop of links", "toy", "ln -s a b; ln -s b a; " + line(TRAIN, "--runs_dir=a"), refused("loop")),
    Case("project read-only, no home, --help", "empty", apart(READ_ONLY + f"{PYTHON}gen_gt.py --help"), works()),
    Case("project read-only, no home, CRF of labels", "run", apart(READ_ONLY + line(LABELS, "--threshold=0.3", "--crf")), works()),
    Case("project read-only, no home, crf --help", "empty", apart(READ_ONLY + f"{PYTHON}deeplabv2/main.py crf --help"), works()),

    Case("signal SIGTERM while training", "toy", f"{LONG} & p=$!; until pgrep -P $p > /dev/null; do sleep 0.2; done; sleep 3; kill $p; wait $p; test $? = 130", works("--resume"), seconds=40),
    Case("signal SIGTERM while nothing is read", "toy", f"rm toy/JPEGImages/p0.png; mkfifo toy/JPEGImages/p0.png; timeout -k 11 8 {TRAIN_TWO} --sal_dir=none", refused(), seconds=30),
    Case("signal SIGTERM outside of training", "run", line(LABELS, "--threshold=0.3", "--crf") + " & p=$!; sleep 0.7; kill $p; wait $p; test $? != 0", works(), seconds=30),
    Case("signal SIGINT while modules are imported", "toy", "set -m; " + line(TRAIN) + " & p=$!; sleep 0.9; kill -INT $p; wait $p; test $? != 0", works(), seconds=30),
    Case("signal SIGKILL leaves no worker", "toy", f"{LONG} & p=$!; until pgrep -P $p > /dev/null; do sleep 0.2; done; sleep 3; kill -9 $p; wait $p; sleep 1; exit 0", works(), seconds=40),
    Case("signal SIGKILL of a worker", "toy", f"{LONG} & p=$!; until pgrep -P $p > /dev/null; do sleep 0.2; done; sleep 3; kill -9 $(pgrep -P $p | tail -1); timeout 5 tail --pid=$p -f /dev/null || exit 7; wait $p; test $? = 1", works("--num_workers=0"), seconds=60),
    Case("signal SIGSTOP of a worker, then SIGTERM", "toy", f"{LONG} & p=$!; until pgrep -P $p > /dev/null; do sleep 0.2; done; sleep 3; kill -STOP $(pgrep -P $p | tail -2); kill $p; wait $p; exit 0", works(), seconds=40),
    Case("two at once, train", "toy", f"{LONG} > a.txt 2>&1 & p=$!; until pgrep -P $p > /dev/null; do sleep 0.2; done; sleep 3; {line(TRAIN, '--resume')}; s=$?; kill $p; wait $p; exit $s", refused("process|pid", "runs/exp"), seconds=60),
    *(Case(f"two at once, {name}", world, "PYTHONPATH=$ROOT $PY -c \"from pathlib import Path; import time\nfrom utils.files.lock import hold\nwith hold(Path('" + folder + "')):\n    time.sleep(30)\" & p=$!; sleep 3; " + line(words) + "; s=$?; kill $p; exit $s", refused("process|pid", folder), seconds=60) for name, world, folder, words in (
        ("labels", "run", "labels", [*LABELS, "--threshold=0.3"]), ("prepare_own", "photos", "mine", PREPARE), ("segments", "run", "toy/Segments", SEGMENTS), ("import", "run", "back", [*IMPORT, "--labels=toy/SegmentationClass"]))),

    Case("container a quota of half a core", "empty", "PYTHONPATH=$ROOT $PY -c \"import utils.files.cores as c; from pathlib import Path; import tempfile; d = Path(tempfile.mkdtemp()); (d / 'cpu.max').write_text('50000 100000'); assert c.cores_of_quota(d) == 1; print('ok')\"", works("ok")),
    Case("container a quota of a real control group", "run", GROUP + line(LABELS, "--threshold=0.3", "--num_workers=0") + "'; rmdir $G", works("using 1 processes")),
    Case("line ends of Windows", "empty", "git clone -q --config core.autocrlf=true $ROOT w && cd w && bash -n demo.sh && bash -n test.sh && ! grep -rlI $'\\r' *.sh scripts/*.sh && PYTHON=$PY bash train_test_L2G_own.sh --help > /dev/null 2>&1; bash -c 'set -e; . scripts/common.sh; true' 2>&1 | grep -c 'invalid option' | grep -qx 0", works()),
    Case("where it stands: blanks in the path", "empty", "git clone -q $ROOT 'a b [c]' && $PY 'a b [c]/train_l2g.py' --help > /dev/null", works()),
)  # fmt: skip
