-- Puts streams of one partition into its registry, each with what is to be known of it,
-- and leaves a pointer for each that was not in it. One that was has a pointer already:
-- it is undelivered or pending until finish, and finish looks at the head.
--
-- KEYS[1]  {ns:p}:heads
-- KEYS[2]  {ns:p}:log
-- KEYS[3]  {ns:p}:info
-- KEYS[4]  {ns:p}:numbers
-- ARGV     for each stream: name, and what is to be known of it
--
-- Returns how many were not in the registry. The head of a stream is the number of its
-- last announcement, and no number is given twice.

local new = 0
local number = numbers(KEYS[4], #ARGV / 2)
for i = 1, #ARGV, 2 do
  number = number + 1
  -- A pointer without a head does no harm; a head without a pointer is forgotten.
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then
    redis.call('XADD', KEYS[2], '*', 's', ARGV[i], 'v', string.format('%.0f', number))
    new = new + 1
  end
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', number))
end
return new
