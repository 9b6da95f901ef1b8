-- Appends to streams, each append with its own outcome. On a cluster all of them
-- belong to one partition.
--
-- KEYS      {ns:p}:heads, {ns:p}:log and {ns:p}:ended of each partition concerned,
--           then {ns:p}:s:<stream> of each append, partition by partition, and those
--           of one stream in order
-- ARGV[1]   number of partitions, P
-- ARGV[2…]  how many of the appends are in each of them: c where all those are plain ones
--           (one event each, to different streams, at an exact version or of no
--           stream), else -c
-- ARGV[P+2…] for each plain append
--             expected version: -2 no stream, else the exact version
--             version of the event
--             envelope of the event
--           and for each other
--             expected version: the same, or -1 any, -3 stream exists. In front of it
--             stands d where the one event deletes the stream, t where it is its
--             tombstone, which are its last letter in heads then
--             number of its events, n; or -n where no versions follow
--             their envelopes
--             their versions, if the stream is as expected; they are left out where
--             the expected version does not tell them, and where the stream ends
--
-- Returns the number of appends, and how many of them were appended to a stream that was
-- as expected; then for each of the others its place in the call, a code and a value:
--   0  appended           last version
--   1  duplicate          last version of the events found, or of the end that the
--                         stream has already
--   2  conflict           head of the stream
--   3  refused            the error message of the stream's key; this stream is untouched
--   4  conflict           head of the stream, which was deleted there
--   5  tombstoned         head of the stream
--   6  no stream          0: there is nothing to delete
--   7  refused by heads   the error message of that key; this stream is untouched
--   8  refused by the log the same
--   9  damaged            the error message; the first events are stored, the others
--                         are not
-- The heads of 2, 4 and 5 are negative where the script has not seen all places at which the
-- events would be, had they been stored before: some were removed, or are too far back.
--
-- Lua does not roll back, so an append is checked completely before its first write, and
-- nothing but reads of the stream it is about may raise, which only refuses that append.
-- Every write (which can meet another type of key, no memory left, a user without the
-- right) goes through pcall and is taken back; see flush.
--
-- Whether a stream is at the version expected is found by comparing texts, and it is
-- written with the texts that the append brings: making a text of a number and matching a
-- pattern are what Lua is slow at.

local KEYS, ARGV = KEYS, ARGV
local call, attempt, sub, format = redis.call, redis.pcall, string.sub, string.format

local LOOK_BACK = 128

-- The last version there can be: beyond it numbers of Lua are not exact, and two versions
-- could come out as one.
local LAST = 9007199254740991

-- What to do about a head that is none.
local MEND = ' (somebody wrote to the registry past projectord: set the field to the version of the last event of the stream, or delete it where there never was one)'

-- What stands behind the event id in the envelope of an event that deletes a stream:
-- its type.
local DELETED = '\168$deleted'

-- Bytes 3 to 18 of an envelope, counted from 0, are the event id.
local function id_of(envelope)
  return sub(envelope, 4, 19)
end

-- The entry id of a version. Lua writes large numbers in another form by itself.
local function entry_id(version)
  return format('%.0f-0', version)
end

-- Whether the n events from version first on have the ids of ARGV[a…], and whether not all
-- of them are there.
local function stored_at(key, first, a, n)
  local entries = call('XRANGE', key, entry_id(first), entry_id(first + n - 1))
  if #entries ~= n then return false, true end
  for i = 1, n do
    if id_of(entries[i][2][2]) ~= id_of(ARGV[a + i - 1]) then return false, false end
  end
  return true, false
end

-- Whether an event of this version would be followed by a new beginning: it deletes
-- the stream, or is gone.
local function begins_anew(key, version)
  local entry = call('XRANGE', key, entry_id(version), entry_id(version))[1]
  return not entry or sub(entry[2][2], 20, 28) == DELETED
end

-- The message of an error that was raised.
local function message(err)
  return type(err) == 'table' and err['err'] or tostring(err)
end

-- The message of a reply that is an error.
local function failed(reply)
  return type(reply) == 'table' and reply['err']
end

-- The entry ids of a stream's last events by their event ids: LOOK_BACK events and
-- as many as this call offers the stream, so that a call repeated because its
-- reply was lost finds its events whatever else it appended. Also whether those are not
-- all that the stream ever had.
local function recent(key, offered)
  local at = {}
  local entries = call('XREVRANGE', key, '+', '-', 'COUNT', LOOK_BACK + offered)
  for e = #entries, 1, -1 do
    at[id_of(entries[e][2][2])] = entries[e][1]
  end
  -- Events in the middle never go: where the first one is, there are all.
  return at, #entries == 0 or entries[#entries][1] ~= '1-0'
end

-- Looks for the ids of ARGV[a…] among those recent returned. Returns the version
-- of the last one if all are there in a row, false if only some are or in another
-- order, nil if none is.
local function look_back(at, a, n)
  local found, base = 0, nil
  for i = 1, n do
    local entry = at[id_of(ARGV[a + i - 1])]
    if entry then
      local version = tonumber(string.match(entry, '^%d+'))
      base = base or version - i
      if version - i ~= base then return false end
      found = found + 1
    end
  end
  if found == 0 then return nil end
  return found == n and base + n
end

-- Of each append that is no plain one or not as expected, by its place in the call: where
-- in ARGV its events are, how many they are (or -n), the place of the append to the same
-- stream before it, if any, and what heads holds for its stream (false for nothing).
local events_at, counts, before, texts = {}, {}, {}, {}
-- Of each append, its stream.
local names = {}
-- By stream: the place of its last append; how many events the call offers it, where
-- several appends do.
local latest, offered = {}, {}

local replies, expectedly = {}, 0
local function reply(i, code, value)
  local r = #replies
  replies[r + 1], replies[r + 2], replies[r + 3] = i, code, value
end

-- Whether append i must not happen: a code and a value if so; and whether not all places
-- were seen at which its events would be. The table known has by name what recent returned,
-- and what was appended since; partly has the names where those are not all events.
local known, partly = {}, {}
local function checked(i, key, name, head, ended, expected, kind)
  local a, n = events_at[i], math.abs(counts[i])
  if kind ~= '' then
    if kind == ended and (kind == 't' or expected < 0 or head == expected or head == expected + 1) then
      return 1, head
    end
    if kind == 'd' and head == 0 then return 6, 0 end
  end
  if expected >= 0 or expected == -2 then
    local base = math.max(expected, 0)
    if head == base then return nil end
    local ok, same, unseen = true, false, false
    if head >= base + n then ok, same, unseen = pcall(stored_at, key, base + 1, a, n) end
    if not ok then return 3, message(same) end
    if same then return 1, base + n end
    if expected >= 0 then return 2, head, unseen end
  end
  if head == 0 then
    if expected == -3 then return 2, head end
    return nil
  end
  if not known[name] then
    local ok, at, more = pcall(recent, key, offered[name] or n)
    if not ok then return 3, message(at) end
    known[name], partly[name] = at, more
  end
  local found = look_back(known[name], a, n)
  if expected == -2 then
    if found then
      local ok, anew = pcall(begins_anew, key, found - n)
      if not ok then return 3, message(anew) end
      if anew then return 1, found end
    end
    if ended == 'd' and found == nil then return nil end
    return 2, head, partly[name]
  end
  if found then return 1, found end
  if found == false or expected == -3 and ended == 'd' then return 2, head, partly[name] end
  return nil, nil, partly[name]
end

local partitions = tonumber(ARGV[1])
local streams = 3 * partitions -- the keys before those of the streams

-- The partition at hand, what heads held for its appends, the first of which is from; and
-- which of them are checked and wait to be written, all to different streams: their places
-- and where in ARGV their events are, what goes into heads, name by name; and for those that
-- do not bring their versions, the head before them and what ends the stream.
local heads_key, log_key, ended_key, stored, from
local waiting, plan, places, fields, bases, kinds = 0, {}, {}, {}, {}, {}

-- Sets back the head of append i, which failed, and says why.
local function take_back(i, code, why)
  local name, text = names[i], texts[i]
  if text == nil then text = stored[i - from + 1] end
  if text or failed(attempt('HDEL', heads_key, name)) then
    local err = failed(attempt('HSET', heads_key, name, text or '0'))
    if err then why = why .. '; the head that ' .. heads_key .. ' holds for it could not be set back: ' .. err end
  end
  reply(i, code, why)
end

-- Writes what follows the first event of append i, which is written behind base. Returns
-- what is wrong, where that fails: nothing that is known of can refuse an event whose
-- forerunner was taken.
local function follow(i, a, base, last)
  local key, name, events = KEYS[streams + i], names[i], math.abs(counts[i])
  for k = 2, events do
    local err = failed(attempt('XADD', key, base and format('%.0f', base + k) or ARGV[a + events + k - 1], 'e', ARGV[a + k - 1]))
    if err then return err .. ' (event ' .. k .. ' of ' .. events .. ')' end
  end
  -- What came before an end may go; where it is not noted, it only takes room.
  if kinds[i] and base > 0 then attempt('HSET', ended_key, name, format('%.0f', base + 1)) end
  local at = known[name]
  if at then
    for k = 1, events do at[id_of(ARGV[a + k - 1])] = format('%.0f', tonumber(last) - events + k) end
  end
end

-- Writes the appends that wait.
--
-- What can be taken back comes first: the heads of all, then for each append its
-- pointer, and its first event. Events cannot be taken back, since Redis gives no entry
-- id twice; once the first is written nothing else has to follow. What is refused to all
-- alike (no memory, no right) is refused to the heads or to the first pointer; what is
-- wrong with one key is found by the first write to it, which is one of these three.
local function flush()
  if waiting == 0 then return end
  local n = waiting
  waiting = 0
  local err = failed(attempt('HSET', heads_key, unpack(fields, 1, 2 * n)))
  if err then
    for w = 1, n do reply(plan[w], 7, err) end
    return
  end
  for w = 1, n do
    local i, a, name, head = plan[w], places[w], fields[2 * w - 1], fields[2 * w]
    local events, base = counts[i], bases[i]
    local last, entry = head, head
    if base then
      last, entry = format('%.0f', base + math.abs(events)), format('%.0f', base + 1)
    elseif events then
      entry = ARGV[a + events]
    end
    local pointer = attempt('XADD', log_key, '*', 's', name, 'v', last)
    if type(pointer) == 'table' then
      take_back(i, 8, pointer['err'])
    else
      local added = attempt('XADD', KEYS[streams + i], entry, 'e', ARGV[a])
      if type(added) == 'table' then
        -- A user who may not delete leaves a pointer without events, which is
        -- found to have nothing behind it.
        attempt('XDEL', log_key, pointer)
        take_back(i, 3, added['err'])
      else
        local wrong
        if events then
          wrong = follow(i, a, base, last)
          texts[i] = head
        end
        if wrong then
          reply(i, 9, wrong)
        elseif base then
          reply(i, 0, base + math.abs(events))
        else
          expectedly = expectedly + 1
        end
      end
    end
  end
end

-- Checks append i, of which expected and text are the version that is expected and what
-- heads holds. Returns what goes into heads when it is written, nil where it must not be.
local function check(i, expected, text)
  local name, kind = names[i], ''
  -- Nothing but this script writes heads; what is no number is damage, and
  -- may not stop the script between the writes of other streams.
  local head, ended = string.match(text or '0', '^(%d+)([dt]?)$')
  head = tonumber(head)
  if not head then
    reply(i, 7, 'ERR the head that it holds for the stream is no number' .. MEND)
    return nil
  end
  if head > LAST - math.abs(counts[i]) then
    reply(i, 7, 'ERR the head that it holds for the stream leaves no room up to version ' .. format('%.0f', LAST) .. ', the last there can be' .. MEND)
    return nil
  end
  if not tonumber(expected) then
    kind, expected = sub(expected, 1, 1), sub(expected, 2)
  end
  local code, value, unseen = checked(i, KEYS[streams + i], name, head, ended, tonumber(expected), kind)
  if ended == 't' and (not code or code == 2) then
    code, value = 5, head
  elseif ended == 'd' and code == 2 then
    code = 4
  end
  if code then
    reply(i, code, unseen and -value or value)
    return nil
  end
  bases[i], kinds[i] = head, kind ~= ''
  return format('%.0f', head + math.abs(counts[i])) .. kind
end

local a, to = partitions + 2, 0
for p = 1, partitions do
  heads_key, log_key, ended_key = KEYS[3 * p - 2], KEYS[3 * p - 1], KEYS[3 * p]
  local count = tonumber(ARGV[p + 1])
  local behind = #heads_key - 2 -- where in {ns:p}:s:<stream> the name begins
  local plain = count > 0
  from = to + 1
  to = to + math.abs(count)
  for i = from, to do names[i] = sub(KEYS[streams + i], behind) end
  stored = attempt('HMGET', heads_key, unpack(names, from, to))
  local unread = stored['err']
  if not plain then
    for i = from, to do
      local name, n = names[i], tonumber(ARGV[a + 1])
      local j = latest[name]
      events_at[i], counts[i], before[i], latest[name] = a + 2, n, j, i
      if j then offered[name] = (offered[name] or math.abs(counts[j])) + math.abs(n) end
      a = a + 2 + (n > 0 and 2 * n or -n)
    end
  end
  for i = from, to do
    local text, at, version = stored[i - from + 1], nil, nil
    if plain then
      at, version = a + 2, ARGV[a + 1]
      a = a + 3
    else
      at = events_at[i]
      version = counts[i] > 0 and ARGV[at + 2 * counts[i] - 1]
      if before[i] then
        flush()
        text = texts[before[i]]
      end
      texts[i] = text
    end
    local expected = ARGV[at - 2]
    if unread then
      reply(i, 7, unread)
    else
      -- A head that is damaged can look like -2.
      local none = expected == '-2'
      if not version or text and (text ~= expected or none) or not text and not none and expected ~= '0' then
        if plain then events_at[i], counts[i] = at, 1 end
        version = check(i, expected, text)
      end
      if version then
        waiting = waiting + 1
        plan[waiting], places[waiting], fields[2 * waiting - 1], fields[2 * waiting] = i, at, names[i], version
      end
    end
  end
  flush()
end
return {to, expectedly, unpack(replies)}
