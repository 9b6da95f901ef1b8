-- Replaces documents, each where its checkpoint is the one it was made from.
--
-- KEYS  the documents' hashes; on a cluster one per call
-- ARGV  for each document: checkpoint it was made from (position, event id;
--       empty strings for none), checkpoint to move to (position, event id),
--       number of fields, then each field's name and value
--
-- Returns for each document a code and two values:
--   0  made, now or by an earlier call whose reply was lost
--   1  refused                      position and event id that are there
--   2  failed, nothing was changed  Redis' error message, key
--   4  not taken, the same          what is wrong with the key, key
--
-- The first write of a document, the one that can fail, goes through pcall and
-- adds fields; fields that went away are deleted after it.

local CHUNK = 2000 -- arguments of one HSET; Lua cannot unpack many more

-- Writes the pairs ARGV[a…] and the checkpoint. Returns an error message or nil.
local function write(key, a, n, position, event)
  local pairs_ = {'_position', position, '_event', event}
  local i, last = a, a + 2 * n - 1
  local first = true
  repeat
    while i <= last and #pairs_ < CHUNK do
      pairs_[#pairs_ + 1] = ARGV[i]
      pairs_[#pairs_ + 1] = ARGV[i + 1]
      i = i + 2
    end
    local reply = redis.pcall('HSET', key, unpack(pairs_))
    if first and type(reply) == 'table' and reply['err'] then return reply['err'] end
    first = false
    pairs_ = {}
  until i > last
  return nil
end

-- Deletes the fields of a document that are not among ARGV[a…].
local function prune(key, before, a, n)
  local keep = {['_position'] = true, ['_event'] = true}
  for i = 0, n - 1 do keep[ARGV[a + 2 * i]] = true end
  local gone = {}
  for i = 1, #before do
    if not keep[before[i]] then gone[#gone + 1] = before[i] end
    if #gone > 0 and (#gone == CHUNK or i == #before) then
      redis.call('HDEL', key, unpack(gone))
      gone = {}
    end
  end
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
  a = fields + 2 * n

  local at = redis.pcall('HMGET', key, '_position', '_event')
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
      local before = redis.call('HKEYS', key)
      if position == '' and #before > 0 then
        answer(4, 'the hash has fields but no checkpoint: it is not a read model of projectord', key)
      else
        local err = write(key, fields, n, to_position, to_event)
        if err then
          answer(2, err, key)
        else
          prune(key, before, fields, n)
          answer(0, '', '')
        end
      end
    end
  end
end
return replies
