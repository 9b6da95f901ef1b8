-- Reads a log from a place on, for somebody who is in no group, and tells whether
-- entries behind that place were removed.
--
-- KEYS[1]  {ns:p}:log
-- ARGV[1]  id of the place: an entry's, or 0-0 for the beginning of a log that was
--          never trimmed
-- ARGV[2]  1 where that entry is done with, 0 where it is to be read
-- ARGV[3]  how many entries to read at most
--
-- Returns 1 where entries were, or may have been, removed, and nothing else; else 0 and
-- the entries.
--
-- Trimming removes the oldest entries, so as long as the entry of the place is there,
-- everything behind it is. Of a log that was empty, the numbers of entries that were
-- added and that are there tell whether any was ever removed. A server that does not
-- count those (the embedded one) is taken to have removed some.

local place, done, count = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])

local entries = redis.call('XRANGE', KEYS[1], place, '+', 'COUNT', count + 1)
if entries[1] and entries[1][1] == place then
  if done then table.remove(entries, 1) else entries[count + 1] = nil end
  return {0, entries}
end

local info = {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  local stream = redis.call('XINFO', 'STREAM', KEYS[1])
  for f = 1, #stream, 2 do info[stream[f]] = stream[f + 1] end
end
local last = info['last-generated-id'] or ''
if last == '' then last = '0-0' end
entries[count + 1] = nil
-- Nothing was written since, whatever was removed before.
if last == place then return {0, {}} end
if place == '0-0' and info['entries-added'] and info['entries-added'] == info['length'] then
  return {0, entries}
end
return {1, {}}
