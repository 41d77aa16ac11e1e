"""Batch normalisation folded into the convolutions before it, for networks that only answer from here on.

In evaluation mode both are linear maps, and one pass over the activations does the work of two.
"""

from __future__ import annotations

import copy
from collections import Counter

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hello_distill.encoders.padding import UncopiedConv2dSame

CONVOLUTIONS = (nn.Conv2d, Conv2dSame, UncopiedConv2dSame)
"""What is folded into. Not whatever derives from them: that may do more to its weights than convolve with them."""
NORMS = (nn.BatchNorm2d, BatchNormAct2d)
"""What is folded. timm's carries an activation, which stays in its place."""


class _Tracer(fx.Tracer):
    """Follows the calls of a network down to its convolutions and norms; what holds no norm is not looked into."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, (nn.Conv2d, _BatchNorm)) or not has_norms(module)


def has_norms(network: nn.Module) -> bool:
    """Whether batch normalisation is part of it."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def fold_norms(network: nn.Module) -> dict[str, Tensor]:
    """Fold, in place, every batch normalisation that directly follows a convolution.

    Returns what each multiplied its channels by, by the convolution's name. Outputs differ by rounding. The network
    must be in evaluation mode, where a norm that still learns its statistics is left alone. So are layers that have
    several names. A network whose course depends on the values in it cannot be traced: of such a one each part is
    looked at by itself, as if it were called as a whole and in no other way.
    """
    scales = {}
    shared = _of_several_names(network)
    for convolution, norm in _pairs(network):
        if {convolution, norm} & shared:
            continue
        layer, scaled = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(layer, nn.Conv2d) and isinstance(scaled, _BatchNorm)
        scales[convolution] = _scale(scaled)
        _replace(network, convolution, fuse_conv_bn_eval(layer, scaled))
        _replace(network, norm, scaled.act if isinstance(scaled, BatchNormAct2d) else nn.Identity())
    return scales


def without_norms(network: nn.Module) -> nn.Module:
    """What answers as a network does in evaluation mode, but for rounding, in less time: a copy with its norms folded;
    the network itself, in that mode, where it has none."""
    if not has_norms(network):
        return network.eval()
    copied = copy.deepcopy(network).eval()
    fold_norms(copied)
    return copied


@torch.no_grad()
def _scale(norm: _BatchNorm) -> Tensor:
    assert norm.running_var is not None
    root = torch.rsqrt(norm.running_var + norm.eps)
    return root * norm.weight if norm.affine else root


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    holder, _, last = name.rpartition(".")
    setattr(network.get_submodule(holder), last, module)


def _of_several_names(network: nn.Module) -> set[str]:
    """Names of the modules that a network holds in several places."""
    named = list(network.named_modules(remove_duplicate=False))
    times = Counter(id(module) for _, module in named)
    return {name for name, module in named if times[id(module)] > 1}


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the norms that alone see what these give, each called once."""
    if not has_norms(network):
        return []
    try:
        calls = [node for node in _Tracer().trace(network).nodes if node.op == "call_module"]
    except Exception:  # of nearly any class: a network's own code meets values that are none
        parts = network.named_children()
        return [(f"{name}.{layer}", f"{name}.{norm}") for name, part in parts for layer, norm in _pairs(part)]
    times = Counter(node.target for node in calls)
    modules = dict(network.named_modules())
    return [
        (before.target, node.target)
        for node in calls
        for before in node.all_input_nodes
        if before in calls and len(before.users) == 1 and times[before.target] == times[node.target] == 1
        if type(modules[before.target]) in CONVOLUTIONS and _is_fixed(modules[node.target])
    ]


def _is_fixed(module: nn.Module) -> bool:
    """Whether a module is a norm whose statistics are those that it keeps."""
    return type(module) in NORMS and not module.training and module.running_mean is not None
