-- Puts the SHA-256 of the key that a request presents into a header, for Envoy's own filter, which
-- stands behind and holds that header against the hashes of the clients' keys. No key is known
-- here. Where this fails there is no header, and the request is refused.

local HASH = "x-weir-api-key" -- taken from clients before any filter sees it
local LONGEST = 1024

local band, bxor, ror, shr = bit.band, bit.bxor, bit.ror, bit.rshift
local tobit, tohex = bit.tobit, bit.tohex
local byte, char, find, gmatch = string.byte, string.char, string.find, string.gmatch
local gsub, match, rep, sub = string.gsub, string.match, string.rep, string.sub

-- FIPS 180-4: the constants of 4.2.2, and room for the message schedule of 6.2.2.
local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local W = {}
for i = 1, 64 do
  K[i], W[i] = tobit(K[i]), 0
end

local tails = {}

-- What stands behind a message of this size (5.1.1), kept: there are LONGEST of them.
local function tail(size)
  if not tails[size] then
    local bits = char(shr(size, 13) % 256, shr(size, 5) % 256, size * 8 % 256)
    tails[size] = "\128" .. rep("\0", (55 - size) % 64 + 5) .. bits
  end
  return tails[size]
end

local function sha256(text)
  local message = text .. tail(#text)
  local h1, h2, h3, h4 = 0x6a09e667, tobit(0xbb67ae85), 0x3c6ef372, tobit(0xa54ff53a)
  local h5, h6, h7, h8 = 0x510e527f, tobit(0x9b05688c), 0x1f83d9ab, 0x5be0cd19
  for at = 1, #message, 64 do
    for i = 1, 16 do
      local b1, b2, b3, b4 = byte(message, at + i * 4 - 4, at + i * 4 - 1)
      W[i] = tobit(b1 * 0x1000000 + b2 * 0x10000 + b3 * 0x100 + b4)
    end
    for i = 17, 64 do
      local p, q = W[i - 15], W[i - 2]
      W[i] = tobit(W[i - 16] + W[i - 7]
        + bxor(ror(p, 7), ror(p, 18), shr(p, 3)) + bxor(ror(q, 17), ror(q, 19), shr(q, 10)))
    end
    local a, b, c, d, e, f, g, h = h1, h2, h3, h4, h5, h6, h7, h8
    for i = 1, 64 do
      local t1 = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25))
        + bxor(g, band(e, bxor(f, g))) + K[i] + W[i])
      local t2 = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(c, bxor(a, b)))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    h1, h2, h3, h4 = tobit(h1 + a), tobit(h2 + b), tobit(h3 + c), tobit(h4 + d)
    h5, h6, h7, h8 = tobit(h5 + e), tobit(h6 + f), tobit(h7 + g), tobit(h8 + h)
  end
  return tohex(h1) .. tohex(h2) .. tohex(h3) .. tohex(h4)
    .. tohex(h5) .. tohex(h6) .. tohex(h7) .. tohex(h8)
end

local function from_hex(digits) return char(tonumber(digits, 16)) end

local function from_percent(text)
  if not find(text, "%", 1, true) then return text end
  return (gsub(text, "%%(%x%x)", from_hex))
end

-- Without spaces around it, and quotes. In linear time: patterns that trim at once are not.
local function from_cookie(text)
  local first = find(text, "%S")
  local trimmed = first and match(text, "^.*%S", first) or ""
  return match(trimmed, '^"(.*)"$') or trimmed
end

-- The value of a name among `name=value` parts, false where it is there twice, and the other parts.
local function apart(text, separator, name, read)
  local value, others = nil, {}
  for part in gmatch(text, "[^" .. separator .. "]+") do
    local equal = find(part, "=", 1, true)
    if read(sub(part, 1, (equal or 0) - 1)) == name then
      value = value == nil and (equal and read(sub(part, equal + 1)) or "")
    else
      others[#others + 1] = part
    end
  end
  return value, table.concat(others, separator)
end

-- By kind of place: the value there, and how it is taken away.
local VALUE, REMOVE = {}, {}

-- Of a header that is there twice Envoy gives both values, with a comma between them: no key.
function VALUE.header(headers, name)
  local value = headers:get(name)
  return value and sub(value, 1, 7) == "Bearer " and sub(value, 8) or value
end

function REMOVE.header(headers, name) headers:remove(name) end

local function param(headers, name)
  local path = headers:get(":path") or ""
  local mark = find(path, "?", 1, true) or #path + 1
  local value, others = apart(sub(path, mark + 1), "&", name, from_percent)
  return value, sub(path, 1, mark - 1) .. (others ~= "" and "?" .. others or "")
end

function VALUE.param(headers, name) return (param(headers, name)) end

function REMOVE.param(headers, name)
  local value, path = param(headers, name)
  if value ~= nil then headers:replace(":path", path) end
end

-- Some clients send several of these headers.
local function cookie(headers, name)
  local all = {}
  for at = 1, headers:getNumValues("cookie") do all[at] = headers:getAtIndex("cookie", at - 1) end
  return apart(table.concat(all, "; "), ";", name, from_cookie)
end

function VALUE.cookie(headers, name) return (cookie(headers, name)) end

function REMOVE.cookie(headers, name)
  local value, others = cookie(headers, name)
  if value == nil then return end
  headers:remove("cookie")
  if others ~= "" then headers:add("cookie", (gsub(others, "^ ", ""))) end
end

-- What a route says, told apart once: the name of the keys, whether to sanitize, and the places, a
-- line each.
local plans, count = {}, 0

local function plan_of(text)
  local plan = plans[text]
  if plan then return plan end
  if count == 1000 then plans, count = {}, 0 end
  local lines = gmatch(text, "[^\n]+")
  plan = { prefix = lines() .. " ", sanitize = lines() == "sanitize" }
  for kind, name in gmatch(text, "\n(%l+) ([^\n]+)") do
    plan[#plan + 1] = { value = VALUE[kind], remove = REMOVE[kind], name = from_percent(name) }
  end
  plans[text], count = plan, count + 1
  return plan
end

function envoy_on_request(handle)
  local headers, key = handle:headers(), nil
  local plan = plan_of(handle:filterContext():get("plan"))
  for i = 1, #plan do
    key = plan[i].value(headers, plan[i].name)
    if key ~= nil and key ~= "" then break end
  end
  if plan.sanitize then
    for i = 1, #plan do plan[i].remove(headers, plan[i].name) end
  end
  if key and #key <= LONGEST then
    headers:replace(HASH, plan.prefix .. sha256(key))
  else
    headers:remove(HASH)
  end
end
