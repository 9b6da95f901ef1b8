-- Stores a snapshot, unless a newer one by the same fold is there.
--
-- KEYS  the snapshot's key
-- ARGV  the encoded snapshot, see envelope.go
--
-- Returns 1 where it was stored, 0 where not. A key that holds no string is an error.

local HEADER = 40 -- up to the end of what tells the fold

-- The version, bytes 5 to 12. Doubles hold it exactly up to 2^53.
local function version(header)
  local n = 0
  for i = 5, 12 do n = n * 256 + string.byte(header, i) end
  return n
end

local new = string.sub(ARGV[1], 1, HEADER)
local old = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if string.sub(old, 1, 3) == string.sub(new, 1, 3)
  and string.sub(old, 29, HEADER) == string.sub(new, 29, HEADER) -- so it has them all
  and version(old) > version(new) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
