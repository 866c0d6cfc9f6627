"""Task kinds: how examples are read, trained on and answered.

To add one: declare its fields in `lori_cl/spec/kinds.py`, write `lori_cl/tasks/kinds/NAME.py` with a
subclass of `Kind`, and register it here.
"""

from lori_cl.plugins import Implementations
from lori_cl.spec import ClassificationSpec, TaskSpec
from lori_cl.tasks.kinds.base import Architecture, Batch, Features, Kind
from lori_cl.tasks.kinds.classification import Classification
from lori_cl.tasks.kinds.code import Code
from lori_cl.tasks.kinds.generation import Generation
from lori_cl.tasks.kinds.label_likelihood import LabelLikelihood
from lori_cl.tasks.kinds.lm_eval import LMEval
from lori_cl.tasks.kinds.multiple_choice import MultipleChoice
from lori_cl.tasks.kinds.safety import Safety

KINDS = Implementations[Kind](
    "lori_cl.task_kinds",
    {
        "classification": Classification(),
        "multiple_choice": MultipleChoice(),
        "generation": Generation(),
        "code": Code(),
        "safety": Safety(),
        "lm-eval": LMEval(),
    },
    Kind,
)
_LABEL_LIKELIHOOD = LabelLikelihood()


def kind_of(task: TaskSpec) -> Kind:
    """Return the kind of a task; a classification with a prompt uses a language model."""
    # The kind of a plugin may subclass ClassificationSpec, so its name is compared too.
    if isinstance(task, ClassificationSpec) and task.kind == "classification" and task.prompt is not None:
        return _LABEL_LIKELIHOOD
    return KINDS[task.kind]


__all__ = ["KINDS", "Architecture", "Batch", "Features", "Kind", "kind_of"]
