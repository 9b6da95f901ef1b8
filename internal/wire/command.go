package wire

import "strconv"

// AppendCommand appends a command to dst in the form in which it is sent.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = appendLength(dst, '*', len(args))
	for _, arg := range args {
		dst = appendLength(dst, '$', len(arg))
		dst = append(dst, arg...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func appendLength(dst []byte, kind byte, n int) []byte {
	dst = strconv.AppendInt(append(dst, kind), int64(n), 10)
	return append(dst, "\r\n"...)
}
