"""What a script finds around it: Lua without the machine, and without what is not its own.

Envoy opens all of LuaJIT's libraries: `io` and `os` run programs as the user of Envoy, `debug`,
`package` and bytecode lead to these again. And `httpCall` reaches every cluster: with Envoy's own
identity Weir itself, which would hand out the keys of the Gateway. Scripts come from whoever may
write a policy, who owns neither. So what is not known to be harmless is taken away before the
script runs, and calls go to Backends of the script's own namespace alone.

What stands before a script cannot be undone by it, nor left out, as what stands behind one could
(`do return end`): the functions that Envoy calls are wrapped where they are assigned, in a table
that the script has no way to. `coroutine` is not there: Envoy's own calls wait by yielding, and
within another coroutine they would yield to the script.
"""

from __future__ import annotations

from controlplane.translate.clusters import over_http_2

_GLOBALS = (
    "_G _VERSION assert error ipairs next pairs pcall rawequal rawget select setmetatable tonumber "
    "tostring type unpack xpcall bit math string table"
)
_TIME = ("clock", "date", "difftime", "time")
"""What is left of `os`."""

_BEFORE = """\
do
  local rawset, pcall, pairs, error, tostring = rawset, pcall, pairs, error, tostring
  local type, metatable, sub = type, getmetatable, string.sub
  local allowed, time, mine, held = {ALLOWED}, {TIME}, {MINE}, {}
  string.dump = nil
  for name in pairs(_G) do
    if not allowed[name] and sub(name, 1, 5) ~= "Envoy" then _G[name] = nil end
  end
  os = time
  local function confine(handle)
    local of = metatable(handle)
    if of.__confined then return end
    local call, methods = of.httpCall, {}
    for name, one in pairs(of) do
      if sub(name, 1, 2) ~= "__" then methods[name] = one end
    end
    function methods.httpCall(self, cluster, ...)
      for _, start in pairs(mine) do
        if type(cluster) == "string" and sub(cluster, 1, #start) == start then
          return call(self, cluster, ...)
        end
      end
      error("no Backend of this namespace: " .. tostring(cluster))
    end
    of.__index, of.__confined = methods, true
  end
  local wrap = {}
  function wrap.envoy_on_request(inner)
    return function(handle)
      confine(handle)
      local good, fault = pcall(inner, handle)
      if not good then
        handle:logErr(tostring(fault))
        handle:respond({[":status"] = "500"}, "the script of this route failed\\n")
      end
    end
  end
  function wrap.envoy_on_response(inner)
    return function(handle) confine(handle); return inner(handle) end
  end
  setmetatable(_G, {
    __metatable = false,
    __index = held,
    __newindex = function(all, name, value)
      if wrap[name] then
        held[name] = value and wrap[name](value)
      else
        rawset(all, name, value)
      end
    end,
  })
end"""


def sandboxed(script: str, namespace: str) -> str:
    """The script as Envoy is given it. All that is before it stands on its first line, so its lines
    keep their numbers; that it is text keeps bytecode out."""
    allowed = ", ".join(f"{name} = true" for name in _GLOBALS.split())
    time = ", ".join(f"{name} = os.{name}" for name in _TIME)
    own = f"{namespace}/"
    mine = f'"{own}", "{over_http_2(own)}"'
    before = " ".join(line.strip() for line in _BEFORE.splitlines())
    for word, said in (("ALLOWED", allowed), ("TIME", time), ("MINE", mine)):
        before = before.replace(f"{{{word}}}", f"{{{said}}}")
    return f"{before} {script}"
