package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// A payload is kept as it is given, or refused.
func TestMsgpacked(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,"b":[-1,2.5,true,null,"x"],"c":{"a":{}}}`: `map[a:1 b:[-1 2.5 true <nil> x] c:map[a:map[]]]`,
		`18446744073709551615`:                            `18446744073709551615`,
		`-9223372036854775808`:                            `-9223372036854775808`,
		`1e30`:                                            `1e+30`,
		`[[],[[]],{}]`:                                    `[[] [[]] map[]]`,
		` "" `:                                            ``,
		`"\ud83d\ude00 \\ud800 \\\\ud800 \u00e4 \"\ufffd"`: "😀 \\ud800 \\\\ud800 ä \"\ufffd",
		`{"a":{"a":1},"b":{"a":1}}`:                        `map[a:map[a:1] b:map[a:1]]`,
		"\"\u00ff\u0000\""[:3] + `\u0000"`:                 "\u00ff\x00",
	} {
		packed, err := msgpacked([]byte(text))
		var got any
		if err == nil {
			err = eventstore.MsgPack{}.Unmarshal(packed, &got)
		}
		if s := fmt.Sprint(got); s != want || err != nil {
			t.Errorf("%s is kept as %q, %v; want %q", text, s, err, want)
		}
	}
	for text, says := range map[string]string{
		"{\"a\": \"\xff\"}":              "it is not UTF-8",
		`{"a": "\ud800"}`:                `\ud800 is half of a character`,
		`{"a": "\ud800\u0041"}`:          `\ud800 is half`,
		`{"a": "\ud83d \ude00"}`:         `\ud83d is half`,
		`{"\uDC00": 1}`:                  `\uDC00 is half`,
		`["\\\udfff"]`:                   `\udfff is half`,
		`"\ud83d\ude00\ude00"`:           `\ude00 is half`,
		`123456789012345678901234567890`: "more than 64 bits",
		`{"a": [18446744073709551616]}`:  "the number 18446744073709551616 has more than 64 bits",
		`-9223372036854775809`:           "more than 64 bits",
		`1e400`:                          "does not fit",
		`{"a": 1, "a": 2}`:               `the key "a" is given twice`,
		`[{"b": {"a": 1, "\u0061": 1}}]`: `the key "a" is given twice`,
		`{"a": 1} 2`:                     "more than one value",
		`{"a": 1]`:                       "no JSON",
		``:                               "no JSON",
		strings.Repeat("[", 20_000):      "no JSON",
	} {
		if packed, err := msgpacked([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.100s is kept as %x, %v; want an error that says %q", text, packed, err, says)
		}
	}
}
