-- Ends a session at its own wish. From then on it is dead, its leases are free
-- and its pending pointers wait for a sweep; if there are any, an entry in the
-- log has some worker of each group sweep at once. It is a hint: a sweep would
-- find them without it, only later.
--
-- The mark of one that was asked to end stays until a sweep: a call whose reply was lost
-- is made again, and has to find it. No other session has that name.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:draining
-- ARGV[1]  session
--
-- Returns 2 where it had been asked to end, else 1, or 0 where there was no such session.

local asked = redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1
local reply = asked and 2 or 1
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return asked and 2 or 0 end
if redis.call('EXISTS', KEYS[2]) == 0 then return reply end

local groups = redis.call('XINFO', 'GROUPS', KEYS[2])
for g = 1, #groups do
  local name
  for f = 1, #groups[g], 2 do
    if groups[g][f] == 'name' then name = groups[g][f + 1] end
  end
  if #redis.call('XPENDING', KEYS[2], name, '-', '+', 1, ARGV[1]) > 0 then
    redis.pcall('XADD', KEYS[2], '*', 'w', ARGV[1])
    return reply
  end
end
return reply
