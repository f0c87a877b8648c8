"""Answers that a log already holds, into the journal: they count as their model's own, and nobody pays for them again.

A logged answer is that of a model of the pool by the pool's name for it, by the model id that its endpoint knows, or by a name
in ``same_as``; an id that several candidates share (one model at two efforts) says of none of them that it is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from auto_router.collect.endpoint import digest_images
from auto_router.collect.exchange import Exchange, request_key
from auto_router.collect.journal import Journal
from auto_router.collect.plan import Plan
from auto_router.collect.question import LoggedAnswer, Question, question_messages
from auto_router.collect.reply import Response
from auto_router.collect.runner import EndpointClient
from auto_router.data.pool import PoolModel

AT_ONCE = 500  # exchanges in one commit
MAX_NAMES = 5  # of models outside the pool that a line tells


def record_logged(callers: Sequence[EndpointClient], plan: Plan, journal: Journal) -> list[str]:
    """Commit the logged answers of a plan's questions that are not there yet; return lines that say how many count.

    Raises:
        DataError: the data set cannot be read any more, or the journal cannot be written.
    """
    if not plan.source.recipe.has_logged:
        return []
    counted, others = Counter[str](), Counter[str]()
    waiting: list[Exchange] = []
    for question in plan.questions():
        if question.logged is None:
            continue
        caller = find_caller(callers, question.logged.model)
        if caller is None:
            others[question.logged.model] += 1
            continue
        counted[caller.model.name] += 1
        waiting += _exchanges(caller, question, question.logged)
        if len(waiting) >= AT_ONCE:
            journal.put(*waiting)
            waiting = []
    journal.put(*waiting)
    return [*(f"{count:,} answers of {name} are in the log and are not paid for again" for name, count in counted.items())] + (
        [_tell_others(others, [caller.model for caller in callers])] if others else []
    )


def find_caller(callers: Sequence[EndpointClient], name: str) -> EndpointClient | None:
    """Return the one model that a log's name means; None where it means none, or may mean several."""
    by_name = [caller for caller in callers if caller.model.name == name]
    found = by_name or [caller for caller in callers if name == caller.model.model or name in caller.model.same_as]
    return found[0] if len(found) == 1 else None


def _exchanges(caller: EndpointClient, question: Question, logged: LoggedAnswer) -> Iterator[Exchange]:
    if question.images and not caller.model.facts.takes_images:
        return
    request = caller.endpoint.request(question_messages(question, caller.fit_images_now(question.images)))
    digested = digest_images(request)
    key = request_key(digested)
    if caller.find_recorded(digested, key) is None:
        answer = Response(logged.response, logged.prompt_tokens, logged.completion_tokens, billed_usd=logged.cost, discount=1.0)
        yield Exchange(digested, answer, caller.endpoint.address, cost_usd=0.0, tries=0, key=key)


def _tell_others(others: Counter[str], models: Sequence[PoolModel]) -> str:
    named = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(MAX_NAMES))
    shared = [name for name in others if any(name == model.model for model in models)]
    more = f"; {', '.join(shared)} is the id of several candidates: name one of them so" if shared else ""
    return (
        f"{others.total():,} answers in the log are of no model of this pool and do not count: {named}; where such a name "
        f"means one of its models, list it in that model's same_as{more}"
    )
