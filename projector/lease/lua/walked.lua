-- Notes that the streams of a group were announced.
--
-- KEYS[1]  {ns}:walks
-- ARGV[1]  group
-- ARGV[2]  the note that was there when the walk began
--
-- Returns 1. A newer note stays: pointers were lost again meanwhile, perhaps where the
-- walk had been already.

if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
