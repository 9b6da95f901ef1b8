-- Tells how much a group has still to do in one partition.
--
-- KEYS[1]  {ns:p}:log
-- ARGV[1]  group
-- ARGV[2]  how many entries to count at most, where the server does not know
--
-- Returns how many entries are undelivered, how many are pending, the age of the
-- oldest of them in ms by the clock of this server, 0 where there is none, then 1 where
-- more may be undelivered than were counted, else 0, and how many entries the log has.

local group, limit = ARGV[1], tonumber(ARGV[2])

local pending = redis.call('XPENDING', KEYS[1], group)
local delivered, read, lag
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
for g = 1, #groups do
  local info = {}
  for f = 1, #groups[g], 2 do info[groups[g][f]] = groups[g][f + 1] end
  if info['name'] == group then
    delivered, read, lag = info['last-delivered-id'], info['entries-read'], info['lag']
  end
end

-- A number that stands there without that of the entries read may be a guess.
local first = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)[1]
local undelivered, more = 0, 0
if first and type(read) == 'number' and type(lag) == 'number' then
  undelivered = math.max(1, lag)
elseif first and string.match(delivered, '^0*-?0*$') then
  undelivered = redis.call('XLEN', KEYS[1])
elseif first then
  undelivered = #redis.call('XRANGE', KEYS[1], first[1], '+', 'COUNT', limit)
  if undelivered == limit then more = 1 end
end

local function age(id)
  local now = redis.call('TIME')
  now = now[1] * 1000 + math.floor(now[2] / 1000)
  return math.max(0, now - string.match(id, '^%d+'))
end

local oldest = 0
if pending[1] > 0 then oldest = age(pending[2]) end
if first then oldest = math.max(oldest, age(first[1])) end
return {undelivered, pending[1], oldest, more, redis.call('XLEN', KEYS[1])}
