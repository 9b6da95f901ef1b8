-- Replaces documents, each where its checkpoint is the one it was made from.
--
-- KEYS  the documents' hashes; on a cluster one per call
-- ARGV  for each document: checkpoint it was made from (position, event id;
--       empty strings for none), checkpoint to move to (position, event id),
--       number of fields, then each field's name and value; the number is -1 where
--       there is no document any more
--
-- A hash without a document keeps its checkpoint, from which the next one starts, and
-- has the field _deleted, so that it differs from a document without fields.
--
-- Returns for each document a code and two values:
--   0  made, now or by an earlier call whose reply was lost
--   1  refused                      position and event id that are there
--   2  failed, nothing was changed  Redis' error message, key
--   4  not taken, the same          what is wrong with the key, key
--
-- The first write of a document, the one that can fail, goes through pcall and
-- adds fields; fields that went away are deleted after it. Whether the user may do that
-- is asked before, or the document would count as made with the old fields in it.

local CHUNK = 2000 -- names and values of one HSET, even; Lua cannot unpack many more
local NOTHING = {}
local may = redis.acl_check_cmd -- not every embedded server has it

-- The fields before that are not among ARGV[a…] nor the sink's own that stay.
local function gone_of(before, a, n)
  if #before == 0 then return NOTHING end
  local keep = {['_position'] = true, ['_event'] = true, ['_deleted'] = n < 0}
  for i = 0, n - 1 do keep[ARGV[a + 2 * i]] = true end
  local gone = {}
  for i = 1, #before do
    if not keep[before[i]] then gone[#gone + 1] = before[i] end
  end
  return gone
end

-- Writes the pairs ARGV[a…] and the checkpoint, and deletes what is gone. Returns an
-- error message or nil.
local function write(key, a, n, position, event, gone)
  if #gone > 0 and may and not may('HDEL', key, gone[1]) then
    return 'NOPERM this user may not use HDEL'
  end
  local last = a + 2 * n - 1
  local to = math.min(last, a + CHUNK - 1)
  local reply
  if n < 0 then
    reply = redis.pcall('HSET', key, '_position', position, '_event', event, '_deleted', '1')
  else
    reply = redis.pcall('HSET', key, '_position', position, '_event', event, unpack(ARGV, a, to))
  end
  if type(reply) == 'table' and reply['err'] then return reply['err'] end
  while to < last do
    a, to = to + 1, math.min(last, to + CHUNK)
    redis.call('HSET', key, unpack(ARGV, a, to))
  end
  for i = 1, #gone, CHUNK do
    redis.call('HDEL', key, unpack(gone, i, math.min(#gone, i + CHUNK - 1)))
  end
  return nil
end

local replies = {}
local function answer(code, a, b)
  replies[#replies + 1] = code
  replies[#replies + 1] = a
  replies[#replies + 1] = b
end

local a = 1
for k = 1, #KEYS do
  local key = KEYS[k]
  local from_position, from_event, to_position, to_event = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local n = tonumber(ARGV[a + 4])
  local fields = a + 5
  a = fields + 2 * math.max(n, 0)

  -- Where no key is, one look says that there is neither a checkpoint nor a field.
  local fresh = from_position == '' and redis.pcall('HLEN', key) == 0
  local at = fresh and NOTHING or redis.pcall('HMGET', key, '_position', '_event')
  if at['err'] then
    answer(2, at['err'], key)
  else
    local position, event = at[1] or '', at[2] or ''
    local moves = from_position ~= to_position or from_event ~= to_event
    if moves and position == to_position and event == to_event then
      answer(0, '', '')
    elseif position ~= from_position or event ~= from_event then
      answer(1, position, event)
    else
      local before = fresh and NOTHING or redis.call('HKEYS', key)
      if position == '' and #before > 0 then
        answer(4, 'the hash has fields but no checkpoint: it is not a read model of projectord', key)
      else
        local err = write(key, fields, n, to_position, to_event, gone_of(before, fields, n))
        if err then
          answer(2, err, key)
        else
          answer(0, '', '')
        end
      end
    end
  end
end
return replies
