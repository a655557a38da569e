package sql

// Reseal puts the checksum that b should have into it.
func Reseal(b []byte) {
	if len(b) >= 5 {
		b[0] = tokenVersion
		seal(b)
	}
}
