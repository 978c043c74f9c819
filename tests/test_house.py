"""The shape of the house: imports go one way, modules and functions stay small, one place calibrates and samples."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("recon", "cli", "reader_study") for path in (ROOT / room).rglob("*.py"))

# From the ground up; a room may import from those before it, and those on one line do not know each other.
LAYERS = [
    {
        "recon.errors",
        "recon.contrast_names",
        "recon.version",
        "recon.seeding",
        "recon.progress",
        "recon.evenly",
        "recon.options",
        "recon.folders",
        "recon.workers",
        "recon.held_signals",
    },
    {"recon.atomic", "recon.configuration", "recon.hdf5", "recon.digest", "recon.header", "recon.foreign"},
    {"recon.tensor_file"},
    {"recon.training_state", "recon.gradient_steps", "recon.model_folder", "recon.processes"},
    {"recon.training_loop"},
    {"recon.scan"},
    {"recon.acquisition"},
    {"recon.scans"},
    {"recon.images"},
    {"recon.quality"},
    {"recon.simulate", "recon.interactive"},
    {"recon.vessels"},
    {"recon.prior", "recon.posterior"},
    {"recon.reconstruction"},
    {"recon.finetuning", "recon.benchmark", "recon.streaming"},
    {"recon.encode"},
    {"recon.study"},
    {"recon.monitoring"},
    {"recon.face"},
    {"recon"},
    {"reader_study"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# Calibrating by hand, or calling a sampler by hand, makes images that no user gets.
ONE_PLACE = {"calibrate", "preprocess_coils", "refined_problem", "system_of", "noise_inflated_system"} | {
    "stochastic_dds", "pula", "dds", "pigdm", "daps", "dps", "mean_recursion",
}  # fmt: skip
MAY_CALIBRATE = ("recon.acquisition", "recon.posterior", "recon.reconstruction")
TORCH_FREE = (
    "recon/reconstruction/methods.py", "recon/reconstruction/options.py", "recon/benchmark/options.py",
    "recon/benchmark/uncertainty_options.py", "recon/interactive/options.py", "recon/vessels/options.py",
    "recon/scans/readers.py", "recon/reconstruction/formats.py", "recon/encode/options.py",
    "recon/encode/probes/table.py", "recon/encode/probes/options.py", "recon/encode/tasks/options.py",
    "recon/scans/options.py",
    "recon/study/options.py",
    "recon/monitoring/options.py",
)  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "recon" else parts[0]


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """``(module, name)`` of every import of our own, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LEVEL:
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in LEVEL:
                    yield alias.name, ""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_every_room_has_its_place() -> None:
    assert {room_of(module_of(path)) for path in SOURCES} <= set(LEVEL)


def test_no_import_goes_up_or_across() -> None:
    wrong = []
    for path in SOURCES:
        here = room_of(module_of(path))
        for module, _ in imported(path):
            there = room_of(module)
            if there != here and LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{module_of(path)} imports {module}")
    assert wrong == []


def test_no_circle_of_modules() -> None:
    modules = {module_of(path): path for path in SOURCES}
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {f"{target}.{name}" if f"{target}.{name}" in modules else target for target, name in imported(path)}
        edges[module] = {name for name in names if name in modules and name != module}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for following in edges[module]:
                visit(following, (*way, module))
            done.add(module)

    for module in modules:
        visit(module, ())


def test_one_place_calibrates_and_samples() -> None:
    wrong = []
    for path in SOURCES:
        module = module_of(path)
        if module.startswith(MAY_CALIBRATE) or module == "recon.prior.preparation":
            continue
        wrong += [f"{module}: {name}" for source, name in imported(path) if name in ONE_PLACE and "recon" in source]
    assert wrong == []


def test_numpy_arrays_are_transformed_in_one_module() -> None:
    """Centre and norm of a transform are a convention: a second place would hold another."""
    found = [
        module_of(path)
        for path in SOURCES
        if any(text in path.read_text(encoding="utf-8") for text in ("np.fft", "numpy.fft", "scipy.fft", "import fft"))
    ]
    assert found == ["recon.acquisition.fourier_numpy"]


def test_functions_are_short_and_take_few_arguments() -> None:
    long, wide = [], []
    for path in SOURCES:
        for function in functions(path):
            arguments = function.args
            names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            signature = function.body[0].lineno - function.lineno
            if path.parts[len(ROOT.parts)] == "cli":  # a Typer signature is a table of options
                lines = (function.end_lineno or 0) - function.body[0].lineno + 1
            else:
                lines = (function.end_lineno or 0) - function.lineno + 1
                if count > 8:
                    wide.append(f"{path.name}: {function.name} takes {count}")
            if lines > 80:
                long.append(f"{path.name}: {function.name} has {lines} lines ({signature} of signature)")
    assert long == []
    assert wide == []


def test_files_are_small() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    scripts = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "reader_study").rglob("*.js")}
    assert {path.name: count for path, count in {**lengths, **scripts}.items() if count > 400} == {}
    assert median(lengths.values()) < 120


@pytest.mark.parametrize("path", TORCH_FREE)
def test_tables_that_the_command_line_reads_import_nothing_heavy(path: str) -> None:
    """At the top of the file; what is imported within a function waits until it is called."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tops = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in tops}
    assert not {name for name in names if name and name.split(".")[0] in ("torch", "numpy", "h5py", "scipy")}


def test_the_library_neither_prints_nor_exits() -> None:
    said = []
    for path in (ROOT / "recon").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit"):
                said.append(f"{path.name}:{node.lineno}")
    assert said == []


def test_no_method_is_known_by_its_name_outside_the_table() -> None:
    """Comparing an option with the name of a method is how the table would be bypassed."""
    from recon.reconstruction.methods import METHODS

    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                words = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                if set(words) & (set(METHODS) | {"noisy-dds", "stochastic-dds"}):
                    found.append(f"{module_of(path)}:{node.lineno}")
    assert found == []
