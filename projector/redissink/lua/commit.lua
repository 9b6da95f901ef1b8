-- Replaces documents, each where its checkpoint is the one it was made from.
--
-- KEYS  the documents' hashes, each once; on a cluster one per call
-- ARGV  number of lists of names, then each list: how many names, and these; then for
--       each document: checkpoint it was made from ("<position> <event id>", the empty
--       string for none), checkpoint to move to (position, event id), the list that
--       names its fields, from 1, then the fields' values in the order of the list; the
--       list is 0, and nothing follows, where there is no document any more; it is -n
--       where n names and values of the document's own follow, in turn
--
-- A hash without a document keeps its checkpoint, from which the next one starts, and
-- has the field _deleted, so that it differs from a document without fields.
--
-- Returns for each document that was not made, now or by an earlier call whose reply was
-- lost, its place among KEYS, a code and two values:
--   1  refused                      position and event id that are there
--   2  failed, nothing was changed  Redis' error message, key
--   4  not taken, the same          what is wrong with the key, key
--
-- The first write of a document, the one that can fail, goes through redis.pcall and
-- adds fields; fields that went away are deleted after it. Whether the user may do that
-- is asked before, or the document would count as made with the old fields in it.

local CHUNK = 2000 -- names and values of one HSET, even; Lua cannot unpack many more
local may = redis.acl_check_cmd -- not every embedded server has it
local keys, args, call, try, unpack = KEYS, ARGV, redis.call, redis.pcall, unpack -- globals are slow

-- A list is the command that writes a document, with holes for what differs: the key, the
-- checkpoint and the values. Names stand at 7, 9, … up to last - 1.
local function list_of(last, ...)
  return {row = {'HSET', '', '_position', '', '_event', '', ...}, last = last}
end

-- The list of one document alone, whose n names and values are ARGV[a…].
local function own_of(a, n)
  if 2 * n <= CHUNK then return list_of(6 + 2 * n, unpack(args, a, a + 2 * n - 1)) end
  local list = list_of(6 + 2 * n)
  for i = 1, 2 * n do list.row[6 + i] = args[a + i - 1] end
  return list
end

-- The fields before that are neither in the list nor the sink's own that stay.
local function gone_of(before, list)
  local keep, gone = list.keep, {}
  if not keep then
    keep = {}
    list.keep = keep
    for i = 3, list.last, 2 do keep[list.row[i]] = true end
  end
  for i = 1, #before do
    if not keep[before[i]] then gone[#gone + 1] = before[i] end
  end
  return gone
end

-- Writes the row of a list to a key. Returns an error message or nil.
local function write(key, list)
  local row, last = list.row, list.last
  local to = last <= CHUNK and last or CHUNK
  local reply = try(unpack(row, 1, to))
  if type(reply) == 'table' and reply['err'] then return reply['err'] end
  while to < last do
    local from = to + 1
    to = math.min(last, to + CHUNK)
    call('HSET', key, unpack(row, from, to))
  end
  return nil
end

-- Writes the row of a list to a key that has fields, and deletes those that are gone.
-- Returns an error message or nil.
local function replace(key, list, gone)
  if #gone > 0 and may and not may('HDEL', key, gone[1]) then
    return 'NOPERM this user may not use HDEL'
  end
  local err = write(key, list)
  if err then return err end
  for i = 1, #gone, CHUNK do
    call('HDEL', key, unpack(gone, i, math.min(#gone, i + CHUNK - 1)))
  end
  return nil
end

local replies = {}
local function answer(k, code, a, b)
  local n = #replies
  replies[n + 1], replies[n + 2], replies[n + 3], replies[n + 4] = k, code, a, b
end

-- Makes a document where its hash is at the checkpoint it was made from. Returns nothing,
-- or a code and a value or two.
local function make(key, list, from)
  if from == '' and try('HLEN', key) == 0 then -- there is neither a checkpoint nor a field
    local err = write(key, list)
    if err then return 2, err end
    return
  end
  local at = try('HMGET', key, '_position', '_event')
  if at['err'] then return 2, at['err'] end
  local position, event = at[1] or '', at[2] or ''
  local there = (position ~= '' or event ~= '') and position .. ' ' .. event or ''
  if there ~= from then
    local row = list.row
    if position == row[4] and event == row[6] then return end
    return 1, position, event
  end
  local before = call('HKEYS', key)
  if there == '' and #before > 0 then
    return 4, 'the hash has fields but no checkpoint: it is not a read model of projectord'
  end
  local err = replace(key, list, gone_of(before, list))
  if err then return 2, err end
end

local a = 2
local lists = {}
for l = 1, tonumber(args[1]) do
  local n = tonumber(args[a])
  local list = list_of(6 + 2 * n)
  for i = 1, n do
    list.row[5 + 2 * i], list.row[6 + 2 * i] = args[a + i], ''
  end
  lists[tostring(l)], a = list, a + n + 1
end

-- Where the first document is made from nothing the others are too, as a rule, and one
-- look says of all of them that no key is there, which is what HLEN would say of each.
local none = args[a] == '' and try('EXISTS', unpack(keys)) == 0

for k = 1, #keys do
  local key, from, position, event, which = keys[k], args[a], args[a + 1], args[a + 2], args[a + 3]
  local list = lists[which]
  a = a + 4
  if list then
    local row = list.row
    for i = 8, list.last, 2 do
      row[i] = args[a]
      a = a + 1
    end
  elseif which == '0' then
    list = list_of(8, '_deleted', '1')
  else
    local n = -tonumber(which)
    list = own_of(a, n)
    a = a + 2 * n
  end
  local row = list.row
  row[2], row[4], row[6] = key, position, event
  if none and from == '' then
    local err = write(key, list)
    if err then answer(k, 2, err, key) end
  else
    local code, text, other = make(key, list, from)
    if code then answer(k, code, text, other or key) end
  end
end
return replies
