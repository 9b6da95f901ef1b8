-- Makes what the events of streams do, each stream's effects together with its
-- checkpoint, where that is the one they start from. On a cluster all of it lies in
-- one slot.
--
-- KEYS  for each stream: the hash with its checkpoint, then its rows
-- ARGV  for each stream: its name, checkpoint it starts from ('' for none),
--       checkpoint to move to, number of rows; then for each row: number of cells,
--       and for each of these: 'a' to add or 's' to set, column, addition or text.
--       A row occurs once in a stream, and a column once in a row.
--
-- Returns for each stream whose effects were not made, now or by an earlier call whose
-- reply was lost, its place among the streams, a code and two values:
--   1  refused                      position and event id that are there
--   2  failed, nothing was changed  Redis' error message, key
--   3  not taken, the same          what is wrong with an effect, key
--
-- Lua does not roll back, so a stream is checked completely before its first write:
-- types, and that counts are integers and stay within 64 bits. After that a write
-- fails for two reasons only. The server takes none now, for example because it is
-- out of memory: it refuses the first write of a call, and none after one that went
-- through. Or the user may not use the command, which is the same for all of a call.
-- So the first write of each kind goes through pcall, and nothing that counts is
-- written before both have succeeded.

local CHUNK = 2000 -- arguments of one command; Lua cannot unpack many more

-- The two parts of an integer, which unlike itself are exact as Lua's numbers.
local function parts(s)
  local sign, digits = string.match(s, '^(-?)(%d+)$')
  local high, low = tonumber(string.sub(digits, 1, -10)) or 0, tonumber(string.sub(digits, -9))
  if sign == '-' then return -high, -low end
  return high, low
end

-- Whether the sum of two integers, which are text, fits in 64 bits.
local function fits(s, t)
  if #s < 16 and #t < 16 then return true end
  local high, low = parts(s)
  local h, l = parts(t)
  high, low = high + h, low + l
  -- Far from the limit a rounded product does not change the outcome; near it the
  -- product is small, and exact.
  return (high - 9223372036) * 1e9 + (low - 854775807) <= 0
    and (high + 9223372036) * 1e9 + (low + 854775808) >= 0
end

-- Whether Redis reads a text as an integer.
local function integer(s)
  return s == '0' or (#s <= 20 and string.match(s, '^-?[1-9]%d*$') and fits(s, '0'))
end

-- Reads the row of ARGV[a…]. Returns it and where the next begins. It has the
-- columns that are added to, the additions, and columns with the texts to set.
local function read(key, a)
  local row = {key = key, counts = {}, add = {}, set = {}}
  local last = a + 3 * tonumber(ARGV[a])
  for i = a + 1, last, 3 do
    if ARGV[i] == 'a' then
      row.counts[#row.counts + 1] = ARGV[i + 1]
      row.add[#row.add + 1] = ARGV[i + 2]
    else
      row.set[#row.set + 1] = ARGV[i + 1]
      row.set[#row.set + 1] = ARGV[i + 2]
    end
  end
  return row, last + 1
end

-- What is wrong with changing a row: a code and a text, or nil.
local function wrong(row)
  local i = 1
  repeat
    local last = math.min(#row.counts, i + CHUNK - 1)
    local there = redis.pcall('HMGET', row.key, '_position', unpack(row.counts, i, last))
    if there['err'] then return 2, there['err'] end
    if there[1] then return 3, 'the hash is a document of a read model, not a row' end
    for c = i, last do
      local count, column, add = there[c - i + 2] or '0', row.counts[c], row.add[c]
      if not integer(count) then
        return 3, 'column ' .. column .. ' cannot be added to: it holds ' .. string.sub(count, 1, 80)
      end
      if not fits(count, add) then
        return 3, 'column ' .. column .. ': adding ' .. add .. ' to ' .. count .. ' is more than 64 bits hold'
      end
    end
    i = last + 1
  until i > #row.counts
  return nil
end

-- The message of an error reply, or nil.
local function failed(reply)
  return type(reply) == 'table' and reply['err'] or nil
end

-- Whether HINCRBY has been seen to work in this call.
local adds = false

-- Adds nothing to the first count of a stream. Returns an error message and the
-- key, or nil and how to take back a count that came into being.
local function try_to_add(rows)
  for _, row in ipairs(rows) do
    local column = row.counts[1]
    if column then
      local before = redis.call('HEXISTS', row.key, column)
      local err = failed(redis.pcall('HINCRBY', row.key, column, '0'))
      if err then return err, row.key end
      adds = true
      return nil, function()
        -- A user who may not delete leaves a 0, which is the same as nothing.
        if before == 0 then redis.pcall('HDEL', row.key, column) end
      end
    end
  end
  return nil
end

-- Moves the checkpoint and changes the rows. Returns an error message and the key,
-- or nil.
local function write(home, stream, to, rows)
  local take_back
  if not adds then
    local err, at = try_to_add(rows)
    if err then return err, at end
    take_back = at
  end
  local err = failed(redis.pcall('HSET', home, stream, to))
  if err then
    if take_back then take_back() end
    return err, home
  end
  for _, row in ipairs(rows) do
    for i, column in ipairs(row.counts) do
      redis.call('HINCRBY', row.key, column, row.add[i])
    end
    for i = 1, #row.set, CHUNK do
      redis.call('HSET', row.key, unpack(row.set, i, math.min(#row.set, i + CHUNK - 1)))
    end
  end
  return nil
end

-- Makes the change of a stream. Returns nothing, or a code and two values.
local function make(home, stream, from, to, rows)
  local at = redis.pcall('HGET', home, stream) or ''
  if failed(at) then return 2, failed(at), home end
  if at == to then return end
  if at ~= from then return 1, string.match(at, '^([^ ]*) ?(.*)$') end
  for _, row in ipairs(rows) do
    local code, text = wrong(row)
    if code then return code, text, row.key end
  end
  local err, key = write(home, stream, to, rows)
  if err then return 2, err, key end
end

local replies = {}
local k, a, place = 1, 1, 0
while k <= #KEYS do
  local home, stream, from, to, count = KEYS[k], ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local rows = {}
  a = a + 4
  for i = 1, count do rows[i], a = read(KEYS[k + i], a) end
  k, place = k + 1 + count, place + 1
  local code, text, key = make(home, stream, from, to, rows)
  if code then
    for _, value in ipairs({place, code, text, key}) do replies[#replies + 1] = value end
  end
end
return replies
