"""A command's flags made from option dataclasses, so that an option is declared once (``recon.options``)."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from recon.errors import ReconError
from recon.options import REQUIRED, OptionFacts, option_facts

Result = TypeVar("Result")
SCALARS = {int: "INTEGER", float: "FLOAT", str: "TEXT"}


class Given(dict[str, Any]):
    """The flags that the user gave, by field name; hand it to ``recon.configuration.load_config``."""

    def of(self, kind: type) -> dict[str, Any]:
        """Those that are fields of ``kind``, for a command with the flags of several dataclasses."""
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: value for name, value in self.items() if name in names}


def with_options(
    *kinds: type,
    leave_out: tuple[str, ...] = (),
    show_defaults: bool = True,
    remarks: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Give a Typer command a flag for every field of the dataclasses ``kinds``, in place of its parameter ``Given``.

    A flag that was not given is absent from that parameter, so that the YAML file and then the dataclass decide. Nested
    dataclasses and mappings are keys of YAML only. Fields of one name in two dataclasses share one flag.
    ``show_defaults`` is for commands whose defaults come from a recipe. ``remarks`` by field end its help: what only
    the command can know, such as the rows of a table.

        @with_options(ReconstructionOptions, leave_out=("batch",))
        def reconstruct(scans: ..., given: Given, as_json: ... = False) -> None:

    Raises TypeError for a field without help, a name in ``leave_out`` that no field has, or a command without Given.
    """
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    if strangers := set(leave_out) - known:
        raise TypeError(f"leave_out names no field: {', '.join(sorted(strangers))}")
    flags: dict[str, inspect.Parameter] = {}
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if field.name not in leave_out and field.name not in flags and not _only_in_yaml(hints[field.name]):
                remark = (remarks or {}).get(field.name, "")
                flags[field.name] = _parameter(kind, field, hints[field.name], show_defaults, remark)

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        hints = typing.get_type_hints(command, include_extras=True)
        place = next((name for name, hint in hints.items() if hint is Given), None)
        if place is None:
            raise TypeError(f"{command.__name__}: no parameter of type Given takes the flags")
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            if name == place:
                parameters += flags.values()
            elif name in flags:
                raise TypeError(f"{command.__name__}: parameter '{name}' is a field, too")
            else:
                parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

        @wraps(command)
        def run(**values: Any) -> Result:
            given = Given({name: values[name] for name in flags if values[name] is not None})
            own = {name: value for name, value in values.items() if name not in flags}
            return command(**own, **{place: given})

        result = hints.get("return", inspect.Signature.empty)
        run.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameter(
    kind: type, field: "dataclasses.Field[Any]", hint: Any, show_default: bool, remark: str
) -> inspect.Parameter:
    """The field as a parameter of a Typer command: None unless given, but for required ones."""
    facts = option_facts(field)
    if facts is None or not facts.help.strip():
        raise TypeError(f"{kind.__name__}.{field.name} has no help; declare it with recon.options.option")
    name = field.name.replace("_", "-")
    described = f"{_help(facts, field.default, show_default)} {remark}".strip()
    settings: dict[str, Any] = {"help": described, "show_default": False}
    bare = _without_none(hint)
    annotation: Any = bare
    declared = facts.flag or (f"--{name}/--no-{name}" if bare is bool else f"--{name}")
    if facts.read is not None:
        annotation, settings["parser"], settings["metavar"] = str, _reader(facts.read), "TEXT"
    elif typing.get_origin(bare) is typing.Literal:
        choices = typing.get_args(bare)
        annotation, settings["parser"] = str, _chooser(choices)
        settings["metavar"] = f"[{'|'.join(map(str, choices))}]"
    elif typing.get_origin(bare) is tuple:
        annotation, settings["parser"] = str, _lister(bare)
        settings["metavar"] = _list_name(bare)
    elif bare in SCALARS:
        settings["metavar"] = SCALARS[bare]
        if facts.minimum is not None:
            settings["min"] = facts.minimum
    elif bare is not bool:
        raise TypeError(f"{kind.__name__}.{field.name}: no flag can be made of {hint}; name it in leave_out")
    if facts.metavar is not None:
        settings["metavar"] = facts.metavar
    option: Any = typer.Option(declared, **settings)
    if field.default is REQUIRED:
        return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, option])
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, option]
    )


def _help(facts: OptionFacts, default: Any, show_default: bool) -> str:
    """The help with the default by one rule: as it would be typed; what None means is said by the help itself."""
    text = facts.help.strip()
    if not show_default or default is None or default is REQUIRED:
        return text
    if isinstance(default, bool):
        shown = "yes" if default else "no"
    elif isinstance(default, tuple):
        shown = ",".join(_typed(entry) for entry in default) or "none"
    else:
        shown = _typed(default) or "none"
    return f"{text} Default: {shown}."


def _typed(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_none(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [entry for entry in typing.get_args(hint) if entry is not type(None)]
        return others[0] if len(others) == 1 else hint
    return hint


def _only_in_yaml(hint: Any) -> bool:
    bare = _without_none(hint)
    return dataclasses.is_dataclass(bare) or typing.get_origin(bare) is dict


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """``read`` whose complaint names the flag, too."""

    def convert(word: str) -> Any:
        try:
            return read(word)
        except ReconError as error:
            raise typer.BadParameter(str(error)) from error

    return convert


def _chooser(choices: tuple[Any, ...]) -> Callable[[str], Any]:
    """A word that is one of ``choices``."""
    by_word = {str(choice): choice for choice in choices}

    def choose(word: str) -> Any:
        if word not in by_word:
            raise typer.BadParameter(f"'{word}' is not one of {', '.join(by_word)}")
        return by_word[word]

    return choose


def _entries(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """The types in a tuple's hint, and whether it may have any number of the first."""
    arguments = typing.get_args(hint)
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    return (arguments[:1] if endless else arguments), endless


def _lister(hint: Any) -> Callable[[str], tuple[Any, ...]]:
    """Words with commas between them as a tuple of the types in ``hint``."""
    kinds, endless = _entries(hint)

    def entry(word: str, kind: Any) -> Any:
        if typing.get_origin(kind) is typing.Literal:
            return _chooser(typing.get_args(kind))(word)
        try:
            return kind(word)
        except ValueError:
            raise typer.BadParameter(f"'{word}' is no {SCALARS[kind].lower()}") from None

    def read(text: str) -> tuple[Any, ...]:
        words = [word.strip() for word in text.split(",")]
        if not all(words) or (not endless and len(words) != len(kinds)):
            raise typer.BadParameter(f"'{text}' should be {_list_name(hint)}: values with commas between them")
        wanted = kinds * len(words) if endless else kinds
        return tuple(entry(word, kind) for word, kind in zip(words, wanted, strict=True))

    return read


def _list_name(hint: Any) -> str:
    """How a list is called in the help: ``FLOAT,...`` or ``INTEGER,INTEGER``."""
    kinds, endless = _entries(hint)
    names = []
    for kind in kinds:
        literal = typing.get_origin(kind) is typing.Literal
        names.append(f"[{'|'.join(map(str, typing.get_args(kind)))}]" if literal else SCALARS[kind])
    return f"{names[0]},..." if endless else ",".join(names)
