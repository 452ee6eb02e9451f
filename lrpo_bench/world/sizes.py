"""The world's policy at larger sizes: the same recipe, tokenizer and corpus, more layers and width.

For measuring speed on hardware that 2M parameters do not fill (`lrpo-bench world build --size 100M`). Shapes follow
common practice, heads of 64 and as many layers as heads; learning rates fall with the square root of the width, which
keeps training stable but was not tuned: a larger world is for timing, not for accuracy.
"""

from __future__ import annotations

import re

from lrpo_bench.errors import ConfigError
from lrpo_bench.world.profile import PolicyRecipe

HEAD_SIZE = 64
LARGEST_WIDTH = 8192
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def parse_size(text: str) -> int:
    """A number of parameters written as people write it.

    Raises:
        ConfigError: for anything else.

    Example:
        >>> parse_size("100M"), parse_size("1.5b")
        (100000000, 1500000000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMB]?)", text.strip().upper())
    if not found or not float(found[1]):
        raise ConfigError(f"--size is {text!r}; give a number of parameters such as 50M, 100M or 1.5B")
    return round(float(found[1]) * _UNITS[found[2]])


def parameter_count(recipe: PolicyRecipe) -> int:
    """Parameters of a policy of this recipe: tied embeddings, attention, gated feed-forward layers, norms."""
    width = recipe.hidden_size
    layer = 4 * width**2 + 3 * width * recipe.intermediate_size + 2 * width
    return recipe.vocabulary * width + recipe.layers * layer + width


def sized(recipe: PolicyRecipe, parameters: int) -> PolicyRecipe:
    """The recipe with a policy of about as many parameters, the nearest of the shapes that the module describes.

    Raises:
        ConfigError: if even the smallest or largest shape is more than a third off.
    """
    shapes = [_shaped(recipe, width) for width in range(HEAD_SIZE, LARGEST_WIDTH + 1, HEAD_SIZE)]
    nearest = min(shapes, key=lambda shape: abs(parameter_count(shape) - parameters))
    if not 2 / 3 < parameter_count(nearest) / parameters < 4 / 3:
        raise ConfigError(
            f"a policy of {parameters:,} parameters is out of range: the nearest shape has "
            f"{parameter_count(nearest):,}; choose a size from {parameter_count(shapes[0]):,} to "
            f"{parameter_count(shapes[-1]):,}"
        )
    return nearest


def _shaped(recipe: PolicyRecipe, width: int) -> PolicyRecipe:
    slower = (recipe.hidden_size / width) ** 0.5
    return recipe.model_copy(
        update={
            "hidden_size": width,
            "heads": width // HEAD_SIZE,
            "layers": max(2, width // HEAD_SIZE),
            "intermediate_size": 11 * width // 4 // HEAD_SIZE * HEAD_SIZE,
            "learning_rate": recipe.learning_rate * slower,
            "embedding_learning_rate": recipe.embedding_learning_rate * slower,
        }
    )
