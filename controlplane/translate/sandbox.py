"""What a script finds around it: Lua without the machine.

Envoy opens all of LuaJIT's libraries: `io` and `os` run programs as the user of Envoy, `debug`,
`package` and bytecode lead to these again. Scripts come from whoever may write a policy, who is not
whoever owns the machine; so what is not known to be harmless is taken away before the script runs.
Scripts never see a global that is not named here. `coroutine` is not among them: Envoy's own calls
wait by yielding, and within another coroutine they would yield to the script.
"""

from __future__ import annotations

_GLOBALS = (
    "_G _VERSION assert error ipairs next pairs pcall rawequal rawget rawset select "
    "setmetatable tonumber tostring type unpack xpcall bit math string table"
)
_TIME = ("clock", "date", "difftime", "time")
"""What is left of `os`."""


def _before() -> str:
    allowed = ", ".join(f"{name}=true" for name in _GLOBALS.split())
    time = ", ".join(f"{name}=os.{name}" for name in _TIME)
    return (
        f"do local allowed, time = {{{allowed}}}, {{{time}}}; string.dump = nil; "
        "for name in pairs(_G) do "
        'if not allowed[name] and name:sub(1, 5) ~= "Envoy" then _G[name] = nil end end; '
        "os = time end "
    )


BEFORE = _before()
"""Lua that stands before a script, on its first line, so that the lines of the script keep their
numbers. That it is text keeps bytecode out, too."""
