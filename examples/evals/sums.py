"""The demo's held-out questions as tasks of Inspect.
  npx srlm eval RUN --with inspect --task examples/evals/sums.py@sums
  npx srlm eval RUN --with inspect --completions --task examples/evals/sums.py@surprise"""

import os

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import pattern, perplexity
from inspect_ai.solver import generate

# Inspect works in the folder of this file.
QUESTIONS = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.srlm/demo/narrow/evaluation.jsonl"))


@task
def sums():
    """Greedy replies; right is the number after "Answer:"."""
    dataset = json_dataset(QUESTIONS, FieldSpec(input="question", target="answer", id="id"))
    return Task(dataset=dataset, solver=generate(temperature=0, max_tokens=80), scorer=pattern(r"Answer:\s*(\d+)"))


@task
def surprise():
    """The perplexity of the questions themselves."""
    dataset = json_dataset(QUESTIONS, FieldSpec(input="question", id="id"))
    return Task(dataset=dataset, solver=generate(max_tokens=1, prompt_logprobs=1), scorer=perplexity())
