"""Models in ONNX files, run by onnxruntime."""

from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files.cores import thread_count
from utils.runtime.optional import optional_module

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FATAL = 4  # of onnxruntime's log levels: errors arrive as exceptions


def open_session(path: Path, *, device: str = "auto") -> Any:
    """An onnxruntime.InferenceSession of the file.

    device: `auto` is the GPU where the installed onnxruntime has one, `cpu` leaves it unused, and `cuda` or `cuda:1`
    must be there. Raises UserError where onnxruntime is missing, cannot use the device, or cannot run the file.
    """
    runtime = optional_module("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = thread_count()  # its own count overlooks the quota of a container
    # by default its threads wait in busy loops, which take time from other processes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = runtime.get_available_providers()
    providers: list[Any] = [CPU] if device == "cpu" else available
    if device.startswith("cuda"):
        if CUDA not in available:
            rule = f"the installed onnxruntime has {', '.join(available)}"
            raise UserError(device, "device", rule, "install onnxruntime-gpu, or choose cpu or auto")
        providers = [(CUDA, {"device_id": int(device.partition(":")[2] or 0)}), CPU]
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UserError(f"is not a model that onnxruntime can run ({first_line(error)})", path) from error


def first_line(error: Exception | None) -> str:
    """What an exception of onnxruntime says first; the rest are its call stack and addresses."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
