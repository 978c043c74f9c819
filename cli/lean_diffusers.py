"""diffusers without what its U-Net can do without: most of the start of any command that loads the network.

Beside its U-Net, diffusers imports peft, transformers, torchvision and scipy where they are, and torch's compiler, to
mark functions that are not to be compiled. None has a part in the network. A command's process is recon's own and runs
no pipeline of diffusers, so they are not found while modules of diffusers are executed. For all else they are there:
fine-tuning needs peft for LoRA, ``recon speed --compiled`` the compiler. A module of diffusers that cannot do without
is executed again with everything. A program that only imports recon gets the whole of diffusers.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NOT_NEEDED = ("peft", "transformers", "torchvision", "scipy", "torch._dynamo")


class LeanDiffusers(MetaPathFinder):
    """Finds the modules of diffusers, and hides ``NOT_NEEDED`` while they are executed."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The spec of a module of diffusers; None for all others, for which the ordinary finders are asked."""
        if fullname.partition(".")[0] != "diffusers":
            return None
        spec: ModuleSpec | None = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = _leanly(loader.exec_module)
        return spec


def _leanly(execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType) -> None:
        try:
            with _hidden():
                execute(module)
        except ImportError:
            execute(module)

    return exec_module


@contextmanager
def _hidden() -> Iterator[None]:
    """Make ``NOT_NEEDED`` look as if they were not installed, but for those that are imported already."""
    import torch.compiler

    names = [name for name in NOT_NEEDED if name not in sys.modules]
    modules: dict[str, Any] = dict.fromkeys(names)  # None stands for what cannot be imported
    sys.modules.update(modules)
    compiler: Any = torch.compiler
    disable = compiler.disable
    if "torch._dynamo" in names:
        compiler.disable = _unmarked  # it would import the compiler
    try:
        yield
    finally:
        compiler.disable = disable
        for name in names:
            sys.modules.pop(name, None)


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """``torch.compiler.disable`` without its mark, with brackets or without."""
    return _unmarked if function is None else function


def keep_diffusers_lean() -> None:
    """From now on, in this process."""
    if not any(isinstance(finder, LeanDiffusers) for finder in sys.meta_path):
        sys.meta_path.insert(0, LeanDiffusers())
