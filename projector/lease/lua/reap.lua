-- Removes consumers whose session is dead and that have nothing pending. One
-- that has is left for a sweep: removing it would lose its pointers.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:log
-- ARGV[1]  group
-- ARGV[2]  how many to remove at most
--
-- Returns how many were removed.

local group, limit, removed = ARGV[1], tonumber(ARGV[2]), 0
local consumers = redis.call('XINFO', 'CONSUMERS', KEYS[2], group)
for c = 1, #consumers do
  if removed == limit then break end
  local name
  for f = 1, #consumers[c], 2 do
    if consumers[c][f] == 'name' then name = consumers[c][f + 1] end
  end
  if not alive(name) and #redis.call('XPENDING', KEYS[2], group, '-', '+', 1, name) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[2], group, name)
    removed = removed + 1
  end
end
return removed
