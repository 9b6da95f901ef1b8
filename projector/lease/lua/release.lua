-- Drops leases of a session without acknowledging anything: the pointers stay
-- pending for it.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:leases:<group>
-- ARGV[1]  session
-- ARGV[2…] streams
--
-- Returns 1, or 0 where the session is dead (fenced).

local me = ARGV[1]
if not alive(me) then return 0 end
local names, mine = {}, {}
for k = 2, #ARGV do names[k - 1] = ARGV[k] end
local leases = redis.call('HMGET', KEYS[2], unpack(names))
for i = 1, #names do
  if leases[i] == me then mine[#mine + 1] = names[i] end
end
if #mine > 0 then redis.call('HDEL', KEYS[2], unpack(mine)) end
return 1
