"""The model card: what a released policy is for, how good it is, and where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controlplane.checkout import short
from policies.league.lineage import Seen, lineage
from policies.league.tables import interval
from policies.league.targets import REGIONS


def card(
    manifest: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    importance: Mapping[str, Any] | None = None,
) -> str:
    """Markdown, from the documents of the release alone: no number is written by hand."""
    recipe, training = manifest["recipe"], manifest["training"]
    lines = [
        f"# {manifest['name']}",
        "",
        f"A residual on `{manifest['base']}`: each second it multiplies the share of each group of "
        f"endpoints by exp(r), |r| <= {manifest['bound']}, before the guard checks the result.",
        "",
        "- **Use**: services balanced by group weights, several groups. With one group, or with "
        "endpoint weights, its base acts unchanged.",
        f"- **Made by**: {recipe['algorithm'].upper()}, recipe `{recipe['name']}`, seed "
        f"{recipe['seed']}, {training['steps']} steps asked for (the last rollout is played to its "
        f"end), best policy at step {training['step']}, commit `{short(manifest['commit'])}`.",
        *trained_on(manifest),
        f"- **Digest**: `{manifest['digest']}`",
        "",
        "## Held-out evaluation",
        "",
        "Cases with seeds, sizes or families that training never saw; every policy meets the same "
        "requests. Geometric mean of the ratios of mean latency (and of p99), with 95 % intervals "
        "by paired bootstrap over services. Below 1 is better.",
        "",
        *table(evaluation),
        "",
        *(_goes_by(importance) if importance is not None else ()),
        "## Limits",
        "",
        *_limits(evaluation),
        "- The simulator has no network, no connections and no retries; an endpoint is one queue.",
        _not_trained_on(manifest),
        "",
    ]
    return "\n".join(lines)


def trained_on(manifest: Mapping[str, Any]) -> Iterator[str]:
    """A line for each run of its lineage; raises as that does."""
    whose = "- **Trained on**"
    for one in lineage(manifest):
        yield f"{whose} {_met(one.recipe, one.log)}"
        if one.began_as is not None:
            said = one.began_as
            whose = f"- **Began as** `{said['release']}` (digest `{said['digest']}`), trained on"


def _met(recipe: Mapping[str, Any], log: Mapping[str, Any] | None) -> str:
    if log is not None:
        return (
            f"{log['decisions']} decisions about {log['services']} services that "
            f"were served; their log has the digest `{log['digest']}`."
        )
    scenarios = recipe["scenarios"]
    parts = []
    if scenarios["families"]:
        parts.append(
            f"families {_list(scenarios['families'])}; {_list(scenarios['endpoints'])} endpoints; "
            f"{_list(scenarios['proxies'])} proxies"
        )
    for one in scenarios.get("fitted", ()):
        said = one["scenario"]
        parts.append(
            f"`{said['name']}`, fitted to {said['duration_s']:g} s of recorded metrics "
            f"({len(said['capacity_rps'])} endpoints, {said['proxies']} proxies, digest "
            f"`{one['digest']}`)"
        )
    return f"the simulator only: {'; '.join(parts)}."


def _not_trained_on(manifest: Mapping[str, Any]) -> str:
    regions = "" if Seen.of(manifest).families & set(REGIONS) else ", several regions"
    return (
        f"- Sessions that hold traffic in place{regions} and endpoint weights were not trained on."
    )


MOST_IMPORTANT = 10


def _goes_by(importance: Mapping[str, Any]) -> list[str]:
    """What the policy goes by: features by effect, or by swap where it decides in steps."""
    features = importance["features"]

    def size(name: str, measure: str) -> float:
        return float(features[name][measure] or 0.0)

    smooth = all(one["effect"] is not None for one in features.values())
    names = sorted(features, key=lambda one: -size(one, "effect" if smooth else "swap"))
    missed = importance["unexplained"] / max(importance["moved"], 1e-9)
    lines = [
        "## What it goes by",
        "",
        f"Over {importance['decisions']} decisions on held-out cases a share was moved by "
        f"{importance['moved']:.1%} in the mean (log of wanted over base). Effect: integrated "
        "gradients, the mean size of what a feature did, from groups that are alike. Swap: how far "
        "a share moves when the feature is exchanged with another service's, which tells of "
        "features of the whole service, too.",
        "",
        f"Effects and what was done differ by {missed:.1%}."
        if smooth
        else "It decides in steps, so there are no gradients to integrate.",
        "",
        "| feature | effect | swap |",
        "|---|---|---|",
    ]
    for name in names[:MOST_IMPORTANT]:
        effect = f"{size(name, 'effect'):.2%}" if smooth else "-"
        lines.append(f"| `{name}` | {effect} | {size(name, 'swap'):.2%} |")
    return [*lines, "", "![importance of every feature](importance.png)", ""]


def rows(evaluation: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, comparisons) in the order in which tables show them."""
    named = [(k, v) for k, v in evaluation.items() if isinstance(v, dict) and "learned/model" in v]
    named += [(f"held-out {k}", v) for k, v in evaluation.get("held out", {}).items()]
    return named + list(evaluation.get("families", {}).items())


def table(evaluation: Mapping[str, Any]) -> list[str]:
    """The evaluation as a table in Markdown."""
    lines = [
        "| cases | n | learned / model, mean | p99 | learned / FULL_SCAN, mean | p99 |"
        " model / FULL_SCAN, mean | errors learned, model |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, block in rows(evaluation):
        ours, stock, base = block["learned/model"], block["learned/equal"], block["model/equal"]
        errors = ", ".join(f"{value:.3%}" for value in ours["errors"])
        lines.append(
            f"| {name} | {ours['cases']} | {interval(ours['mean'])} | {interval(ours['p99'])} |"
            f" {interval(stock['mean'])} | {interval(stock['p99'])} | {interval(base['mean'])} |"
            f" {errors} |"
        )
    return lines


def _limits(evaluation: Mapping[str, Any]) -> list[str]:
    means = {k: v["learned/model"]["mean"] for k, v in evaluation.get("families", {}).items()}
    worse = [f"`{k}` {interval(mean)}" for k, mean in means.items() if round(mean[0], 3) > 1.0]
    if not worse:
        return ["- In no family was its mean latency above its base's, in three digits."]
    return [f"- In these families its mean latency was above its base's: {', '.join(worse)}."]


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)
