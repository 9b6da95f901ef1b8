-- Appends to streams of one partition, each with its own outcome.
--
-- KEYS[1]   {ns:p}:heads
-- KEYS[2]   {ns:p}:log
-- KEYS[3…]  the stream of each append, in order
-- ARGV      for each append: stream name, expected version (-1 any, -2 no
--           stream, -3 stream exists, else the exact version), number of
--           events, then their envelopes
--
-- Returns for each append a code and a value:
--   0  appended           last version
--   1  duplicate          last version of the events found
--   2  conflict           head of the stream
--   3  refused by Redis   its error message; this stream is untouched
--
-- Lua does not roll back, so an append is checked completely before its first
-- write, and that first write, the one that can fail (another type of key, no
-- memory left), goes through pcall. Once it succeeded the rest cannot fail:
-- Redis lets a script that has written go on when memory runs out.

local LOOK_BACK = 128

-- Bytes 3 to 18 of an envelope, counted from 0, are the event id.
local function id_of(envelope)
  return string.sub(envelope, 4, 19)
end

-- Whether the n events from version first on have the ids of ARGV[a…].
local function stored_at(key, first, a, n)
  local entries = redis.call('XRANGE', key, first .. '-0', (first + n - 1) .. '-0')
  if #entries ~= n then return false end
  for i = 1, n do
    if id_of(entries[i][2][2]) ~= id_of(ARGV[a + i - 1]) then return false end
  end
  return true
end

-- Looks for the ids of ARGV[a…] among the last events of a stream. Returns the
-- version of the last one if all are there in a row, false if only some are or
-- in another order, nil if none is.
local function look_back(key, a, n)
  local wanted = {}
  for i = 1, n do wanted[id_of(ARGV[a + i - 1])] = i end
  local entries = redis.call('XREVRANGE', key, '+', '-', 'COUNT', LOOK_BACK + n)
  for e = 1, #entries do
    local i = wanted[id_of(entries[e][2][2])]
    if i then
      -- The newest that is there has to be the last one offered.
      if i ~= n or #entries - e + 1 < n then return false end
      for k = 1, n - 1 do
        if wanted[id_of(entries[e + k][2][2])] ~= n - k then return false end
      end
      return tonumber(string.match(entries[e][1], '^%d+'))
    end
  end
  return nil
end

local count = #KEYS - 2
local names, first = {}, {}
local a = 1
for i = 1, count do
  names[i] = ARGV[a]
  first[i] = a
  a = a + 3 + tonumber(ARGV[a + 2])
end

local log = redis.call('TYPE', KEYS[2])['ok']
if log ~= 'none' and log ~= 'stream' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is a ' .. log .. ', not a stream')
end
local stored = redis.pcall('HMGET', KEYS[1], unpack(names))
if stored['err'] then
  return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is not a hash')
end
local heads = {} -- by name, because several appends may concern one stream
for i = 1, count do heads[names[i]] = tonumber(stored[i] or 0) end

local replies, changed = {}, {}
for i = 1, count do
  local key, name = KEYS[i + 2], names[i]
  local expected, n, events = tonumber(ARGV[first[i] + 1]), tonumber(ARGV[first[i] + 2]), first[i] + 3
  local head = heads[name]
  local code, value

  if expected == -1 or expected == -3 then
    if head > 0 then
      local ok, found = pcall(look_back, key, events, n)
      if not ok then
        code, value = 3, type(found) == 'table' and found['err'] or tostring(found)
      elseif found then
        code, value = 1, found
      elseif found == false then
        code, value = 2, head
      end
    elseif expected == -3 then
      code, value = 2, head
    end
  else
    local base = expected == -2 and 0 or expected
    if head ~= base then
      local ok, same = true, false
      if head >= base + n then ok, same = pcall(stored_at, key, base + 1, events, n) end
      if not ok then
        code, value = 3, type(same) == 'table' and same['err'] or tostring(same)
      elseif same then
        code, value = 1, base + n
      else
        code, value = 2, head
      end
    end
  end

  if not code then
    local reply = redis.pcall('XADD', key, (head + 1) .. '-0', 'e', ARGV[events])
    if type(reply) == 'table' and reply['err'] then
      code, value = 3, reply['err']
    else
      for k = 2, n do
        redis.call('XADD', key, (head + k) .. '-0', 'e', ARGV[events + k - 1])
      end
      head = head + n
      heads[name] = head
      changed[#changed + 1] = name
      changed[#changed + 1] = head
      redis.call('XADD', KEYS[2], '*', 's', name, 'v', head)
      code, value = 0, head
    end
  end
  replies[2 * i - 1], replies[2 * i] = code, value
end
if #changed > 0 then redis.call('HSET', KEYS[1], unpack(changed)) end
return replies
