package history

// maxTexts bounds the texts an interner keeps.
const maxTexts = 1 << 16

// interner returns equal bytes as one string. The same few thousand item codes
// and carts come again and again.
type interner struct{ texts map[string]string }

func (in *interner) text(b []byte) string {
	if s, ok := in.texts[string(b)]; ok {
		return s
	}
	if in.texts == nil || len(in.texts) == maxTexts {
		in.texts = make(map[string]string)
	}
	s := string(b)
	in.texts[s] = s
	return s
}
