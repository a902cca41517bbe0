from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 import (
    LeastRequest,
    LeastRequestSelectionMethod,
)

from controlplane.resources.traffic_policy import TrafficPolicy
from controlplane.translate.clusters import UNRESOLVED, closed, cluster
from controlplane.translate.options import TranslateOptions
from tests.envoy.edge import policy
from tests.unit.translate.scenes import declared


def test_a_cluster_asks_for_its_endpoints_by_its_own_name_over_ads() -> None:
    made = Cluster.parse(cluster("default/web", TranslateOptions()))
    assert made.name == "default/web"
    assert made.type is ClusterDiscoveryType.EDS
    eds = made.eds_cluster_config
    assert eds is not None
    assert eds.service_name == "default/web"
    assert eds.eds_config is not None
    assert eds.eds_config.ads is not None


def test_a_cluster_scans_all_endpoints_weighs_localities_and_can_eject() -> None:
    made = Cluster.parse(cluster("default/web", TranslateOptions()))
    assert made.load_balancing_policy is not None
    (policy,) = made.load_balancing_policy.policies
    assert policy.typed_extension_config is not None
    config = policy.typed_extension_config.typed_config
    assert config is not None
    least = config.unpack()
    assert isinstance(least, LeastRequest)
    assert least.selection_method is LeastRequestSelectionMethod.FULL_SCAN
    assert least.locality_lb_config is not None
    assert least.locality_lb_config.locality_weighted_lb_config is not None
    assert made.outlier_detection is not None
    assert made.outlier_detection.max_ejection_percent == 50


def test_panic_is_left_as_envoy_has_it_and_weights_act_at_once() -> None:
    common = Cluster.parse(cluster("default/web", TranslateOptions())).common_lb_config
    assert common is not None
    assert common.healthy_panic_threshold is None
    assert common.update_merge_window is not None
    assert common.update_merge_window.total_seconds() == 0


def test_counters_for_each_endpoint_and_load_reports_exclude_one_another() -> None:
    reporting = Cluster.parse(cluster("default/web", TranslateOptions()))
    counting = Cluster.parse(cluster("default/web", TranslateOptions(endpoint_stats=True)))
    assert reporting.lrs_report_endpoint_metrics
    assert reporting.track_cluster_stats is None
    assert counting.track_cluster_stats is not None
    assert counting.track_cluster_stats.per_endpoint_stats
    assert not counting.lrs_report_endpoint_metrics


def test_the_cluster_of_references_that_lead_nowhere_has_no_endpoints() -> None:
    made = Cluster.parse(closed(UNRESOLVED))
    assert (made.name, made.type) == (UNRESOLVED, ClusterDiscoveryType.STATIC)
    assert made.load_assignment is None


def said(spec: str) -> Cluster:
    """The cluster of a Backend with a TrafficPolicy."""
    found = declared(policy("TrafficPolicy", "p", "Backend/web", f"  {spec}\n"))
    (one,) = found.all(TrafficPolicy).values()
    return Cluster.parse(cluster("default/web", TranslateOptions(), one.spec))


def test_a_policy_that_says_nothing_changes_nothing() -> None:
    assert said("") == Cluster.parse(cluster("default/web", TranslateOptions()))


def test_each_direction_of_a_connection_holds_as_much_as_is_said() -> None:
    assert said("connection: {bufferLimit: 65536}").per_connection_buffer_limit_bytes == 65536
    usual = Cluster.parse(cluster("default/web", TranslateOptions()))
    assert usual.per_connection_buffer_limit_bytes == 32 * 1024


def test_an_endpoint_that_is_taken_out_is_gone_whatever_its_check_says() -> None:
    made = said("healthCheck: {active: {type: TCP}}")
    assert made.ignore_health_on_host_removal
    (check,) = made.health_checks
    assert check.no_traffic_interval == check.interval
