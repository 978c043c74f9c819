"""diffusers without what its U-Net can do without: most of the start of any command that loads the network.

Beside its U-Net, diffusers imports peft, transformers, torchvision and scipy where they are, and torch's compiler, to
mark functions that are not to be compiled. None has a part in the network. A command's process is recon's own and runs
no pipeline of diffusers, so they are not found while modules of diffusers are executed. For all else they are there:
fine-tuning needs peft for LoRA, ``recon speed --compiled`` the compiler. A module of diffusers that cannot do without
is executed again with everything. A program that only imports recon gets the whole of diffusers.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
NOT_NEEDED = ("peft", "transformers", "torchvision", "scipy", COMPILER)


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
            with _shown():
                execute(module)

    return exec_module


@contextmanager
def _hidden() -> Iterator[None]:
    """Make ``NOT_NEEDED`` look as if they were not installed, but for those that are imported already."""
    import torch.compiler

    names = [name for name in NOT_NEEDED if name not in sys.modules]
    compiler: Any = torch.compiler
    disable = compiler.disable

    def disable_if_there(*words: Any, **named: Any) -> Any:  # the real one would import the compiler
        return (_unmarked if COMPILER in sys.modules and sys.modules[COMPILER] is None else disable)(*words, **named)

    _hide(names)
    compiler.disable = disable_if_there
    try:
        yield
    finally:
        compiler.disable = disable
        _unhide(names)


@contextmanager
def _shown() -> Iterator[None]:
    """Undo what modules around this one have hidden."""
    names = _unhide(NOT_NEEDED)
    try:
        yield
    finally:
        _hide([name for name in names if name not in sys.modules])


def _unhide(names: Iterable[str]) -> list[str]:
    """Which of ``names`` were hidden; what was imported stays."""
    hidden = [name for name in names if name in sys.modules and sys.modules[name] is None]
    for name in hidden:
        del sys.modules[name]
    return hidden


def _hide(names: Iterable[str]) -> None:
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(names))  # None stands for what cannot be imported


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """``torch.compiler.disable`` without its mark, with brackets or without."""
    return _unmarked if function is None else function


def keep_diffusers_lean() -> None:
    """From now on, in this process."""
    if not any(isinstance(finder, LeanDiffusers) for finder in sys.meta_path):
        sys.meta_path.insert(0, LeanDiffusers())
