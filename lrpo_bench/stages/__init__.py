"""The stages of a run: what is refused before the first, evaluation, training."""
