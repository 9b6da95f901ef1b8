package history

import (
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
