"""The judge of tasks that an LLM grades (`tasks.judged`): the endpoint of `eval.judge`, asked while evaluating only.

A call without a reply leaves its response unscored, and so does an endpoint that is down: the evaluation goes on, and
what could not be judged is counted and shown. After a batch in which every call failed, one call tests the endpoint
before the next batch is sent, so that a judge that is down costs its retries once a batch and not once a response.
A wrong key, address or model, and a passed cost limit, end the evaluation in one line.

Training asks its own judge (`train.reward.judge`), of the same kind and through the same client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from lrpo_bench.errors import ConfigError
from lrpo_bench.models.base import Prompt
from lrpo_bench.models.endpoint import CallFailedError, ChatEndpoint, EndpointSettings
from lrpo_bench.reward_config import JudgeConfig
from lrpo_bench.tasks.base import Task
from lrpo_bench.tasks.judged import JudgedTask


class EndpointJudge:
    """Replies of an endpoint, None where it gave none."""

    def __init__(self, endpoint: ChatEndpoint) -> None:
        """Sends nothing before the first batch."""
        self.endpoint = endpoint
        self.problem = ""
        """Why the last batch without any reply had none; empty while the endpoint answers."""

    def __call__(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """One reply a prompt, in order."""
        if not self.problem:
            return self._ask(prompts)
        first = self._ask(prompts[:1])
        return first + ([None] * len(prompts[1:]) if self.problem else self._ask(prompts[1:]))

    def _ask(self, prompts: Sequence[Prompt]) -> list[str | None]:
        try:
            replies = self.endpoint.ask_all(prompts)
        except CallFailedError as error:
            self.problem = str(error)
            return [None] * len(prompts)
        self.problem = ""
        return replies


def judged_tasks(tasks: Iterable[Task]) -> list[JudgedTask]:
    """Those of the tasks that a judge grades."""
    return [task for task in tasks if isinstance(task, JudgedTask)]


def make_judge(tasks: Iterable[Task], config: JudgeConfig) -> EndpointJudge | None:
    """The judge of these tasks; None where none of them needs one.

    Raises:
        ConfigError: when one is needed and not configured, in one line that says what to set.
    """
    names = [task.info.name for task in judged_tasks(tasks)]
    if not names:
        return None
    if config.url is None or config.model is None:
        missing = " and ".join(f"eval.judge.{key}" for key in ("url", "model") if getattr(config, key) is None)
        raise ConfigError(
            f"task {names[0]!r} is graded by a judge: set {missing}, such as "
            "--set eval.judge.url=http://127.0.0.1:8000/v1 --set eval.judge.model=NAME"
        )
    return EndpointJudge(ChatEndpoint(EndpointSettings(**config.model_dump())))


@contextmanager
def judged_by(judge: EndpointJudge | None, tasks: Iterable[Task]) -> Iterator[None]:
    """Within the block, `judge` grades the tasks that need one."""
    judged = judged_tasks(tasks) if judge is not None else []
    for task in judged:
        task.use_judge(judge)
    try:
        yield
    finally:
        for task in judged:
            task.use_judge(None)


def judge_signature(tasks: Iterable[Task], config: JudgeConfig) -> dict[str, object]:
    """What decides grades, for a result's signature; empty where no task is graded by a judge."""
    wording = {task.info.name: task.judge_signature for task in judged_tasks(tasks)}
    if not wording:
        return {}
    return {"model": config.model, "max_completion_tokens": config.max_completion_tokens, "prompts": wording}
