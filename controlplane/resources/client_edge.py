"""What a listener does by itself: it refuses early data, and has answers of its own. The words are
those of Envoy Gateway's ClientTrafficPolicy where it has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from controlplane.resources.kinds import Fields, Integer

EarlyData = Literal["Accept", "RejectUnsafe"]
Status = Annotated[Integer, Field(ge=200, le=599)]


class LocalReply(Fields):
    """Answers that Envoy makes by itself, such as 404 without a route."""

    status_codes: tuple[Status, ...] = Field(
        default=(), max_length=16, description="Those with one of these; none given: all."
    )
    accept: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+*/-]{1,100}$")] | None = Field(
        default=None,
        description="Those to clients whose `accept` holds this text, such as `json`; not given: "
        "to all.",
    )
    status: Status | None = Field(default=None, description="Another status in its place.")
    content_type: (
        Annotated[
            str, StringConstraints(pattern=r"^[a-z]+/[A-Za-z0-9.+-]+(; ?charset=[A-Za-z0-9-]+)?$")
        ]
        | None
    ) = Field(default=None, description="Default: `application/json` with `json`.")
    body: Annotated[str, StringConstraints(min_length=1, max_length=16 * 1024)] | None = Field(
        default=None,
        description="The body, with Envoy's command operators, such as `%RESPONSE_CODE%` and "
        "`%LOCAL_REPLY_BODY%`, what Envoy would have said.",
    )
    json_: (
        Annotated[
            dict[Annotated[str, StringConstraints(min_length=1, max_length=100)], str],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = Field(
        default=None,
        alias="json",
        description="The body as a JSON object, with such operators in its values; in place of "
        "`body`.",
    )

    @model_validator(mode="after")
    def _one_body(self) -> LocalReply:
        if (self.body is None) == (self.json_ is None):
            raise ValueError("an answer has either body or json, exactly one of them")
        return self
