"""The official Python client against the API."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import kubernetes
import kubernetes.aio
import kubernetes.dynamic
import kubernetes.informer
import pytest
from kubernetes import aio

from tests.kubernetes import samples
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.cluster import Cluster
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
WIDGETS = ("test.weir.dev", "v1")


class Place(NamedTuple):
    """A client and a namespace of one's own."""

    api: Any
    namespace: str

    @property
    def widgets(self) -> tuple[str, str, str, str]:
        return (*WIDGETS, self.namespace, "widgets")


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    """A cluster that knows the sample kind."""
    made = config.new_client_from_config(str(cluster.kubeconfig))
    client.ApiextensionsV1Api(made).create_custom_resource_definition(samples.DEFINITION)
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{samples.NAME}")
    yield Place(made, cluster.namespace)
    made.close()


def config_map(name: str, **data: str) -> Any:  # noqa: ANN401 (the client has no types)
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_typed_objects_come_and_go(place: Place) -> None:
    core = client.CoreV1Api(place.api)
    made = core.create_namespaced_config_map(place.namespace, config_map("a", x="1"))
    assert made.metadata.creation_timestamp is not None
    core.patch_namespaced_config_map("a", place.namespace, {"data": {"y": "2"}})
    assert core.read_namespaced_config_map("a", place.namespace).data == {"x": "1", "y": "2"}
    made.data = {"x": "3"}
    with pytest.raises(client.ApiException) as refused:
        core.replace_namespaced_config_map("a", place.namespace, made)
    assert refused.value.status == 409
    core.delete_namespaced_config_map("a", place.namespace)
    left = core.list_namespaced_config_map(place.namespace).items
    assert "a" not in [one.metadata.name for one in left]


def test_a_watch_shows_changes_in_order_and_ends_in_time(place: Place) -> None:
    core = client.CoreV1Api(place.api)
    start = core.list_namespaced_config_map(place.namespace).metadata.resource_version
    core.create_namespaced_config_map(place.namespace, config_map("a"))
    core.patch_namespaced_config_map("a", place.namespace, {"data": {"y": "2"}})
    core.delete_namespaced_config_map("a", place.namespace)
    stream = watches.Watch().stream(
        core.list_namespaced_config_map,
        place.namespace,
        resource_version=start,
        timeout_seconds=1,
        field_selector="metadata.name=a",
    )
    assert [one["type"] for one in stream] == ["ADDED", "MODIFIED", "DELETED"]


def test_the_status_is_a_part_of_its_own(place: Place) -> None:
    custom = client.CustomObjectsApi(place.api)
    made = custom.create_namespaced_custom_object(*place.widgets, widget("a"))
    made["status"] = {"replicas": 2}
    made["spec"]["size"] = "large"
    custom.replace_namespaced_custom_object_status(*place.widgets, "a", made)
    found = custom.get_namespaced_custom_object(*place.widgets, "a")
    assert found["status"] == {"replicas": 2}
    assert found["spec"]["size"] == "small"
    assert found["metadata"]["generation"] == 1
    found["status"] = {"replicas": 3}
    custom.replace_namespaced_custom_object(*place.widgets, "a", found)
    assert custom.get_namespaced_custom_object(*place.widgets, "a")["status"] == {"replicas": 2}


def test_apply_by_the_dynamic_client_keeps_what_others_own(place: Place) -> None:
    found = dynamic.DynamicClient(place.api).resources.get(
        api_version="test.weir.dev/v1", kind="Widget"
    )
    where = {"namespace": place.namespace}
    found.server_side_apply(widget("a", weight=1), field_manager="ours", **where)
    found.server_side_apply(
        {**widget("a"), "spec": {"size": "small", "tags": ["x"]}}, field_manager="theirs", **where
    )
    one = found.get(name="a", **where).to_dict()
    assert (one["spec"]["weight"], one["spec"]["tags"]) == (1, ["x"])
    found.server_side_apply(widget("a"), field_manager="ours", **where)
    assert "weight" not in found.get(name="a", **where).to_dict()["spec"]


def test_an_informer_survives_410(api_server: ApiServer) -> None:
    api = config.new_client_from_config_dict(api_server.kubeconfig())
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
        api.close()


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


def test_a_lease_goes_to_one_of_two(place: Place) -> None:
    leases = client.CoordinationV1Api(place.api)
    body = client.V1Lease(
        metadata=client.V1ObjectMeta(name="decider"),
        spec=client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15),
    )
    leases.create_namespaced_lease(place.namespace, body)
    one = leases.read_namespaced_lease("decider", place.namespace)
    other = leases.read_namespaced_lease("decider", place.namespace)
    one.spec.holder_identity, other.spec.holder_identity = "b", "c"
    leases.replace_namespaced_lease("decider", place.namespace, one)
    with pytest.raises(client.ApiException) as refused:
        leases.replace_namespaced_lease("decider", place.namespace, other)
    assert refused.value.status == 409
    assert leases.read_namespaced_lease("decider", place.namespace).spec.holder_identity == "b"


def test_an_event_is_seen_in_both_groups(place: Place) -> None:
    about = client.V1ObjectReference(kind="Widget", name="a", namespace=place.namespace)
    client.EventsV1Api(place.api).create_namespaced_event(
        place.namespace,
        client.EventsV1Event(
            metadata=client.V1ObjectMeta(name="a.1"),
            event_time=datetime.datetime.now(datetime.UTC),
            action="Freeze",
            reason="Frozen",
            note="shares are held",
            type="Warning",
            regarding=about,
            reporting_controller="weir.dev/controller",
            reporting_instance="weir-0",
        ),
    )
    found = client.CoreV1Api(place.api).list_namespaced_event(
        place.namespace, field_selector="involvedObject.name=a"
    )
    assert [(one.message, one.involved_object.kind) for one in found.items] == [
        ("shares are held", "Widget")
    ]
