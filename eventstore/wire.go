package eventstore

// Type bytes of msgpack, from
// https://github.com/msgpack/msgpack/blob/master/spec.md.
const (
	wirePosFixIntHigh = 0x7f
	wireFixMap        = 0x80
	wireFixMapHigh    = 0x8f
	wireFixArray      = 0x90
	wireFixArrayHigh  = 0x9f
	wireFixStr        = 0xa0
	wireFixStrHigh    = 0xbf
	wireNil           = 0xc0
	wireFalse         = 0xc2
	wireTrue          = 0xc3
	wireBin8          = 0xc4
	wireBin16         = 0xc5
	wireBin32         = 0xc6
	wireExt8          = 0xc7
	wireExt16         = 0xc8
	wireExt32         = 0xc9
	wireFloat32       = 0xca
	wireFloat64       = 0xcb
	wireUint8         = 0xcc
	wireUint16        = 0xcd
	wireUint32        = 0xce
	wireUint64        = 0xcf
	wireInt8          = 0xd0
	wireInt16         = 0xd1
	wireInt32         = 0xd2
	wireInt64         = 0xd3
	wireFixExt1       = 0xd4
	wireFixExt2       = 0xd5
	wireFixExt4       = 0xd6
	wireFixExt8       = 0xd7
	wireFixExt16      = 0xd8
	wireStr8          = 0xd9
	wireStr16         = 0xda
	wireStr32         = 0xdb
	wireArray16       = 0xdc
	wireArray32       = 0xdd
	wireMap16         = 0xde
	wireMap32         = 0xdf
	wireNegFixInt     = 0xe0
)
