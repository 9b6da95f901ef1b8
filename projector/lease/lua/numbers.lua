-- Put in front of every script that gives numbers.

-- Takes so many numbers from the key, and returns the one before the first. They are above
-- all that were given before, also where Redis has lost what it knew of those: unless more
-- are given than there are microseconds, or its clock is set back, they follow the clock.
-- Both stay below 2^53, up to which Lua counts exactly.
local function numbers(key, count)
  local t = redis.call('TIME')
  local last = math.max(tonumber(redis.call('GET', key)) or 0, t[1] * 1000000 + t[2])
  redis.call('SET', key, string.format('%.0f', last + count))
  return last
end
