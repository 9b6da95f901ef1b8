-- Tells from where on somebody has to follow a log who knows what a group has done
-- until now.
--
-- KEYS[1]  {ns:p}:log
-- ARGV[1]  group
--
-- Returns a place, see follow.lua: an id, and 1 where that entry is done with, else 0.
-- What the group has outstanding lies behind it. Where there is no such group that is
-- everything the log has.

local group = ARGV[1]

if redis.call('EXISTS', KEYS[1]) == 0 then return {'0-0', 1} end

-- The first entry from an id on, else where the log ends.
local function from(id)
  local first = redis.call('XRANGE', KEYS[1], id, '+', 'COUNT', 1)[1]
  if first then return {first[1], 0} end
  local stream = redis.call('XINFO', 'STREAM', KEYS[1])
  for f = 1, #stream, 2 do
    if stream[f] == 'last-generated-id' and stream[f + 1] ~= '' then return {stream[f + 1], 1} end
  end
  return {'0-0', 1}
end

local delivered
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
for g = 1, #groups do
  local info = {}
  for f = 1, #groups[g], 2 do info[groups[g][f]] = groups[g][f + 1] end
  if info['name'] == group then delivered = info['last-delivered-id'] end
end
if not delivered then return from('-') end

local pending = redis.call('XPENDING', KEYS[1], group)
if pending[1] > 0 then return from(pending[2]) end
if not string.find(delivered, '-', 1, true) then delivered = delivered .. '-0' end
if redis.call('XRANGE', KEYS[1], delivered, delivered)[1] then return {delivered, 1} end
return from(delivered)
