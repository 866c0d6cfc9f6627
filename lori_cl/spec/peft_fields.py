"""Fields of PEFT's `LoraConfig` in a curriculum: their names here, or why they are not supported."""

from __future__ import annotations

from collections.abc import Mapping

PEFT_FIELDS: Mapping[str, str] = {
    "r": "PEFT's 'r' is 'adapter.rank' here",
    "lora_alpha": "PEFT's 'lora_alpha' is 'adapter.alpha' here",
    "target_modules": "PEFT's 'target_modules' is 'adapter.targets' here: all-linear, or suffixes of names",
    "lora_dropout": (
        "dropout in the adapter is not supported, because with a frozen A it makes autograd keep every input "
        "of a site, which gives back most of the memory that a frozen A saves; remove it"
    ),
    "use_rslora": (
        "the scale is always alpha / rank; for the scale of rsLoRA, set adapter.alpha to lora_alpha · √rank "
        "and remove it"
    ),
    "use_dora": "DoRA is not supported, because its magnitudes would be shared by all tasks; remove it",
    "bias": "biases are part of the frozen base model, as with PEFT's bias: none; remove it",
    "task_type": "the 'kind' of the tasks decides which model class is loaded; remove it",
    "modules_to_save": (
        "only the adapter and the heads of classification tasks are trained, the base model is frozen; "
        "remove it"
    ),
    "init_lora_weights": "A is drawn as 'adapter.distribution' says, and B starts at 0; remove it",
    "layers_to_transform": "sites are selected by name only, with 'adapter.targets'; remove it",
    "rank_pattern": "every site has the rank 'adapter.rank'; remove it",
    "alpha_pattern": "every site has the scale adapter.alpha / adapter.rank; remove it",
    "peft_type": "'method' selects the adapter; remove it",
}
"""What an error says about a field of PEFT that is no field here."""
