-- Removes from the log what every group has done with. What it keeps begins at
-- the smallest pointer that is pending or undelivered in any group: claiming a
-- pointer whose entry is gone would drop it silently.
--
-- KEYS[1]  {ns:p}:log
-- ARGV[1]  how many entries to remove at most
--
-- Returns how many were removed. Without a group it removes nothing. Redis may
-- leave a few more than asked for, see XTRIM.

local function before(a, b)
  local a1, a2 = string.match(a, '^(%d+)-(%d+)$')
  local b1, b2 = string.match(b, '^(%d+)-(%d+)$')
  a1, a2, b1, b2 = tonumber(a1), tonumber(a2), tonumber(b1), tonumber(b2)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
local smallest
for g = 1, #groups do
  local name, delivered
  for f = 1, #groups[g], 2 do
    if groups[g][f] == 'name' then name = groups[g][f + 1] end
    if groups[g][f] == 'last-delivered-id' then delivered = groups[g][f + 1] end
  end
  -- Undelivered is all above the last delivered one, so keeping that one too is safe.
  if not string.find(delivered, '-', 1, true) then delivered = delivered .. '-0' end
  if not smallest or before(delivered, smallest) then smallest = delivered end
  local pending = redis.call('XPENDING', KEYS[1], name)
  if pending[1] > 0 and before(pending[2], smallest) then smallest = pending[2] end
end
if not smallest then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', '~', smallest, 'LIMIT', ARGV[1])
