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
)

// Codes that append.lua returns.
const (
	codeAppended = iota
	codeDuplicate
	codeConflict
	codeRefused
)
