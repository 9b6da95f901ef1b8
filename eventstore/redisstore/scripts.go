package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// A new script is a file in lua/ and a variable here.
var (
	//go:embed lua/open.lua
	openSource string
	openScript = redis.NewScript(openSource)

	//go:embed lua/append.lua
	appendSource string
	appendScript = redis.NewScript(appendSource)

	//go:embed lua/truncate.lua
	truncateSource string
	truncateScript = redis.NewScript(truncateSource)
)

// Codes that append.lua returns.
const (
	codeAppended = iota
	codeDuplicate
	codeConflict
	codeRefused
	codeConflictDeleted
	codeTombstoned
	codeNoStream
	codeRefusedByHeads
	codeRefusedByLog
	codeStreamDamaged
)

// Codes that truncate.lua returns.
const (
	codeTruncated = iota
	codeBeyondLast
	codeDamaged
)
