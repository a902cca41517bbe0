"""The official Python client against the test server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import kubernetes
import kubernetes.aio
import kubernetes.dynamic
import kubernetes.informer
import pytest
from kubernetes import aio

from tests.kubernetes import samples
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.samples import widget

# Its type hints are there for some of its parts alone.
client: Any = kubernetes.client
config: Any = kubernetes.config
watches: Any = kubernetes.watch
dynamic: Any = kubernetes.dynamic
informer: Any = kubernetes.informer
aio_client: Any = aio.client
aio_config: Any = aio.config
aio_watch: Any = aio.watch

WAIT_S = 10.0
HERE = ("test.weir.dev", "v1", "default", "widgets")


@pytest.fixture
def api(api_server: ApiServer) -> Iterator[Any]:
    """A client of the server, which knows the sample kind."""
    made = config.new_client_from_config_dict(api_server.kubeconfig())
    client.ApiextensionsV1Api(made).create_custom_resource_definition(samples.DEFINITION)
    yield made
    made.close()


def config_map(name: str, **data: str) -> Any:  # noqa: ANN401 (the client has no types)
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_typed_objects_come_and_go(api: Any) -> None:  # noqa: ANN401
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map("default", config_map("a", x="1"))
    assert made.metadata.creation_timestamp is not None
    core.patch_namespaced_config_map("a", "default", {"data": {"y": "2"}})
    assert core.read_namespaced_config_map("a", "default").data == {"x": "1", "y": "2"}
    made.data = {"x": "3"}
    with pytest.raises(client.ApiException) as refused:
        core.replace_namespaced_config_map("a", "default", made)
    assert refused.value.status == 409
    core.delete_namespaced_config_map("a", "default")
    assert core.list_namespaced_config_map("default").items == []


def test_a_watch_shows_changes_in_order_and_ends_in_time(api: Any) -> None:  # noqa: ANN401
    core = client.CoreV1Api(api)
    start = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("a"))
    core.patch_namespaced_config_map("a", "default", {"data": {"y": "2"}})
    core.delete_namespaced_config_map("a", "default")
    stream = watches.Watch().stream(
        core.list_namespaced_config_map, "default", resource_version=start, timeout_seconds=1
    )
    assert [one["type"] for one in stream] == ["ADDED", "MODIFIED", "DELETED"]


def test_the_status_is_a_part_of_its_own(api: Any) -> None:  # noqa: ANN401
    custom = client.CustomObjectsApi(api)
    made = custom.create_namespaced_custom_object(*HERE, widget("a"))
    made["status"] = {"replicas": 2}
    made["spec"]["size"] = "large"
    custom.replace_namespaced_custom_object_status(*HERE, "a", made)
    found = custom.get_namespaced_custom_object(*HERE, "a")
    assert found["status"] == {"replicas": 2}
    assert found["spec"]["size"] == "small"
    assert found["metadata"]["generation"] == 1
    found["status"] = {"replicas": 3}
    custom.replace_namespaced_custom_object(*HERE, "a", found)
    assert custom.get_namespaced_custom_object(*HERE, "a")["status"] == {"replicas": 2}


def test_apply_by_the_dynamic_client_keeps_what_others_own(api: Any) -> None:  # noqa: ANN401
    found = dynamic.DynamicClient(api).resources.get(api_version="test.weir.dev/v1", kind="Widget")
    where = {"namespace": "default"}
    found.server_side_apply(widget("a", weight=1), field_manager="ours", **where)
    found.server_side_apply(
        {**widget("a"), "spec": {"size": "small", "tags": ["x"]}}, field_manager="theirs", **where
    )
    one = found.get(name="a", **where).to_dict()
    assert (one["spec"]["weight"], one["spec"]["tags"]) == (1, ["x"])
    found.server_side_apply(widget("a"), field_manager="ours", **where)
    assert "weight" not in found.get(name="a", **where).to_dict()["spec"]


def test_an_informer_survives_410(api: Any, api_server: ApiServer) -> None:  # noqa: ANN401
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map("default", config_map("a"))
    seen: dict[str, threading.Event] = {name: threading.Event() for name in "abc"}
    gone = threading.Event()
    shared = informer.SharedInformer(core.list_namespaced_config_map, namespace="default")
    shared.add_event_handler("ADDED", lambda one: seen[one.metadata.name].set())
    shared.add_event_handler("ERROR", lambda error: gone.set())
    shared.start()
    try:
        assert seen["a"].wait(WAIT_S)
        rule = api_server.faults.gone()
        api_server.drop_watches()
        core.create_namespaced_config_map("default", config_map("b"))
        assert gone.wait(WAIT_S)
        assert seen["b"].wait(WAIT_S)
        core.create_namespaced_config_map("default", config_map("c"))
        assert seen["c"].wait(WAIT_S)
        assert rule.met == 1
    finally:
        stopping = threading.Thread(target=shared.stop)
        stopping.start()
        while stopping.is_alive():
            api_server.drop_watches()
            stopping.join(0.05)


async def test_the_asyncio_client_watches(api_server: ApiServer) -> None:
    configuration = aio_client.Configuration()
    await aio_config.load_kube_config_from_dict(
        api_server.kubeconfig(), client_configuration=configuration
    )
    async with aio_client.ApiClient(configuration) as api:
        core = aio_client.CoreV1Api(api)
        await core.create_namespaced_config_map(
            "default", {"metadata": {"name": "a"}, "data": {"x": "1"}}
        )
        async with aio_watch.Watch() as watch:
            stream = watch.stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
            found = [(e["type"], e["object"].metadata.name) async for e in stream]
    assert found == [("ADDED", "a")]


def test_a_lease_goes_to_one_of_two(api: Any) -> None:  # noqa: ANN401
    leases = client.CoordinationV1Api(api)
    body = client.V1Lease(
        metadata=client.V1ObjectMeta(name="decider"),
        spec=client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15),
    )
    leases.create_namespaced_lease("default", body)
    one = leases.read_namespaced_lease("decider", "default")
    other = leases.read_namespaced_lease("decider", "default")
    one.spec.holder_identity, other.spec.holder_identity = "b", "c"
    leases.replace_namespaced_lease("decider", "default", one)
    with pytest.raises(client.ApiException) as refused:
        leases.replace_namespaced_lease("decider", "default", other)
    assert refused.value.status == 409
    assert leases.read_namespaced_lease("decider", "default").spec.holder_identity == "b"


def test_an_event_is_seen_in_both_groups(api: Any) -> None:  # noqa: ANN401
    about = client.V1ObjectReference(kind="Widget", name="a", namespace="default")
    client.EventsV1Api(api).create_namespaced_event(
        "default",
        client.EventsV1Event(
            metadata=client.V1ObjectMeta(name="a.1"),
            event_time="2026-01-01T00:00:00.000000Z",
            action="Freeze",
            reason="Frozen",
            note="shares are held",
            type="Warning",
            regarding=about,
            reporting_controller="weir.dev/controller",
            reporting_instance="weir-0",
        ),
    )
    found = client.CoreV1Api(api).list_namespaced_event(
        "default", field_selector="involvedObject.name=a"
    )
    assert [(one.message, one.involved_object.kind) for one in found.items] == [
        ("shares are held", "Widget")
    ]
