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
--   3  refused            the error message; this stream is untouched
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

-- The entry ids of a stream's last events by their event ids: LOOK_BACK events and
-- as many as this call offers the stream, so that a call repeated because its
-- reply was lost finds its events whatever else it appended.
local function recent(key, offered)
  local at = {}
  local entries = redis.call('XREVRANGE', key, '+', '-', 'COUNT', LOOK_BACK + offered)
  for e = #entries, 1, -1 do
    at[id_of(entries[e][2][2])] = entries[e][1]
  end
  return at
end

-- Looks for the ids of ARGV[a…] among those recent returned. Returns the version
-- of the last one if all are there in a row, false if only some are or in another
-- order, nil if none is.
local function look_back(at, a, n)
  local found, base = 0, nil
  for i = 1, n do
    local entry = at[id_of(ARGV[a + i - 1])]
    if entry then
      local version = tonumber(string.match(entry, '^%d+'))
      base = base or version - i
      if version - i ~= base then return false end
      found = found + 1
    end
  end
  if found == 0 then return nil end
  return found == n and base + n
end

local count = #KEYS - 2
local names, first, offered = {}, {}, {}
local a = 1
for i = 1, count do
  local name, n = ARGV[a], tonumber(ARGV[a + 2])
  names[i] = name
  first[i] = a
  offered[name] = (offered[name] or 0) + n
  a = a + 3 + n
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
for i = 1, count do
  -- Nothing but this script writes heads; what is no number is damage, and may
  -- not stop the script between the writes of other streams.
  local head = stored[i] or '0'
  heads[names[i]] = string.match(head, '^%d+$') and tonumber(head)
end

local replies, changed = {}, {}
local known = {} -- by name, what recent returned, and what was appended since
for i = 1, count do
  local key, name = KEYS[i + 2], names[i]
  local expected, n, events = tonumber(ARGV[first[i] + 1]), tonumber(ARGV[first[i] + 2]), first[i] + 3
  local head = heads[name]
  local code, value

  if not head then
    code, value = 3, 'ERR the head that ' .. KEYS[1] .. ' holds for it is no number'
  elseif expected == -1 or expected == -3 then
    if head > 0 then
      local ok, at = true, known[name]
      if not at then
        ok, at = pcall(recent, key, offered[name])
      end
      if not ok then
        code, value = 3, type(at) == 'table' and at['err'] or tostring(at)
      else
        known[name] = at
        local found = look_back(at, events, n)
        if found then
          code, value = 1, found
        elseif found == false then
          code, value = 2, head
        end
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
      if known[name] then
        for k = 1, n do known[name][id_of(ARGV[events + k - 1])] = (head + k) .. '-0' end
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
