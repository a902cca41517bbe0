"""Answers that Envoy keeps, with the rule that they are for and a version in their keys.

Envoy's filter has no purge, and one store for all routes; the key of an answer is its host and path
with the query. So a filter before it adds to the query the version, and what stands for the rule:
else whoever has a route for the same host on another port would fill the cache of this one. What is
not kept the cache asks for by itself: the request goes straight to the cluster of the route, with
this parameter, and what stands after the cache in the chain, or in the route (a rewrite, a retry),
takes no part in it.
"""

from __future__ import annotations

import hashlib

from envoy_data_plane.envoy.config.core.v3 import KeyValueAppend, KeyValueMutation, KeyValuePair
from envoy_data_plane.envoy.extensions.common.async_files.v3 import (
    AsyncFileManagerConfig,
    AsyncFileManagerConfigThreadPool,
)
from envoy_data_plane.envoy.extensions.filters.http.cache.v3 import CacheConfig
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    Mutations,
)
from envoy_data_plane.envoy.extensions.http.cache.file_system_http_cache.v3 import (
    FileSystemHttpCacheConfig,
)
from envoy_data_plane.envoy.extensions.http.cache.simple_http_cache.v3 import SimpleHttpCacheConfig
from envoy_data_plane.google.protobuf import Value

from controlplane.resources.response_cache import CacheFiles, ResponseCache
from controlplane.translate.types import extension
from controlplane.translate.wire import number, packed, wire

_MUTATION = "envoy.filters.http.header_mutation.cache_version"
_SHARE = 8
"""The largest answer that is kept is this part of all."""
_PARAMETER = "weir-cache-version"


def chained(cache: ResponseCache, rule: str) -> list[bytes]:
    """The filters that do it for this rule, in order."""
    store = _files(cache.files) if cache.files else packed(SimpleHttpCacheConfig)
    kept = wire(CacheConfig, typed_config=store)
    of_rule = hashlib.blake2b(rule.encode(), digest_size=8).hexdigest()
    version = f"{of_rule}.{cache.version}" if cache.version is not None else of_rule
    pair = wire(KeyValuePair, key=_PARAMETER, value=wire(Value, string_value=version))
    added = wire(KeyValueMutation, append=wire(KeyValueAppend, record=pair))
    mutations = wire(Mutations, query_parameter_mutations=[added])
    config = packed(HeaderMutation, wire(HeaderMutation, mutations=mutations))
    return [
        extension(_MUTATION, config),
        extension("envoy.filters.http.cache", packed(CacheConfig, kept)),
    ]


def _files(files: CacheFiles) -> bytes:
    pool = wire(AsyncFileManagerConfigThreadPool, thread_count=1)
    config = wire(
        FileSystemHttpCacheConfig,
        manager_config=wire(AsyncFileManagerConfig, thread_pool=pool),
        cache_path=files.path,
        max_cache_size_bytes=number(files.max_size),
        max_individual_cache_entry_size_bytes=number(files.max_size // _SHARE),
    )
    return packed(FileSystemHttpCacheConfig, config)
