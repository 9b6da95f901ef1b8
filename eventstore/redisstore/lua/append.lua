-- Appends to streams, each append with its own outcome. On a cluster all of them
-- belong to one partition.
--
-- KEYS      {ns:p}:heads, {ns:p}:log and {ns:p}:ended of each partition concerned,
--           then the stream of each append, in order
-- ARGV[1]   number of partitions
-- ARGV[2…]  for each append: which of the partitions (from 1), stream name,
--           expected version (-1 any, -2 no stream, -3 stream exists, else the
--           exact version), number of events, then their envelopes. In front of
--           the expected version stands d where the one event deletes the stream,
--           t where it is its tombstone, which are its last letter in heads then.
--
-- Returns for each append a code and a value:
--   0  appended           last version
--   1  duplicate          last version of the events found, or of the end that the
--                         stream has already
--   2  conflict           head of the stream
--   3  refused            the error message; this stream is untouched
--   4  conflict           head of the stream, which was deleted there
--   5  tombstoned         head of the stream
--   6  no stream          0: there is nothing to delete
--
-- Lua does not roll back, so an append is checked completely before its first
-- write, and every write that can fail (another type of key, no memory left, a
-- user without the right) goes through pcall and is taken back; see write.

local LOOK_BACK = 128

-- What stands behind the event id in the envelope of an event that deletes a stream:
-- its type.
local DELETED = '\168$deleted'

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

-- Whether an event of this version would be followed by a new beginning: it deletes
-- the stream, or is gone.
local function begins_anew(key, version)
  local entry = redis.call('XRANGE', key, version .. '-0', version .. '-0')[1]
  return not entry or string.sub(entry[2][2], 20, 28) == DELETED
end

-- The message of an error that was raised.
local function message(err)
  return type(err) == 'table' and err['err'] or tostring(err)
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

local partitions = tonumber(ARGV[1])
local count = #KEYS - 3 * partitions
local names, first, offered, registered = {}, {}, {}, {}
for p = 1, partitions do registered[p] = {} end
local a = 2
for i = 1, count do
  local p, name, n = tonumber(ARGV[a]), ARGV[a + 1], tonumber(ARGV[a + 3])
  names[i], first[i] = name, a
  registered[p][#registered[p] + 1] = name
  offered[name] = (offered[name] or 0) + n
  a = a + 4 + n
end

-- The heads of the streams by name, because several appends may concern one
-- stream, how they have ended ('' where they have not), and what is wrong with a
-- partition.
local heads, endings, damaged = {}, {}, {}
for p = 1, partitions do
  local heads_key, log_key = KEYS[3 * p - 2], KEYS[3 * p - 1]
  local log = redis.call('TYPE', log_key)['ok']
  local stored = redis.pcall('HMGET', heads_key, unpack(registered[p]))
  if log ~= 'none' and log ~= 'stream' then
    damaged[p] = 'WRONGTYPE ' .. log_key .. ' is a ' .. log .. ', not a stream'
  elseif stored['err'] then
    damaged[p] = 'WRONGTYPE ' .. heads_key .. ' is not a hash'
  else
    for i, name in ipairs(registered[p]) do
      -- Nothing but this script writes heads; what is no number is damage, and
      -- may not stop the script between the writes of other streams.
      local head, ended = string.match(stored[i] or '0', '^(%d+)([dt]?)$')
      heads[name], endings[name] = tonumber(head), ended
    end
  end
end

-- Whether the append of ARGV[a…] must not happen: a code and a value if so. The
-- table known has by name what recent returned, and what was appended since.
local known = {}
local function checked(key, name, head, ended, expected, kind, a, n)
  if kind ~= '' then
    if kind == ended and (kind == 't' or expected < 0 or head == expected or head == expected + 1) then
      return 1, head
    end
    if kind == 'd' and head == 0 then return 6, 0 end
  end
  if expected >= 0 or expected == -2 then
    local base = math.max(expected, 0)
    if head == base then return nil end
    local ok, same = true, false
    if head >= base + n then ok, same = pcall(stored_at, key, base + 1, a, n) end
    if not ok then return 3, message(same) end
    if same then return 1, base + n end
    if expected >= 0 then return 2, head end
  end
  if head == 0 then
    if expected == -3 then return 2, head end
    return nil
  end
  if not known[name] then
    local ok, at = pcall(recent, key, offered[name])
    if not ok then return 3, message(at) end
    known[name] = at
  end
  local found = look_back(known[name], a, n)
  if expected == -2 then
    if found and begins_anew(key, found - n) then return 1, found end
    if ended == 'd' and found == nil then return nil end
    return 2, head
  end
  if found then return 1, found end
  if found == false or expected == -3 and ended == 'd' then return 2, head end
  return nil
end

-- Writes the events ARGV[a…] behind head, the last of which ends the stream where kind
-- says how. Returns an error message or nil.
--
-- What can be taken back comes first: the head, with how the stream had ended, then
-- the pointer. Events cannot be taken back, since Redis gives no entry id
-- twice; once the first is written nothing else has to follow.
local function write(p, key, name, head, ended, kind, a, n)
  local heads_key = KEYS[3 * p - 2]
  local function failed(reply)
    return type(reply) == 'table' and reply['err']
  end
  local err = failed(redis.pcall('HSET', heads_key, name, (head + n) .. kind))
  if err then return 'key ' .. heads_key .. ': ' .. err end
  local log_key = KEYS[3 * p - 1]
  local pointer = redis.pcall('XADD', log_key, '*', 's', name, 'v', head + n)
  if failed(pointer) then
    err = 'key ' .. log_key .. ': ' .. failed(pointer)
  else
    err = failed(redis.pcall('XADD', key, (head + 1) .. '-0', 'e', ARGV[a]))
    -- A user who may not delete leaves a pointer without events, which is
    -- found to have nothing behind it.
    if err then redis.pcall('XDEL', log_key, pointer) end
  end
  if err then
    if head > 0 or failed(redis.pcall('HDEL', heads_key, name)) then
      redis.call('HSET', heads_key, name, head .. ended)
    end
    return err
  end
  for k = 2, n do
    redis.call('XADD', key, (head + k) .. '-0', 'e', ARGV[a + k - 1])
  end
  -- What came before an end may go; where it is not noted, it only takes room.
  if kind ~= '' and head > 0 then redis.pcall('HSET', KEYS[3 * p], name, head + 1) end
  if known[name] then
    for k = 1, n do known[name][id_of(ARGV[a + k - 1])] = (head + k) .. '-0' end
  end
  return nil
end

local replies = {}
for i = 1, count do
  local key, name, a = KEYS[3 * partitions + i], names[i], first[i]
  local p, expected, n = tonumber(ARGV[a]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local kind = ''
  if not expected then
    kind, expected = string.sub(ARGV[a + 2], 1, 1), tonumber(string.sub(ARGV[a + 2], 2))
  end
  local head, ended = heads[name], endings[name]
  local code, value
  if damaged[p] then
    code, value = 3, damaged[p]
  elseif not head then
    code, value = 3, 'ERR the head that ' .. KEYS[3 * p - 2] .. ' holds for it is no number'
  else
    code, value = checked(key, name, head, ended, expected, kind, a + 4, n)
    if ended == 't' and (not code or code == 2) then
      code, value = 5, head
    elseif ended == 'd' and code == 2 then
      code = 4
    end
  end
  if not code then
    local err = write(p, key, name, head, ended, kind, a + 4, n)
    if err then
      code, value = 3, err
    else
      heads[name], endings[name] = head + n, kind
      code, value = 0, head + n
    end
  end
  replies[2 * i - 1], replies[2 * i] = code, value
end
return replies
