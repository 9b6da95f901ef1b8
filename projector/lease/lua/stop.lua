-- Ends a session at its own wish. From then on it is dead, its leases are free
-- and its pending pointers wait for a sweep; if there are any, an entry in the
-- log has some worker of each group sweep at once. It is a hint: a sweep would
-- find them without it, only later.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:draining
-- ARGV[1]  session
--
-- Returns 2 where the session had been asked to end, also where it is dead already; else
-- 1, or 0 where there was no such session.
--
-- The mark stays, so that a second call whose first reply was lost tells the same, and
-- says from now on that the session knows of it. A sweep deletes it.

local reply = 1
local asked = redis.call('HGET', KEYS[3], ARGV[1])
if asked and string.find(asked, 's', 1, true) then
  redis.call('HDEL', KEYS[3], ARGV[1]) -- nobody asked
  asked = false
end
if asked then
  reply = 2
  if not string.find(asked, 'e$') then redis.pcall('HSET', KEYS[3], ARGV[1], asked .. 'e') end
end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  if asked then return reply end
  return 0
end
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
