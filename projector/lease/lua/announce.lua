-- Adds a pointer for each of the streams of one partition that have a head.
--
-- KEYS[1]  {ns:p}:heads
-- KEYS[2]  {ns:p}:log
-- ARGV     streams
--
-- Returns how many were added.

local heads = redis.call('HMGET', KEYS[1], unpack(ARGV))
local added = 0
for i = 1, #ARGV do
  if heads[i] then
    -- Behind the version stands a letter where the stream has ended.
    redis.call('XADD', KEYS[2], '*', 's', ARGV[i], 'v', (string.gsub(heads[i], '[dt]$', '')))
    added = added + 1
  end
end
return added
