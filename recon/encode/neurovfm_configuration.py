"""What a ``config.json`` beside NeuroVFM's weights may state: each value that makes a network must be this one's.

Upstream writes ``{"which": "vit", "params": {...}}``, or the same below ``model``. Several settings (heads, the factor
of the position code) leave every tensor its shape, so that another network would load without a word.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recon.encode.neurovfm_network import DEPTH, HEADS, PATCH_VALUES, POSITION_CHANNELS, WIDTH
from recon.errors import ReconError

NETWORK: dict[str, tuple[Any, ...]] = {  # what each key may be
    "which": ("vit", "vit_base"),
    "embed_dim": (WIDTH,),
    "depth": (DEPTH,),
    "num_heads": (HEADS,),
    "prefix_len": (0,),
    "mlp_ratio": (4,),
    "qkv_bias": (True,),
    "token_dim": (PATCH_VALUES, 259),  # upstream's default; without effect, for patches are cut as voxels
    "embed_layer_cf.which": ("voxel",),
    "embed_layer_cf.params.in_chans": (1,),
    "embed_layer_cf.params.embed_dim": (WIDTH - POSITION_CHANNELS,),
    "embed_layer_cf.params.bias": (True,),
    "embed_layer_cf.params.patch_hw_size": (16,),
    "embed_layer_cf.params.patch_d_size": (4,),
    "pos_emb_cf.which": ("pe3d",),
    "pos_emb_cf.params.in_dim": (WIDTH - POSITION_CHANNELS,),
    "pos_emb_cf.params.d": (POSITION_CHANNELS,),
    "pos_emb_cf.params.concat": (True,),
    "pos_emb_cf.params.pe_factor": (1,),
}
# Training, speed, the size of a table, and where a file comes from: none changes what a loaded network computes.
HARMLESS = (
    *("drop_rate", "attn_drop_rate", "drop_path_rate", "init_std", "embed_layer_cf.params.fused_bias_fc"),
    *("pos_emb_cf.params.d_size", "pos_emb_cf.params.hw_size"),
)
ABOUT_THE_FILE = (
    *("normalization_stats", "architectures", "model_type", "license", "name", "version", "torch_dtype", "dtype"),
    *("transformers_version", "_name_or_path"),
)


def check_configuration(config: Mapping[str, Any], path: Path) -> None:
    """Every statement of a configuration against this network. Raises ReconError in one line naming the file."""
    outer = {key: value for key, value in config.items() if key not in ABOUT_THE_FILE and key != "model"}
    inner = config.get("model", {})
    if not isinstance(inner, Mapping):
        raise ReconError(f"{path}: 'model' must be an object with 'which' and 'params', found {_shown(inner)}")
    for stated in (outer, inner):
        check_keys(_unwrapped(stated, path), NETWORK, HARMLESS, path)


def check_keys(
    stated: Mapping[str, Any], network: Mapping[str, Sequence[Any]], harmless: Sequence[str], path: Path
) -> None:
    """Dotted keys against what each may be. Raises ReconError for another value or a key nobody knows."""
    for key, value in _flat(stated):
        if key in harmless:
            continue
        if key not in network:
            raise ReconError(
                f"{path}: key '{key}' is not known here and may make another network; without effect, and let pass, "
                f"are {', '.join(harmless)}"
            )
        if not any(_same(value, allowed) for allowed in network[key]):
            raise ReconError(
                f"{path}: {key} {_shown(value)}, this network has {' or '.join(map(_shown, network[key]))}"
            )


def read_statistics(config: Mapping[str, Any], path: Path, default: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation of MR, the first column of ``normalization_stats``. Raises ReconError."""
    stated = config.get("normalization_stats")
    if stated is None:
        return default
    try:
        mean, deviation = stated[0][0], stated[1][0]
    except (TypeError, IndexError, KeyError) as error:
        raise ReconError(f"{path}: 'normalization_stats' must be [[means], [deviations]]") from error
    if not is_number(mean) or not is_number(deviation) or deviation <= 0:
        raise ReconError(
            f"{path}: 'normalization_stats' has mean {_shown(mean)} and deviation {_shown(deviation)}; both must be "
            "finite numbers, the deviation positive"
        )
    return (float(mean), float(deviation))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number (JSON as Python reads it has NaN and Infinity)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _unwrapped(stated: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``params`` beside ``which`` brought to the top, where older configurations have them."""
    params = stated.get("params", {})
    if not isinstance(params, Mapping):
        raise ReconError(f"{path}: 'params' must be an object, found {_shown(params)}")
    return {**{key: value for key, value in stated.items() if key != "params"}, **params}


def _flat(stated: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in stated.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _same(value: Any, allowed: Any) -> bool:
    """Equal, and no truth value in place of a number."""
    return isinstance(value, bool) == isinstance(allowed, bool) and bool(value == allowed)


def _shown(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str) else str(value)[:60]
