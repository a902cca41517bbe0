"""What an API server is answered that asks about an object before it stores it. Pure.

An object is refused for what the controller would refuse it for, by the same code and in the same
words (`resources.load`). What depends on other objects is no reason: they may come later, so it
stays a condition. Nor is what was there before: a change that leaves everything but metadata as it
was, such as the removal of a finalizer, must not fail for what somebody else wrote once.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from controlplane.errors import ReviewError
from controlplane.kubernetes.documents import Object, document_of, file_of, key_of
from controlplane.resources.declared import KINDS, ObjectKey
from controlplane.resources.kinds import WEIR_GROUP, group_of
from controlplane.resources.load import Loaded, load

MOST_CHARACTERS = 4096
"""Of what is said of one object."""
MOST_WARNING = 256
"""Characters of a warning: an API server cuts off the rest."""


class _Metadata(msgspec.Struct):
    """What `documents` reads of it."""

    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Request(msgspec.Struct, rename="camel"):
    uid: str
    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    sub_resource: str = ""
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None


class _Review(msgspec.Struct, rename="camel"):
    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: _Request


@dataclass(frozen=True, slots=True)
class Question:
    """May this be stored?"""

    uid: str
    key: ObjectKey | None = None
    """None: there is nothing of ours to look at."""
    item: Object | None = None
    before: Object | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """It may, or why not."""

    faults: tuple[str, ...] = ()
    refused: bool = False


def parse(body: bytes) -> Question:
    """Raises `ReviewError` for what is no review."""
    try:
        asked = msgspec.json.decode(body, type=_Review).request
        item = asked.object
        if asked.operation not in ("CREATE", "UPDATE") or asked.sub_resource or item is None:
            return Question(asked.uid)
        model = KINDS.get(str(item.get("kind")))
        if model is None or group_of(model) != WEIR_GROUP:
            return Question(asked.uid)
        msgspec.convert(item.get("metadata"), _Metadata)
        if not isinstance(item.get("apiVersion"), str):
            raise ReviewError("no review: the object has no apiVersion")
    except (msgspec.DecodeError, RecursionError) as error:
        raise ReviewError(f"no review of admission.k8s.io/v1: {error}") from error
    return Question(asked.uid, key_of(item), item, asked.old_object)


def judge(question: Question, policies: Collection[str] | None) -> Answer:
    """`policies` are the policies there are; None: they are not checked."""
    if question.key is None or question.item is None:
        return Answer()
    document = {file_of(question.key): document_of(question.item)}
    refusals = load(Loaded(), document, policies).refusals
    faults = tuple(one.words for one in refusals)
    before = question.before
    unchanged = before is not None and _meant(before) == _meant(question.item)
    return Answer(faults, refused=bool(faults) and not unchanged)


def response(question: Question, answer: Answer) -> bytes:
    """The review that is sent back."""
    said: dict[str, Any] = {"uid": question.uid, "allowed": not answer.refused}
    if answer.refused:
        said["status"] = {
            "status": "Failure",
            "reason": "Invalid",
            "code": 422,
            "message": f"{question.key}: {'; '.join(answer.faults)}"[:MOST_CHARACTERS],
        }
    elif answer.faults:
        said["warnings"] = [one[:MOST_WARNING] for one in answer.faults]
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said}
    return msgspec.json.encode(review)


def _meant(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("metadata", "status")}
