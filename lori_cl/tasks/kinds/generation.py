r"""`generation`: a causal language model writes an answer that is compared with the wanted one.

name: gsm8k
kind: generation
source: {local: gsm8k}
prompt: "Question: {{ question }}\nAnswer:"
answer: " {{ answer }}"
max_new_tokens: 256
stop: ["Question:"]
metric: numeric_match                     # exact_match, numeric_match, f1, rouge_l, …
temperature: 0.0                          # above 0 it samples, seeded for every example on its own
samples: 1                                # the outcome is the mean over so many
"""

from __future__ import annotations

from lori_cl.spec import GenerationSpec
from lori_cl.tasks.kinds.writing import Writing
from lori_cl.tasks.rows import Row


class Generation(Writing):
    """Prompts with one wanted answer each."""

    def check(self, task: GenerationSpec, row: Row, where: str) -> str:
        """An answer is held against its target."""
        return ""
