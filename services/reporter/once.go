package reporter

import (
	"sync"

	"go.uber.org/zap"
)

// once logs an error the first time that it happens to a thing.
type once struct {
	mu   sync.Mutex
	seen map[string]bool
}

// keptErrors bounds the memory; beyond it everything is forgotten and said again.
const keptErrors = 10_000

func (o *once) error(log *zap.Logger, message, thing string, fields []zap.Field) {
	o.mu.Lock()
	known := o.seen[message+thing]
	if o.seen == nil || len(o.seen) > keptErrors {
		o.seen = map[string]bool{}
	}
	o.seen[message+thing] = true
	o.mu.Unlock()
	if !known {
		log.Error(message, fields...)
	}
}
