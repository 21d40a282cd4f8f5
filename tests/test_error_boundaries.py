"""Broad exceptions are not swallowed, and every write goes through the file system boundary."""

import ast
import re

import pytest

from tests.test_layout import short, sources

# handlers of broad exceptions that do not raise, with the reason
CAUGHT_FOR_GOOD = {
    "utils/config/program.py:_handled_by": "only the main thread may ask for signals: others run without",
    "utils/runtime/streams.py:open_missing": "that a descriptor is closed is what it was asked",
    "utils/runtime/streams.py:write": "a terminal that is gone ends no run",
    "utils/runtime/streams.py:flush": "a terminal that is gone ends no run",
    "utils/files/cores.py:_read": "a file of the system that is not there limits nothing",
    "utils/training/loading.py:_is_short_of_shared_memory": "a system without such a folder has none of it",
    "utils/files/disk.py:can_link": "that links are refused is what it was asked",
    "utils/annotations/labelme.py:_mask_of": "its caller raises it with the file and the shape",
    "scripts/prepare/coco_masks.py:_annotated": "raises what read_instances counts and names",
    "scripts/prepare/coco_masks.py:_instance": "raises what read_instances counts and names",
    "utils/config/program.py:_status": "the end of every program: shows the traceback and asks for a report",
    "utils/files/disk.py:write_refusal": "returns the refusal, which atomic_path raises",
    "utils/files/npy_dict.py:write_npy_dict": "a content that no reader takes is a wrong call, not a person's error",
    "utils/copy_paste/published.py:_listed": "what numpy refuses goes to the reader of published files, which raises",
    "utils/plotting.py:only_drawing": "what only draws never stops the work that it shows",
    "utils/runtime/shared_work.py:_live": "receive raises it in the main thread",
    "utils/runtime/shared_work.py:_read": "a file that another process has not written yet is looked for again",
    "utils/training/recorder.py:_step": "half a line, of a run that was killed while it wrote, is not kept",
    "models/timm_features.py:_attempt": "returns the error, which its caller raises with the model's name",
    "scripts/prepare/tag_cells.py:items_of": "a cell that is not JSON is read by the rules of lists",
    "scripts/plan_own.py:_measured": "half a line, of a run that was killed while it wrote, is not counted",
    "utils/files/downloads.py:is_reachable": "that no server answers is what it was asked",
    "utils/fonts.py:_opened": "a file that is no font is passed over, as fonts are searched for",
    "scripts/prepare/onnx_model.py:_tried": "raises the first failure, with the file's name, where no layout runs",
    "models/suppression.py:suppression_control": "what is not a number fails the range check below it",
}
BROAD = {"Exception", "BaseException", "ValueError", "OSError"}
NAMED = re.compile(r"UserError\(|ModelOptionError\(|WeightsError\(|\.at\(|^(refused|explained)\b")

WRITING = {
    "write_text", "write_bytes", "mkdir", "makedirs", "unlink", "rename", "symlink_to", "rmtree", "copyfile",
    "copytree", "save", "savez", "savez_compressed", "savefig",
}  # fmt: skip
BOUNDARY = {"atomic_path", "disk_errors"}


def caught(handler):
    """Return the names of the exceptions that a handler catches."""
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(node).rpartition(".")[2] for node in types}


def raises_again(handler):
    """Return whether a handler re-raises, or raises an error that names the file, the value or the option."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and (last.exc is None or bool(NAMED.search(ast.unparse(last.exc))))


def swallowing(source):
    """Return the functions with a handler of broad exceptions that does not raise."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    handlers = [(f.name, node) for f in functions for node in ast.walk(f) if isinstance(node, ast.ExceptHandler)]
    return [name for name, handler in handlers if caught(handler) & BROAD and not raises_again(handler)]


def contexts(node, parents):
    """Return the names of the context managers around a node."""
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.With):
            yield from (ast.unparse(item.context_expr).partition("(")[0].rpartition(".")[2] for item in node.items)


def is_writing(call):
    """Return whether a call writes a file, by its method name or the mode of `open`."""
    name = ast.unparse(call.func).rpartition(".")[2]
    modes = [arg.value for arg in call.args[:2] if isinstance(arg, ast.Constant)]
    opens = name == "open" and any(re.fullmatch("[wax][bt+]*", mode) for mode in modes if isinstance(mode, str))
    return opens or (isinstance(call.func, ast.Attribute) and name in WRITING)


def unguarded(source):
    """Yield line and call of each write outside atomic_path and disk_errors, except to memory."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and is_writing(call):
            around = set(contexts(call, parents))
            if not around & (BOUNDARY | {"BytesIO"}):
                yield call.lineno, ast.unparse(call.func)


def test_errors_of_any_kind_are_not_caught_for_good():
    found = {f"{short(path)}:{name}" for path in sources(".py") for name in swallowing(path.read_text())}
    assert found == set(CAUGHT_FOR_GOOD)


def test_every_writer_goes_through_the_boundary():
    files = [path for path in sources(".py") if "files" not in path.parts]
    assert [f"{short(path)}:{line}: {call}" for path in files for line, call in unguarded(path.read_text())] == []


@pytest.mark.parametrize(
    ("ending", "is_good"),
    [
        ("raise", True),
        ("raise UserError(str(error)) from error", True),
        ("raise error.at('a.png') from error", True),
        ("return None", False),
        ("raise ValueError('a.png') from error", False),
    ],
)
def test_a_handler_is_judged_by_its_ending(ending, is_good):
    source = f"def f():\n    try:\n        pass\n    except (KeyError, ValueError) as error:\n        {ending}\n"
    assert swallowing(source) == ([] if is_good else ["f"])


@pytest.mark.parametrize(
    ("statement", "is_good"),
    [
        ("path.write_text('a')", False),
        ("open(path, 'w')", False),
        ("path.open('rb')", True),
        ("with atomic_path(path) as temporary:\n    temporary.write_text('a')", True),
        ("with disk_errors(path), path.open('a') as file:\n    file.write('a')", True),
    ],
)
def test_a_write_is_judged_by_what_stands_around_it(statement, is_good):
    assert bool(list(unguarded(statement))) != is_good
