"""Broken files picked by hand: such as cannot be read at all, or not as what they are meant for."""

from __future__ import annotations

from controlplane.resources.read import MAX_DEPTH, MAX_DOCUMENTS, MAX_FILE_BYTES
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{now}: &{now} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, now in zip("abcdefgh", "bcdefghi", strict=True)
)
_HALF = len(BACKEND) // 2

# name, file that is broken, content, line, field, words of message or advice
FILES: list[tuple[str, str, str | bytes, int, str, str]] = [
    ("tab for spaces", "backend.yaml", BACKEND.replace("  endpoints:", "\tendpoints:"), 5, "",
     "not YAML"),
    ("tab within", "backend.yaml", BACKEND.replace("      zone: a", "\t zone: a"), 8, "",
     "not YAML"),
    ("a colon too few", "backend.yaml", BACKEND.replace("spec:", "spec"), 5, "", "not YAML"),
    ("a bracket left open", "gateway.yaml", GATEWAY.replace("HTTP}", "HTTP"), 7, "", "not YAML"),
    ("a quote left open", "gateway.yaml", GATEWAY.replace("weir", "'weir"), 7, "", "not YAML"),
    ("less deep than before", "route.yaml", ROUTE.replace("    - name", "  name"), 6, "spec.name",
     "no such field"),
    ("cut off", "backend.yaml", BACKEND[:_HALF], 6, "", ""),
    ("a key twice", "backend.yaml", BACKEND + "spec: {}\n", 10, "spec", "written twice"),
    ("a key twice, deep", "gateway.yaml", GATEWAY.replace("port: 8080", "port: 1, port: 2"), 7,
     "spec.listeners[0].port", "written twice"),
    ("a merge key", "backend.yaml", BACKEND.replace("  endpoints", "  <<: {a: 1}\n  endpoints"),
     5, "spec", "plain text"),
    ("a key that is a list", "backend.yaml", BACKEND + "? [a, b]\n: c\n", 10, "", "plain text"),
    ("aliases of aliases", "backend.yaml", LAUGHS, 1, "", "aliases"),
    ("an alias of nothing", "backend.yaml", BACKEND.replace("zone: a", "zone: *a"), 8, "",
     "not YAML"),
    ("it holds itself", "backend.yaml", BACKEND + "more: &m {a: *m}\n", 10, "more", "deeper"),
    ("deep brackets", "backend.yaml", f"a: {'[' * (MAX_DEPTH + 1)}{']' * (MAX_DEPTH + 1)}\n", 1,
     "", "deeper"),
    ("code", "backend.yaml", BACKEND.replace("zone: a", "zone: !!python/name:os.system x"), 8,
     "spec.endpoints[0].zone", "plain value"),
    ("binary", "backend.yaml", BACKEND.replace("zone: a", "zone: !!binary aGFsbG8="), 8,
     "spec.endpoints[0].zone", "plain value"),
    ("a tag that lies", "backend.yaml", BACKEND.replace("zone: a", "zone: !!int five"), 8,
     "spec.endpoints[0].zone", "quote"),
    ("not UTF-8", "backend.yaml", BACKEND.encode().replace(b"zone: a", b"zone: \xff"), 8, "",
     "UTF-8"),
    ("UTF-16", "backend.yaml", BACKEND.encode("utf-16"), 1, "", "UTF-8"),
    ("NUL", "backend.yaml", BACKEND.replace("zone: a", "zone: \x00"), 1, "", "not YAML"),
    ("huge", "backend.yaml", BACKEND + "#" * MAX_FILE_BYTES, 0, "", "split it"),
    ("documents without end", "backend.yaml", "---\na: 1\n" * (MAX_DOCUMENTS + 1),
     2 * MAX_DOCUMENTS + 1, "", "split the file"),
    ("a list", "backend.yaml", f"- {BACKEND.splitlines()[0]}\n", 1, "", "a document is a mapping"),
    ("words", "backend.yaml", "web: is at 10.0.0.1\n", 1, "kind", "is missing"),
    ("one word", "backend.yaml", "web\n", 1, "", "a document is a mapping"),
    ("a number", "backend.yaml", "# its port\n8080\n", 2, "", "a document is a mapping"),
    ("no kind", "backend.yaml", BACKEND.replace("kind: Backend\n", ""), 1, "kind", "is missing"),
    ("a kind that is a list", "backend.yaml", BACKEND.replace("kind: Backend", "kind: [Backend]"),
     2, "kind", ""),
    ("a kind of others", "backend.yaml", BACKEND.replace("kind: Backend", "kind: Lambda"), 2,
     "kind", "is not served"),
    ("no apiVersion", "backend.yaml", BACKEND.partition("\n")[2], 1, "apiVersion",
     "weir.dev/v1alpha1"),
    ("another apiVersion", "route.yaml", ROUTE.replace("/v1", "/v1beta2"), 1, "apiVersion",
     "gateway.networking.k8s.io/v1"),
    ("apiVersion of others", "policy.yaml", POLICY.replace("weir.dev", "gateway.envoyproxy.io"),
     1, "apiVersion", "weir.dev/v1alpha1"),
    ("no metadata", "backend.yaml", BACKEND.replace("metadata: {name: web}\n", ""), 1, "metadata",
     "is missing"),
    ("metadata that is a list", "backend.yaml", BACKEND.replace("{name: web}", "[web]"), 3,
     "metadata", "want a mapping"),
    ("a number for a name", "backend.yaml", BACKEND.replace("name: web", "name: 8080"), 3,
     "metadata.name", "put it in quotes"),
    ("capitals in a namespace", "backend.yaml",
     BACKEND.replace("name: web}", "name: web, namespace: Team}"), 3, "metadata.namespace",
     "lower-case"),
    ("renamed and broken at once", "backend.yaml",
     BACKEND.replace("name: web", "name: shop").replace("8080", "80800", 1), 6,
     "spec.endpoints[0].ip.port", "65535"),
    ("no spec", "backend.yaml", BACKEND.partition("spec")[0], 1, "spec", "is missing"),
    ("an empty spec", "backend.yaml", BACKEND.partition("  endpoints")[0], 4, "spec",
     "is missing"),
    ("the second of two", "backend.yaml", joined(BACKEND, BACKEND.replace("zone", "zones")
     .replace("name: web", "name: shop")), 18, "spec.endpoints[0].zones", '"zone"'),
    ("another one of the name", "copy.yaml", BACKEND.replace("10.0.0.1", "10.0.0.9"), 3,
     "metadata.name", "declared already at backend.yaml:1"),
]  # fmt: skip
