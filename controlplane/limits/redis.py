"""Counters in a Redis, shared by all replicas. One script takes of all counters, or of none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from controlplane.errors import ConfigurationError, StoreError
from controlplane.limits.windows import Take

DEADLINE_S = 0.1
"""Half of what a request waits for the service."""
REST_S = 0.25
"""After a failure nobody is kept waiting for so long: the answer is that it failed."""
CONNECTIONS = 32

# KEYS: for each take its counter in this window and in the one before.
# ARGV: for each take hits, limit, weight of the window before, seconds to keep it, forced or not.
# Answers what was used of each before; as text, because Redis cuts numbers to whole ones.
_TAKE = """
local used, fits = {}, true
for i = 1, #KEYS / 2 do
  local a = (i - 1) * 5
  local now = tonumber(redis.call('GET', KEYS[2 * i - 1]) or 0)
  local weight = tonumber(ARGV[a + 3])
  if weight > 0 then
    now = now + weight * tonumber(redis.call('GET', KEYS[2 * i]) or 0)
  end
  used[i] = tostring(now)
  local hits = math.max(tonumber(ARGV[a + 1]), 1)
  if ARGV[a + 5] == '0' and now + hits > tonumber(ARGV[a + 2]) then fits = false end
end
if fits then
  for i = 1, #KEYS / 2 do
    local a = (i - 1) * 5
    if ARGV[a + 1] ~= '0' then
      redis.call('INCRBY', KEYS[2 * i - 1], ARGV[a + 1])
      redis.call('EXPIRE', KEYS[2 * i - 1], ARGV[a + 4])
    end
  end
end
return used
"""


class RedisCounters:
    """A Redis by its URL. Keys begin with `weir:limit:` and end by themselves."""

    def __init__(self, url: str, *, deadline_s: float = DEADLINE_S, rest_s: float = REST_S) -> None:
        """Connects when it is first asked. Raises `ConfigurationError` for a URL that is none."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=deadline_s,
                socket_connect_timeout=deadline_s,
                retry=Retry(NoBackoff(), 1),  # a connection that the server closed meanwhile
            )
        except ValueError as error:
            # Not the URL itself: it may hold a password.
            raise ConfigurationError(f"the URL of the Redis for rate limits: {error}") from None
        self._redis = Redis.from_pool(pool)
        self._script = self._redis.register_script(_TAKE)
        self._deadline_s = deadline_s
        self._rest_s = rest_s
        self._rests_until_s = 0.0

    async def take(self, takes: Sequence[Take], now_s: float) -> Sequence[float]:
        """See `Counters`."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until_s:
            raise StoreError("the Redis for rate limits failed a moment ago")
        keys, arguments = [], list[str | int | float]()
        for one in takes:
            window = one.window(now_s)
            keys += [_key(one, window), _key(one, window - 1)]
            kept_s = 2 * one.unit_s + 60  # clocks of replicas differ
            weight = repr(one.weight(now_s))
            arguments += [one.hits, one.limit, weight, kept_s, int(one.forced)]
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await self._script(keys=keys, args=arguments)
            return [float(one) for one in answer]
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until_s = loop.time() + self._rest_s
            why = type(error).__name__
            raise StoreError(f"the Redis for rate limits: {why}") from error

    async def close(self) -> None:
        """Let go of its connections."""
        await self._redis.aclose()


def _key(one: Take, window: int) -> str:
    """A digest of the counter's name: it may hold what a client proves itself with."""
    digest = hashlib.blake2b(one.counter, digest_size=16).hexdigest()
    return f"weir:limit:{one.unit_s}:{window}:{digest}"
